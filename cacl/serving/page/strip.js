// How much every moment of a video is like what is asked for, along the whole of it; a click or Enter goes there.
import { make, time } from "./dom.js";

const WIDTH = 480, HEIGHT = 24;

function draw(canvas, video, marks) {
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const { heat, start } = video.strip;
  pen.clearRect(0, 0, WIDTH, HEIGHT);
  pen.fillStyle = style.getPropertyValue("--heat");
  for (const [i, value] of heat.entries()) {
    const left = at(video, i), right = i + 1 < heat.length ? at(video, i + 1) : WIDTH;
    pen.globalAlpha = 0.08 + 0.92 * value ** 1.5;
    pen.fillRect(left, 0, Math.max(right - left, 1) + 0.5, HEIGHT);
  }
  pen.globalAlpha = 1;
  if (marks && start) {
    const scale = WIDTH / Math.max(video.to_s - video.from_s, 1e-6);
    const left = (marks[0] - video.from_s) * scale, width = (marks[1] - marks[0]) * scale;
    pen.strokeStyle = style.getPropertyValue("--ink");
    pen.lineWidth = 2;
    pen.strokeRect(left + 1, 1, Math.max(width - 2, 2), HEIGHT - 2);
  }
}

function at(video, i) {
  const { start, heat } = video.strip;
  return start ? ((start[i] - video.from_s) / Math.max(video.to_s - video.from_s, 1e-6)) * WIDTH : (i / heat.length) * WIDTH;
}

function words(video, i) {
  const { start, below } = video.strip;
  const when = start ? time(start[i]) : `stretch ${video.strip.n[i] + 1}`;
  return below[i] === null ? when : `${when}: nearer than ${(Math.floor(below[i] * 1000) / 10).toFixed(1)} % of unrelated stretches`;
}

export function strip(video, { marks = null, onseek, onlook = () => {} }) {
  const canvas = make("canvas.strip", { width: WIDTH, height: HEIGHT, tabIndex: 0, role: "slider", "aria-label": "Along the video",
    "aria-valuemin": 0, "aria-valuemax": video.strip.heat.length - 1 });
  const cursor = make("i.cursor", { hidden: true });
  let place = video.strip.heat.indexOf(Math.max(...video.strip.heat));
  const look = (i) => {
    place = Math.min(Math.max(i, 0), video.strip.heat.length - 1);
    canvas.title = words(video, place);
    canvas.setAttribute("aria-valuenow", place);
    canvas.setAttribute("aria-valuetext", words(video, place));
    cursor.hidden = false;
    cursor.style.left = `${(at(video, place) / WIDTH) * 100}%`;
    onlook(video.strip.n[place]);
  };
  const under = (event) => {
    const x = (event.offsetX / canvas.clientWidth) * WIDTH;
    let i = video.strip.heat.length - 1;
    while (i > 0 && at(video, i) > x) i--;
    return i;
  };
  canvas.addEventListener("pointermove", (event) => look(under(event)));
  canvas.addEventListener("click", (event) => { look(under(event)); onseek(video.strip.start?.[place] ?? 0); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step !== undefined) look(place + step);
    else if (event.key === "Enter" || event.key === " ") onseek(video.strip.start?.[place] ?? 0);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const redraw = () => draw(canvas, video, marks);
  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  return make("div.strip-row", {}, canvas, cursor);
}
