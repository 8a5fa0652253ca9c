// What is selected, to be named: parts of videos, whichever list they were chosen in.
import { button, counted } from "./dom.js";
import { text } from "./state.js";

const selected = new Map(); // text of a part -> the part

export const isSelected = (part) => selected.has(text(part));
export const chosen = () => [...selected.values()];

export function select(part, video, wanted) {
  if (wanted) selected.set(text(part), { ...part, path: video.path });
  else selected.delete(text(part));
  showSelected();
}

// These and nothing else.
export function selectAll(parts) {
  selected.clear();
  for (const part of parts) selected.set(text(part), part);
  showSelected();
}

export const clear = () => selectAll([]);

export function showSelected() {
  for (const element of document.querySelectorAll(".hit[data-part]")) {
    const own = selected.has(element.dataset.part);
    element.classList.toggle("selected", own);
    element.acts.tick.checked = own;
  }
  for (const row of document.querySelectorAll(".selected-row")) {
    row.replaceChildren(...(selected.size ? [`${selected.size} selected `,
      button("Name …", () => document.dispatchEvent(new Event("name")), { title: "Give them a label (l)" }),
      " ", button("None", clear, { title: "Select none" })] : []));
  }
}

document.addEventListener("selection", showSelected);
