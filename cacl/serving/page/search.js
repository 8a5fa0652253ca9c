// The search: what is asked on the left, hits with their strips on the right.
import { drop, get, post, preview } from "./api.js";
import { $, button, counted, make, named, range, said, shown, time, toast } from "./dom.js";
import { picture, taken } from "./gallery.js";
import { player } from "./player.js";
import * as filters from "./filters.js";
import { isSelected, select, showSelected } from "./selection.js";
import * as state from "./state.js";
import { strip } from "./strip.js";

let asked = state.read();
let things = {}; // what the keys of the examples stand for
let asking = null; // the search under way
let left = null; // the player of what is asked with
const open = new Map(); // players of hits, by their elements
let about = null;

export async function start(facts) {
  about = facts;
  $("#within-list").replaceChildren(...about.within.map((name) => make("option", { value: name })));
  if (about.local) $("#find").placeholder = "Video, dropped file, or path";
  $("#find").addEventListener("input", find);
  $("#find").addEventListener("focus", find);
  $("#find").addEventListener("keydown", findKeys);
  $("#choose").addEventListener("click", () => $("#file").click());
  $("#file").addEventListener("change", () => { if ($("#file").files[0]) take($("#file").files[0]); $("#file").value = ""; });
  $("#within").addEventListener("change", () => go({ within: $("#within").value.trim() }));
  filters.start((change) => go(change));
  document.addEventListener("ask", (event) => use(event.detail));
  document.addEventListener("click", (event) => { if (!event.target.closest("#drop, #found")) $("#found").hidden = true; });
  for (const name of ["dragover", "drop"]) document.addEventListener(name, dropped);
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
  await show();
  filters.fill(asked);
}

export function revisit() {
  asked = state.read();
  return show();
}

// Change what is asked.
export function go(change) {
  asked = { ...asked, by: state.read().by, at: state.read().at, tab: "search", ...change };
  state.write(asked);
  document.dispatchEvent(new Event("tab"));
  show();
}

export const use = (part) => go({ like: [part], unlike: [] });

function also(name, part) {
  const other = name === "like" ? "unlike" : "like", own = state.text(part);
  if (name === "unlike" && !asked.like.some((one) => state.text(one) !== own)) return toast("Say first what it should be like.");
  go({ [name]: [...asked[name].filter((one) => state.text(one) !== own), part], [other]: asked[other].filter((one) => state.text(one) !== own) });
}

