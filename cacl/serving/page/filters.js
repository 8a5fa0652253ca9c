// Which hits are wanted: of a folder, with a label, taken for a class.
import { get } from "./api.js";
import { $, make, shown } from "./dom.js";

const LISTS = { label: "#only-label", class: "#only-class" };
let asked = null;

export function start(change) {
  for (const [name, place] of Object.entries(LISTS)) $(place).addEventListener("change", () => change({ [name]: $(place).value }));
  document.addEventListener("kinds", () => fill(asked));
}

// The labels and classes that there are; one that is asked for stays, whether it is there or not.
export async function fill(now) {
  asked = now;
  const kinds = await get("/api/kinds").catch(() => null);
  if (!kinds) return;
  for (const [name, place] of Object.entries(LISTS)) {
    $(place).replaceChildren(make("option", { value: "" }, "anything"),
      ...kinds[name].filter((kind) => kind.count).map((kind) => make("option", { value: kind.name }, `${shown(kind.name)} (${kind.count})`)));
  }
  set(asked);
}

export function set(now) {
  asked = now;
  for (const [name, place] of Object.entries(LISTS)) {
    const wanted = asked[name];
    if (wanted && ![...$(place).options].some((option) => option.value === wanted)) $(place).append(make("option", { value: wanted }, shown(wanted)));
    $(place).value = wanted;
    $(place).parentElement.hidden = $(place).options.length < 2;
  }
}
