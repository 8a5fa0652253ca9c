// Tiles of stretches: a moving preview, what it is, selected by a tick; the same keys as hits have.
import { preview } from "./api.js";
import { button, make, named, range, shown } from "./dom.js";
import { player } from "./player.js";
import { isSelected, select } from "./selection.js";
import { text } from "./state.js";

export function picture(video, n) {
  const image = make("img.preview", { src: preview(video.key, n), alt: "", loading: "lazy", decoding: "async", width: 96, height: 72 });
  image.addEventListener("error", () => image.replaceWith(make("span.preview", {}, "no preview")));
  return image;
}

// What the classes take it for, or nothing.
export const taken = (video) => (video.class === null || video.class === undefined ? null
  : make("span.label.told", { title: "What it is taken for, and how probable that is" }, `${shown(video.class)} ${Math.round(100 * video.probability)} %`));

export const ask = (part) => document.dispatchEvent(new CustomEvent("ask", { detail: part }));

export function tile(video, { more = null } = {}) {
  const part = { key: video.key, start: video.start, end: video.end };
  const tick = make("input", { type: "checkbox", "aria-label": "Select (x)", checked: isSelected(part), onchange: () => select(part, video, tick.checked) });
  const element = make("li.hit.tile", { tabIndex: -1, data: { part: text(part) } });
  element.classList.toggle("selected", tick.checked);
  let open = null;
  const toggle = () => {
    element.classList.toggle("wide", !open);
    if (open) { open.stop(); open.element.remove(); open = null; return; }
    open = player(video, { start: part.start, end: part.end, n: video.n, at: part.start, play: true, actions: [["Use this part", ask, "Search by what lies between the handles (u)"]] });
    element.append(open.element);
  };
  const current = () => (open ? { key: video.key, ...open.part } : part);
  element.append(
    make("button.open", { type: "button", onclick: toggle, title: "Play (Enter)", "aria-label": `Play ${shown(video.path)}` }, picture(video, video.n)),
    make("span.name", { title: video.path }, tick, " ", named(video.path)),
    make("span.soft", {}, range(video.start, video.end), video.label ? make("span.label", {}, shown(video.label)) : null, taken(video)),
    make("span.row", {}, button("search", () => ask(current()), { title: "Search by this part (u)" }), more));
  element.acts = { toggle, use: () => ask(current()), like: () => {}, unlike: () => {}, tick, part,
    select: () => { tick.checked = !tick.checked; select(part, video, tick.checked); } };
  return element;
}
