// Labels: what is selected gets a name, which is stored at once; the last one can be taken back.
import { get, post } from "./api.js";
import * as classes from "./classes.js";
import { $, button, counted, make, said, shown, toast } from "./dom.js";
import { tile } from "./gallery.js";
import { clear, chosen } from "./selection.js";

const SHOWN = 60; // tiles of a label
const done = []; // what each change had before

export async function name() {
  if (!chosen().length) return toast("Select something first (x).");
  $("#naming-count").textContent = counted(chosen().length, "stretch");
  $("#naming-name").value = "";
  $("#naming").showModal();
  const { labels } = await get("/api/labels").catch(() => ({ labels: [] }));
  $("#label-list").replaceChildren(...labels.map((group) => make("option", { value: group.label })));
}

$("#naming form").addEventListener("submit", (event) => {
  event.preventDefault();
  const label = $("#naming-name").value.trim();
  if (!label) return;
  $("#naming").close();
  change([{ label, stretches: parts(chosen()) }], `${counted(chosen().length, "stretch")} named “${shown(label)}”.`);
  clear();
});
$("#naming-cancel").addEventListener("click", () => $("#naming").close());

const parts = (list) => list.map(({ key, start, end }) => ({ key, start, end }));

async function change(groups, words) {
  try {
    const answer = await post("/api/labels", { groups });
    done.push(answer.before);
    toast(words, ["Undo (z)", undo]);
    changed(answer);
  } catch (error) {
    toast(error.message);
  }
}

export async function undo() {
  const before = done.pop();
  if (!before) return toast("There is nothing to undo.");
  try {
    changed(await post("/api/labels", { groups: before }));
    toast("Taken back.");
  } catch (error) {
    done.push(before);
    toast(error.message);
  }
}

function changed(answer) {
  draw(answer);
  document.dispatchEvent(new Event("kinds"));
}

export async function show() {
  try {
    draw(await get("/api/labels"));
    await classes.show();
  } catch (error) {
    $("#given-head").replaceChildren(said(error));
  }
}

let file = "";
export const start = (about) => { file = about.labels_file; };

function draw({ labels, elsewhere }) {
  const total = labels.reduce((sum, group) => sum + group.stretches.length, 0);
  const head = total
    ? `${counted(total, "stretch")} with ${counted(labels.length, "label")}, in `
    : "Nothing has a label yet: select hits of a search (x) and name them (l). They are kept in ";
  $("#given-head").replaceChildren(
    make("div.bar", {}, make("p", {}, head, make("code", {}, shown(file))), button("Undo", undo, { title: "Take the last change back (z)", disabled: !done.length })),
    elsewhere ? make("p.hint", {}, `${elsewhere} more are of videos that this index has not.`) : "");
  $("#given").replaceChildren(...labels.map(group));
}

function group({ label, stretches }) {
  const again = make("input", { value: label, "aria-label": "Label", maxLength: 200 });
  again.addEventListener("change", () => {
    const now = again.value.trim();
    if (now && now !== label) change([{ label: now, stretches: parts(stretches) }], `“${shown(label)}” is “${shown(now)}” now.`);
    else again.value = label;
  });
  const away = (stretch) => button("×", () => change([{ label: null, stretches: parts([stretch]) }], "A label was taken away."), { title: "Take the label away", "aria-label": "Take the label away" });
  return make("div.group", {}, make("h3", {}, again, make("span.soft", {}, String(stretches.length))), make("ul.gallery", {}, ...stretches.slice(0, SHOWN).map((stretch) => tile(stretch, { more: away(stretch) })),
    stretches.length > SHOWN ? make("li.hint", {}, `and ${counted(stretches.length - SHOWN, "stretch")} more, in the file`) : ""));
}

document.addEventListener("name", name);
