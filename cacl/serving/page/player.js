// A player with two handles: what lies between them can be asked with. What the browser cannot play is encoded anew by
// the server, in parts; what is not there is shown as moving preview.
import { preview } from "./api.js";
import { button, make, range, said } from "./dom.js";

const STILL = 250; // milliseconds that a handle rests before a part is encoded for it

export function player(video, { start = null, end = null, n = 0, at = null, play = false, actions = [] }) {
  const timed = video.from_s !== null && video.to_s !== null;
  const first = video.from_s ?? 0, last = video.to_s ?? 0, begin = at ?? start ?? first;
  const dropped = video.key.startsWith("file-");
  const screen = make("video", { controls: true, muted: true, playsInline: true, preload: "metadata", autoplay: play });
  const stage = make("div.stage", {}, screen);
  const over = new AbortController();
  let offset = 0; // of what plays against the file's own time
  let fallen = video.whole === false; // back on what the server encodes
  let target = begin, encoding = null, waiting = 0; // seconds: to be shown, being encoded; a timer
  const seek = (seconds) => {
    if (fallen) return reencoded(seconds);
    const go = () => { screen.currentTime = seconds - offset; };
    if (screen.readyState) go();
    else screen.addEventListener("loadedmetadata", go, { once: true });
  };

  // What is loaded is not asked for again. One part at a time is encoded, and then the last that was asked for meanwhile.
  const onstage = () => { if (screen.parentNode !== stage) stage.replaceChildren(screen); };
  const loaded = (seconds) => screen.readyState && seconds >= offset && seconds < offset + screen.duration;

  function reencoded(seconds, still = 0) {
    clearTimeout(waiting);
    [target, waiting] = [seconds, 0];
    if (dropped) return;
    if (loaded(seconds)) { onstage(); screen.currentTime = seconds - offset; }
    else if (still) waiting = setTimeout(() => reencoded(seconds), still);
    else encode();
  }

  async function encode() {
    while (encoding === null && !waiting && !loaded(target)) {
      const asked = encoding = target;
      const answer = await encoded(asked);
      encoding = null;
      if (over.signal.aborted) return;
      if (asked === target) return display(asked, answer);
    }
  }

  async function encoded(seconds) {
    const from = Math.max(first, seconds - 0.5);
    const asked = timed ? `start=${from.toFixed(2)}` : `n=${n}`;
    try {
      const reply = await fetch(`/clip/${video.key}?${asked}`, { signal: over.signal });
      if (reply.ok) return { from: timed ? from : seconds, content: await reply.blob() };
      return { problem: (await reply.json().catch(() => ({}))).error ?? "It cannot be shown." };
    } catch {
      return { problem: "The server does not answer: start cacl serve again." };
    }
  }

  function display(seconds, { from, content, problem }) {
    if (problem) return unshown(problem);
    const playing = !screen.paused;
    URL.revokeObjectURL(screen.src);
    screen.src = URL.createObjectURL(content);
    offset = from;
    onstage();
    screen.addEventListener("loadedmetadata", () => { screen.currentTime = seconds - offset; }, { once: true });
    if (playing) screen.play().catch(() => {});
  }

  function unshown(problem) {
    stage.replaceChildren(make("img", { src: preview(video.key, n), alt: "" }), said(new Error(problem)));
  }

  screen.addEventListener("error", () => {
    if (fallen) return unshown("This browser cannot play it.");
    fallen = true;
    if (dropped) stage.replaceChildren(make("p.hint", {}, "This browser cannot play the file; it can be asked with all the same."));
    else reencoded(begin);
  });
  if (fallen) reencoded(begin);
  else {
    screen.src = `/video/${video.key}`;
    if (begin) seek(begin);
  }

  const part = { start: start ?? (timed ? first : null), end: end ?? (timed ? last : null) };
  const element = make("div.player", {}, stage);
  const onmove = (which) => (fallen ? reencoded(part[which], STILL) : seek(part[which]));
  if (timed) element.append(handles(video, part, { onmove, onenter: () => actions[0]?.[1]({ key: video.key, ...part }) }));
  const row = make("div.row", {});
  for (const [text, act, title] of actions) row.append(button(text, () => act({ key: video.key, ...part }), { title }));
  element.append(row);
  screen.addEventListener("timeupdate", () => {
    // between the handles it goes round
    if (timed && !screen.paused && screen.currentTime + offset > part.end && part.end < offset + screen.duration - 0.1) seek(part.start);
  });
  const stop = () => {
    clearTimeout(waiting);
    over.abort();
    screen.pause();
    URL.revokeObjectURL(screen.src);
    screen.removeAttribute("src");
    screen.load();
  };
  return { element, seek, part, stop };
}

function handles(video, part, { onmove, onenter }) {
  const step = Math.max((video.to_s - video.from_s) / 500, 0.05);
  const words = make("output", {}, range(part.start, part.end));
  const middle = make("i.between");
  const input = (which, name) => make("input", { type: "range", min: video.from_s, max: video.to_s, step: "any", value: part[which],
    "aria-label": name });
  const inputs = { start: input("start", "Start of the part"), end: input("end", "End of the part") };
  const show = () => {
    const length = Math.max(video.to_s - video.from_s, 1e-6);
    middle.style.left = `${((part.start - video.from_s) / length) * 100}%`;
    middle.style.right = `${((video.to_s - part.end) / length) * 100}%`;
    words.textContent = range(part.start, part.end);
    for (const which of ["start", "end"]) inputs[which].setAttribute("aria-valuetext", range(part.start, part.end));
  };
  const move = (which, value) => {
    const gap = Math.min(0.1, video.to_s - video.from_s);
    part[which] = which === "start" ? Math.min(Math.max(value, video.from_s), part.end - gap) : Math.max(Math.min(value, video.to_s), part.start + gap);
    inputs[which].value = part[which];
    show();
    onmove(which);
  };
  for (const which of ["start", "end"]) {
    inputs[which].addEventListener("input", () => move(which, Number(inputs[which].value)));
    inputs[which].addEventListener("keydown", (event) => {
      if (event.key === "Enter") onenter();
      const sign = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (!sign && event.key !== "Enter") return;
      event.preventDefault();
      event.stopPropagation();
      if (sign) move(which, part[which] + sign * step * (event.shiftKey ? 10 : 1));
    });
  }
  show();
  return make("div.handles", {}, make("div.track", {}, middle, inputs.start, inputs.end), words);
}
