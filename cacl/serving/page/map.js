// The map: a point for every stretch, coloured by label or class; a line around points brings them up to be named.
import { data, get, post } from "./api.js";
import { board } from "./board.js";
import { $, counted, make, named, range, shown, toast } from "./dom.js";
import { picture, taken, tile } from "./gallery.js";
import { selectAll, showSelected } from "./selection.js";
import * as state from "./state.js";

// Okabe and Ito's, which those who see fewer colours can tell apart, and lighter and darker ones of them.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b5a900", "#7a5195", "#8c510a", "#35978f", "#c51b7d", "#4d9221"];
const SHOWN = 120; // tiles that are drawn
let plot = null, kind = null, waiting = 0, hovered = -1, hovering = 0;
const facts = new Map(); // number of a point -> what it is of

export function start() {
  plot = board($("#map-canvas"), { onhover: hover, onchoose: choose, onmove: keep });
  $("#map-by").addEventListener("change", () => { state.write({ ...state.read(), by: $("#map-by").value }); colour(); });
  $("#map-fit").addEventListener("click", () => plot.fit());
  $("#map-lasso").addEventListener("click", () => {
    const on = $("#map-lasso").getAttribute("aria-pressed") !== "true";
    $("#map-lasso").setAttribute("aria-pressed", String(on));
    plot.setMode(on ? "lasso" : "move");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (kind) colour(); });
  document.addEventListener("kinds", () => { facts.clear(); if (kind) colour(); });
}

export async function show() {
  clearTimeout(waiting);
  $("#map-by").value = state.read().by;
  const { at } = state.read();
  if (at.length === 3 && at.every(Number.isFinite)) plot.look(...at);
  try {
    const found = await get("/api/map");
    if (found.kind && found.kind !== kind) {
      const points = new Float32Array(await data("/map/points"));
      plot.setPoints(points);
      kind = found.kind;
      facts.clear();
      await colour();
    }
    $("#map-status").textContent = words(found);
    if (!found.finished && !$("#map").hidden) waiting = setTimeout(show, 700);
  } catch (error) {
    $("#map-status").textContent = error.message;
  }
}

function words(found) {
  if (found.problem) return found.problem;
  const which = found.stride > 1 ? `one in ${found.stride} stretches, ` : "";
  if (found.finished) return `${which}${counted(found.points, "point")}: what is near each other is alike; far distances say little`;
  if (!found.kind) return "Drawing …";
  return `${which}a first look, along two directions; neighbours are being found (${Math.round((100 * found.done) / Math.max(found.total, 1))} %)`;
}

async function colour() {
  const by = $("#map-by").value;
  try {
    const [kinds, codes] = await Promise.all([get("/api/kinds"), data("/map/colours", { by })]);
    const style = getComputedStyle(document.documentElement);
    const [none, paper, ink] = ["--bar", "--card", "--ink"].map((name) => long(style.getPropertyValue(name).trim()));
    const listed = kinds[by].map((one, i) => ({ ...one, i })).sort((a, b) => b.count - a.count).slice(0, COLOURS.length);
    const colours = kinds[by].map(() => none);
    listed.forEach((one, place) => { colours[one.i] = COLOURS[place]; });
    plot.setColours(new Uint16Array(codes), colours, none, paper, ink);
    const row = (name, count, shade) => {
      const dot = make("i.dot");
      dot.style.background = shade;
      return make("li", {}, dot, shown(name), " ", make("span.soft", {}, String(count)));
    };
    const more = kinds[by].length - listed.length;
    $("#map-legend").replaceChildren(...listed.map((one, place) => row(one.name, one.count, COLOURS[place])),
      ...(more > 0 ? [row(`${more} more`, "", none)] : []),
      ...(listed.length ? [] : [make("li.hint", {}, by === "class" ? "No classes yet: learn them in Labels (t)." : "No labels yet: draw a line around some points and name them.")]));
  } catch (error) {
    toast(error.message);
  }
}

const long = (colour) => (colour.length === 4 ? `#${[...colour.slice(1)].map((c) => c + c).join("")}` : colour);

let keeping = 0;
function keep(view) {
  clearTimeout(keeping);
  keeping = setTimeout(() => { if (!$("#map").hidden) state.write({ ...state.read(), at: [view.x, view.y, view.zoom] }, { replace: true }); }, 300);
}

function hover(i, x, y) {
  const card = $("#map-card");
  if (i < 0) { hovered = -1; card.hidden = true; return; }
  card.style.left = `${Math.min(Math.max(x + 14, 4), Math.max($("#map-stage").clientWidth - 190, 4))}px`;
  card.style.top = `${y + 190 > $("#map-stage").clientHeight ? Math.max(y - 190, 4) : y + 14}px`;
  if (i === hovered) return;
  hovered = i;
  clearTimeout(hovering);
  hovering = setTimeout(async () => {
    try {
      if (!facts.has(i)) facts.set(i, (await post("/api/stretches", { points: [i] })).stretches[0]);
    } catch { return; }
    const video = facts.get(i);
    if (i !== hovered || !video) return;
    card.replaceChildren(picture(video, video.n), make("p.name", {}, named(video.path)), make("p.soft", {}, range(video.start, video.end), taken(video)));
    card.hidden = false;
  }, 60);
}

async function choose(points) {
  if (!points.length) { $("#map-chosen").textContent = "Nothing is in there."; $("#map-gallery").replaceChildren(); return; }
  try {
    const { stretches } = await post("/api/stretches", { points });
    const parts = stretches.map(({ key, start, end, path }) => ({ key, start, end, path }));
    const rest = stretches.length > SHOWN ? `, the first ${SHOWN} shown` : "";
    $("#map-chosen").textContent = `${counted(points.length, "point")}, ${counted(stretches.length, "stretch")}${stretches.length === 1000 ? " or more" : ""}${rest}`;
    $("#map-gallery").replaceChildren(...stretches.slice(0, SHOWN).map((one) => tile(one)));
    selectAll(parts);
    showSelected();
  } catch (error) {
    toast(error.message);
  }
}