async function show() {
  $("#within").value = asked.within;
  filters.set(asked);
  const parts = [...asked.like, ...asked.unlike];
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  $("#answer").setAttribute("aria-busy", "true");
  try {
    if (parts.length) {
      const keys = [...new Set(parts.map((part) => part.key))];
      const found = (await get("/api/things", { key: keys }, signal)).things;
      things = Object.fromEntries(keys.map((key, i) => [key, found[i]]));
    }
    showAsked();
    if (!asked.like.length) await showSome(signal);
    else {
      $("#answer-title").textContent = "Searching …";
      const words = { like: asked.like.map(state.text), unlike: asked.unlike.map(state.text), within: asked.within, label: asked.label, class: asked.class };
      showHits(await get("/api/search", words, signal));
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    $("#answer-title").textContent = "No answer";
    empty(said(error));
  }
  $("#answer").removeAttribute("aria-busy");
}

function showAsked() {
  left?.stop();
  left = null;
  const first = asked.like[0];
  const thing = first && things[first.key];
  if (!first) $("#asked").replaceChildren(make("p.hint", {}, "Choose a video, move the two handles to the part that you mean, and press “Search by this part”."));
  else if (!thing) $("#asked").replaceChildren(make("p.problem", {}, first.key.startsWith("file-") ? "The file that was asked with is not here any more: drop it again." : "The video that was asked with is not in the index any more, or has changed: choose it again."));
  else {
    left = player(thing, { start: first.start, end: first.end, actions: [
      ["Search by this part", (part) => go({ like: [part, ...asked.like.slice(1)] }), "Only what lies between the handles (Enter on one of them)"],
      ["Also like this", (part) => also("like", part), "Another example beside it"],
    ] });
    $("#asked").replaceChildren(make("h2.name", { title: thing.path }, named(thing.path)), left.element);
  }
  const chip = (name, part, i) => make("li." + name, {}, make("span.sign", { "aria-label": name }, name === "like" ? "+" : "−"),
    make("span.text", { title: things[part.key]?.path ?? "" }, `${shown(things[part.key]?.path ?? "gone").split("/").pop()} ${range(part.start, part.end)}`),
    button("×", () => go({ [name]: asked[name].filter((_, j) => j !== i) }), { title: "Leave it out", "aria-label": "Leave it out" }));
  const chips = [...asked.like.map((part, i) => chip("like", part, i)), ...asked.unlike.map((part, i) => chip("unlike", part, i))];
  $("#examples").replaceChildren(...(chips.length ? [make("ul.chips", {}, ...chips)] : []));
}

function empty(...instead) {
  for (const one of open.values()) one.stop();
  open.clear();
  $("#notes").replaceChildren();
  $("#hits").className = "";
  $("#hits").replaceChildren(...instead.map((one) => make("li.wide", {}, one)));
}

// Before anything is asked: some videos to begin with.
async function showSome(signal) {
  const found = await get("/api/videos", { k: 24 }, signal);
  $("#answer-title").textContent = found.total ? "Begin with one of these" : "The index is empty";
  empty();
  $("#hits").className = "beginning";
  $("#hits").replaceChildren(...found.videos.map((video) => make("li.hit.some", { tabIndex: -1 },
    make("button.open", { type: "button", onclick: () => use({ key: video.key, start: null, end: null }), title: video.path },
      picture(video, Math.floor(video.rows / 2)), make("span.name", {}, named(video.path))))));
}

function showHits(answer) {
  empty();
  $("#answer-title").textContent = answer.hits.length ? `${counted(answer.hits.length, "video")}, most like it first` : (asked.within || asked.label || asked.class ? "Nothing else, among what is asked for" : "Nothing else is in the index");
  $("#notes").replaceChildren(...answer.notes.map((note) => make("li", {}, note)));
  $("#hits").replaceChildren(...answer.hits.map(hit));
  showSelected();
}

function hit(video) {
  const part = { key: video.key, start: video.start_s, end: video.end_s };
  const image = picture(video, video.n);
  const tick = make("input", { type: "checkbox", "aria-label": "Select (x)", checked: isSelected(part), onchange: () => select(part, video, tick.checked) });
  const element = make("li.hit", { tabIndex: -1, data: { part: state.text(part) } });
  const toggle = (at = null) => {
    const one = open.get(element);
    if (one && at !== null) return one.seek(at);
    if (one) { one.stop(); one.element.remove(); open.delete(element); return; }
    const made = player(video, { start: part.start, end: part.end, n: video.n, at: at ?? part.start, play: true, actions: [
      ["Use this part", use, "Search by what lies between the handles (u)"],
      ["More like this", (chosen) => also("like", chosen), "Another example (+)"],
      ["Less like this", (chosen) => also("unlike", chosen), "An example against (-)"],
    ] });
    open.set(element, made);
    element.append(made.element);
  };
  const marks = part.start === null ? null : [part.start, part.end];
  const onlook = (n) => { if (image.isConnected) image.src = preview(video.key, n); };
  element.append(
    make("button.open", { type: "button", onclick: () => toggle(), title: "Play (Enter)", "aria-label": `Play ${shown(video.path)}` }, image),
    make("div.about", {},
      make("p.name", { title: video.path }, tick, " ", named(video.path)),
      make("p.meaning", {}, make("b", {}, video.score.toFixed(2)), ` ${video.words}`),
      make("p.soft", {}, part.start === null ? "" : `${range(part.start, part.end)}, best at ${time(video.best_s)}`,
        video.label ? make("span.label", {}, shown(video.label)) : null, taken(video), video.absent ? make("span.label.absent", {}, "file is absent") : null),
      strip(video, { marks, onseek: (seconds) => toggle(seconds), onlook })));
  element.acts = { toggle, use: () => use(chosen()), like: () => also("like", chosen()), unlike: () => also("unlike", chosen()),
    select: () => { tick.checked = !tick.checked; select(part, video, tick.checked); }, tick, part };
  const chosen = () => { const one = open.get(element); return one ? { key: video.key, ...one.part } : part; };
  return element;
}

async function find() {
  const name = $("#find").value.trim();
  const list = $("#found");
  if (about.local && /^(\/|~\/|'\/|"\/)/.test(name)) {
    list.replaceChildren(make("li", {}, button(`Ask with ${shown(name)}`, () => takePath(name))));
    list.hidden = false;
    return;
  }
  try {
    const found = await get("/api/videos", { name, k: 30 });
    if (name !== $("#find").value.trim()) return;
    list.replaceChildren(...found.videos.map((video) => make("li", {}, make("button", { type: "button", title: video.path, onclick: () => chosen(video.key) },
      picture(video, Math.floor(video.rows / 2)), make("span", {}, named(video.path))))));
    if (!found.total) list.append(make("li.hint", {}, "No video of the index is called that."));
    if (found.total > 30) list.append(make("li.hint", {}, `and ${counted(found.total - 30, "other")}: write more of the name`));
  } catch (error) {
    list.replaceChildren(make("li", {}, said(error)));
  }
  list.hidden = false;
}

function findKeys(event) {
  const list = [...document.querySelectorAll("#found button")];
  if (event.key === "Escape") { $("#found").hidden = true; $("#find").blur(); }
  else if (event.key === "ArrowDown" && list.length) list[0].focus();
  else if (event.key === "Enter" && list.length) list[0].click();
  else return;
  event.preventDefault();
}

$("#found").addEventListener("keydown", (event) => {
  const list = [...document.querySelectorAll("#found button")], i = list.indexOf(document.activeElement);
  if (event.key === "Escape") { $("#found").hidden = true; $("#find").focus(); }
  else if (event.key === "ArrowDown") list[Math.min(i + 1, list.length - 1)].focus();
  else if (event.key === "ArrowUp") (list[i - 1] ?? $("#find")).focus();
  else return;
  event.preventDefault();
});

function chosen(key) {
  $("#found").hidden = true;
  $("#find").value = "";
  document.activeElement?.blur(); // so that j goes to the hits
  use({ key, start: null, end: null });
}

async function receive(request, what) {
  $("#asked").replaceChildren(make("p.hint", { role: "status" }, what));
  try {
    chosen((await request).key);
  } catch (error) {
    $("#found").hidden = true;
    $("#asked").replaceChildren(said(error));
  }
}

const take = (file) => receive(drop(file), `Reading ${shown(file.name)} …`);
const takePath = (path) => receive(post("/api/path", { path }), `Reading ${shown(path)} …`);

function dropped(event) {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  document.body.classList.toggle("dragging", event.type === "dragover");
  if (event.type === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
}
