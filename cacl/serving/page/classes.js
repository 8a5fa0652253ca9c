// Classes: learnt from the labels beside other work; what held-out labels say of them, and what to label next.
import { get, post } from "./api.js";
import { $, button, counted, make, said, shown, toast } from "./dom.js";
import { tile } from "./gallery.js";

let waiting = 0, learnt = null;

document.addEventListener("kinds", () => { if (!$("#labels").hidden && learnt?.classes.length) next(); });

export async function show() {
  clearTimeout(waiting);
  try {
    const before = learnt;
    learnt = await get("/api/classes");
    draw();
    if (learnt.status === "running") waiting = setTimeout(show, 500);
    else {
      if (before?.status === "running") document.dispatchEvent(new Event("kinds"));
      else await next();
    }
  } catch (error) {
    $("#classes").replaceChildren(said(error));
  }
}

export async function learn() {
  try {
    learnt = await post("/api/classes", {});
    await show();
  } catch (error) {
    toast(error.message);
  }
}

function draw() {
  const running = learnt.status === "running";
  const names = learnt.classes.map((kind) => make("li", {},
    make("a", { href: `/?tab=map&by=class`, title: "On the map" }, shown(kind.name)), " ", make("span.soft", {}, counted(kind.count, "stretch"))));
  $("#classes").replaceChildren(
    make("div.bar", {}, button(running ? "Learning …" : learnt.classes.length ? "Learn again" : "Learn classes", learn, { disabled: running, title: "From these labels to all stretches, in seconds (t)", id: "learn" }),
      make("p.hint", {}, learnt.classes.length ? "" : "From the labels to every stretch of the index: name at least two kinds, each in two videos or more.")),
    learnt.problem ? make("p.problem", { role: "alert" }, learnt.problem) : "",
    learnt.said ? make("p.said", { role: "status" }, learnt.said) : "",
    ...learnt.notes.map((note) => make("p.hint", {}, `${note}.`)),
    names.length ? make("ul.kinds", {}, ...names) : "", make("div", { id: "next" }));
}

async function next() {
  if (!learnt.classes.length) return;
  const found = await get("/api/next").catch((error) => ({ problem: error }));
  if (found.problem) return $("#next").replaceChildren(said(found.problem));
  const list = (words, why, stretches) => (stretches.length ? [make("h3", {}, words, " ", make("span.soft", {}, why)), make("ul.gallery.strip-of", {}, ...stretches.map((one) => tile(one)))] : []);
  const row = make("p.selected-row");
  $("#next").replaceChildren(make("div.bar", {}, make("h2", {}, "To label next"), row),
    ...list("Least sure", "two classes are nearly as probable", found.least_sure),
    ...list("Most unlike what is labelled", "of these the labels say nothing", found.most_unlike));
  document.dispatchEvent(new Event("selection"));
}
