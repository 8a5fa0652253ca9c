// Labels: what is selected gets a name, which is stored at once; the last one can be taken back.
import { get, post, preview } from "./api.js";
import { $, button, counted, make, named, range, said, shown, toast } from "./dom.js";
import { text } from "./state.js";

const selected = new Map(); // text of a part -> the part
const done = []; // what each change had before

export const isSelected = (part) => selected.has(text(part));

export function select(part, video, wanted) {
  if (wanted) selected.set(text(part), { ...part, path: video.path });
  else selected.delete(text(part));
  showSelected();
}

export function showSelected() {
  for (const element of document.querySelectorAll(".hit[data-part]")) {
    const own = selected.has(element.dataset.part);
    element.classList.toggle("selected", own);
    element.acts.tick.checked = own;
  }
  $("#selected").replaceChildren(...(selected.size ? [`${selected.size} selected `, button("Name …", name, { title: "Give them a label (l)" }),
    " ", button("None", () => { selected.clear(); showSelected(); }, { title: "Select none" })] : []));
}

export async function name() {
  if (!selected.size) return toast("Select some hits first (x).");
  $("#naming-count").textContent = counted(selected.size, "stretch");
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
  change([{ label, stretches: parts([...selected.values()]) }], `${counted(selected.size, "stretch")} named “${shown(label)}”.`);
  selected.clear();
  showSelected();
});
$("#naming-cancel").addEventListener("click", () => $("#naming").close());

const parts = (list) => list.map(({ key, start, end }) => ({ key, start, end }));

async function change(groups, words) {
  try {
    const answer = await post("/api/labels", { groups });
    done.push(answer.before);
    toast(words, ["Undo (z)", undo]);
    draw(answer);
  } catch (error) {
    toast(error.message);
  }
}

export async function undo() {
  const before = done.pop();
  if (!before) return toast("There is nothing to undo.");
  try {
    draw(await post("/api/labels", { groups: before }));
    toast("Taken back.");
  } catch (error) {
    done.push(before);
    toast(error.message);
  }
}

export async function show() {
  try {
    draw(await get("/api/labels"));
  } catch (error) {
    $("#labels").replaceChildren(said(error));
  }
}

let file = "";
export const start = (about) => { file = about.labels_file; };

function draw({ labels, elsewhere }) {
  const total = labels.reduce((sum, group) => sum + group.stretches.length, 0);
  const head = total
    ? `${counted(total, "stretch")} with ${counted(labels.length, "label")}, in `
    : "Nothing has a label yet: select hits of a search (x) and name them (l). They are kept in ";
  $("#labels").replaceChildren(
    make("div.bar", {}, make("p", {}, head, make("code", {}, shown(file))), button("Undo", undo, { title: "Take the last change back (z)", disabled: !done.length })),
    elsewhere ? make("p.hint", {}, `${elsewhere} more are of videos that this index has not.`) : "",
    ...labels.map(group));
}

function group({ label, stretches }) {
  const again = make("input", { value: label, "aria-label": "Label", maxLength: 200 });
  again.addEventListener("change", () => {
    const now = again.value.trim();
    if (now && now !== label) change([{ label: now, stretches: parts(stretches) }], `“${shown(label)}” is “${shown(now)}” now.`);
    else again.value = label;
  });
  const one = (stretch) => make("li", {},
    make("img.preview", { src: preview(stretch.key, stretch.n), alt: "", loading: "lazy", width: 96, height: 72 }),
    make("span.name", { title: stretch.path }, named(stretch.path)), make("span.soft", {}, range(stretch.start, stretch.end)),
    make("span.row", {}, make("a", { href: `/?like=${encodeURIComponent(text(stretch)).replaceAll("%40", "@")}` }, "search"),
      button("×", () => change([{ label: null, stretches: parts([stretch]) }], "A label was taken away."), { title: "Take the label away", "aria-label": "Take the label away" })));
  return make("div.group", {}, make("h3", {}, again, make("span.soft", {}, String(stretches.length))), make("ul.gallery", {}, ...stretches.map(one)));
}
