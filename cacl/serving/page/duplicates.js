// Duplicates: pairs of stretches one above the other, aligned in time. Nothing is ever deleted.
import { get, post, preview } from "./api.js";
import { $, button, counted, make, named, range, said, time, toast } from "./dom.js";
import { player } from "./player.js";

const PLACES = 20, SHOWN = 100; // bars of the histogram; pairs that are drawn at once
let report = null, least = -1, waiting = 0;
const playing = new Set();

export async function show(before = null) {
  clearTimeout(waiting);
  try {
    report = before ?? (await get("/api/duplicates"));
    draw();
    if (report.status === "running" && !$("#duplicates").hidden) waiting = setTimeout(() => show(), 700);
  } catch (error) {
    $("#duplicates").replaceChildren(said(error));
  }
}

const look = async () => show(await post("/api/duplicates", {}).catch((error) => { toast(error.message); return null; }));

function draw() {
  for (const one of playing) one.stop();
  playing.clear();
  const { status, pairs, notes } = report;
  const place = $("#duplicates");
  const failures = notes.map((note) => make("p.hint", {}, note));
  if (status === "none" || status === "failed") {
    place.replaceChildren(make("p", {}, "The same recording twice, though re-encoded, cut, cropped or mirrored: every video is compared with all others. In a large archive that takes minutes."),
      make("p.row", {}, button("Look for duplicates", look)), ...failures);
  } else if (status === "running") {
    const words = report.total ? `${report.what}: ${report.done} of ${report.total}` : "Beginning …";
    place.replaceChildren(make("p", { role: "status" }, words), make("progress", { max: report.total || 1, value: report.done, "aria-label": "Done" }));
  } else if (!pairs.length) place.replaceChildren(make("p", {}, "Nothing is there twice."), ...failures);
  else place.replaceChildren(head(pairs), ...failures, list(pairs));
}

function head(pairs) {
  const bars = new Array(PLACES).fill(0);
  const bin = (score) => Math.min(Math.max(Math.floor(score * PLACES), 0), PLACES - 1);
  for (const pair of pairs) bars[bin(pair.score)]++;
  const most = Math.max(...bars);
  const words = make("span", {});
  const slider = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: Math.max(least, 0), "aria-label": "Least score" });
  const histogram = make("div.histogram", { "aria-hidden": "true" }, ...bars.map((count, i) => {
    const bar = make("i", { title: `${(i / PLACES).toFixed(2)} – ${((i + 1) / PLACES).toFixed(2)}: ${counted(count, "pair")}` });
    bar.style.height = count ? `${6 + (94 * count) / most}%` : "0";
    return bar;
  }));
  const show = () => {
    least = Number(slider.value) || -1;
    const chosen = pairs.filter((pair) => pair.score >= least);
    words.textContent = `${counted(chosen.length, "pair")}, ${chosen.filter((pair) => pair.sure).length} of them sure`;
    $(".pairs")?.replaceWith(list(pairs));
  };
  slider.addEventListener("input", show);
  queueMicrotask(show);
  return make("div.bar", {}, make("div.filter", {}, histogram, slider), words, make("a", { href: "/duplicates.csv", download: "duplicates.csv" }, "Table (CSV)"));
}

function list(pairs) {
  const chosen = pairs.filter((pair) => pair.score >= least);
  const more = chosen.length > SHOWN ? [make("li.hint", {}, `The first ${SHOWN} are shown; the table has all.`)] : [];
  return make("ol.pairs", {}, ...chosen.slice(0, SHOWN).map(pair), ...more);
}

function pair(one) {
  const a = { ...one.a, from: one.start_s, to: one.end_s }, b = { ...one.b, from: one.other_start_s, to: one.other_end_s };
  // Both on one scale, b moved so that what is the same lies one below the other.
  const shift = a.from - b.from;
  const left = Math.min(a.from_s ?? 0, (b.from_s ?? 0) + shift), right = Math.max(a.to_s ?? a.to, (b.to_s ?? b.to) + shift);
  const place = (seconds) => `${((seconds - left) / Math.max(right - left, 1e-6)) * 100}%`;
  const line = (video, move) => {
    const whole = make("i.whole"), same = make("i.same");
    whole.style.left = place((video.from_s ?? video.from) + move);
    whole.style.right = `${100 - parseFloat(place((video.to_s ?? video.to) + move))}%`;
    same.style.left = place(video.from + move);
    same.style.right = `${100 - parseFloat(place(video.to + move))}%`;
    const first = video.from_s ?? 0, middle = ((video.from + video.to) / 2 - first) / Math.max((video.to_s ?? 1) - first, 1e-6);
    const n = Math.min(Math.max(Math.floor(middle * video.rows), 0), video.rows - 1);
    return make("div.side", {}, make("img.preview", { src: preview(video.key, n), alt: "", loading: "lazy", width: 96, height: 72 }),
      make("div.about", {}, make("p.name", { title: video.path }, named(video.path)), make("p.soft", {}, range(video.from, video.to)),
        make("div.line", { role: "img", "aria-label": `${time(video.from)} to ${time(video.to)}` }, whole, same)));
  };
  const players = make("div.players", {});
  let both = [];
  const play = () => {
    if (players.childElementCount) {
      for (const one of both) { one.stop(); playing.delete(one); }
      players.replaceChildren();
      return;
    }
    both = [a, b].map((video) => player(video, { start: video.from, end: video.to, at: video.from, play: true }));
    for (const one of both) playing.add(one);
    players.replaceChildren(...both.map((one) => one.element));
  };
  return make("li.pair", {},
    make("p.meaning", {}, make("b", {}, one.score.toFixed(2)), ` ${one.kind}, ${one.sure ? "sure" : "likely"}`),
    line(a, 0), line(b, shift),
    make("p.row", {}, button("Play both", play), button("Not the same", () => decide(one, true), { title: "Remembered; not asked again" })),
    players);
}

async function decide(one, not_same) {
  const sent = { a: one.a.key, b: one.b.key, not_same };
  try {
    await show(await post("/api/decisions", sent));
    toast(not_same ? "Remembered: they are not the same." : "Taken back.", not_same ? ["Undo", () => decide(one, false)] : null);
  } catch (error) {
    toast(error.message);
  }
}
