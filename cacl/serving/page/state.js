// What is asked, as the address of the page holds it: reload, back and a bookmark bring the same again.

export const TABS = ["search", "duplicates", "labels", "map"];

export function parse(text) {
  const found = /^([\w-]+)(?:@([\d.]+)-([\d.]+))?$/.exec(text);
  return found && { key: found[1], start: found[2] ? Number(found[2]) : null, end: found[3] ? Number(found[3]) : null };
}

const short = (seconds) => String(Math.round(seconds * 100) / 100);

export const text = (part) =>
  part.start === null || part.end === null ? part.key : `${part.key}@${short(part.start)}-${short(part.end)}`;

export function read() {
  const words = new URLSearchParams(location.search);
  const parts = (name) => words.getAll(name).map(parse).filter(Boolean);
  const tab = words.get("tab");
  return {
    tab: TABS.includes(tab) ? tab : "search",
    like: parts("like"),
    unlike: parts("unlike"),
    within: words.get("within") ?? "",
    label: words.get("label") ?? "",
    class: words.get("class") ?? "",
    by: words.get("by") === "class" ? "class" : "label",
    at: (words.get("at") ?? "").split(",").map(Number),
  };
}

export function write(asked, { replace = false } = {}) {
  const words = new URLSearchParams();
  if (asked.tab !== "search") words.set("tab", asked.tab);
  for (const part of asked.like) words.append("like", text(part));
  for (const part of asked.unlike) words.append("unlike", text(part));
  for (const name of ["within", "label", "class"]) if (asked[name]) words.set(name, asked[name]);
  if (asked.by !== "label") words.set("by", asked.by);
  if (asked.at.length === 3 && asked.at.every(Number.isFinite)) words.set("at", asked.at.map((x) => Number(x.toFixed(4))).join(","));
  const query = words.toString().replaceAll("%40", "@").replaceAll("%2C", ",");
  const place = query ? `/?${query}` : "/";
  if (place === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", place);
}
