// A player with two handles: what lies between them can be asked with. What the browser cannot play is encoded anew by
// the server, in parts; what is not there is shown as moving preview.
import { preview } from "./api.js";
import { button, make, range, said } from "./dom.js";

export function player(video, { start = null, end = null, n = 0, at = null, play = false, actions = [] }) {
  const timed = video.from_s !== null && video.to_s !== null;
  const first = video.from_s ?? 0, last = video.to_s ?? 0;
  const screen = make("video", { controls: true, muted: true, playsInline: true, preload: "metadata", autoplay: play });
  const stage = make("div.stage", {}, screen);
  let offset = 0; // of what plays against the file's own time
  let fallen = false;
  const seek = (seconds) => {
    if (fallen) return reencoded(seconds);
    const go = () => { screen.currentTime = seconds - offset; };
    if (screen.readyState) go();
    else screen.addEventListener("loadedmetadata", go, { once: true });
  };

  async function reencoded(seconds) {
    const from = Math.max(first, seconds - 0.5);
    const reply = await fetch(`/clip/${video.key}?start=${from.toFixed(2)}`).catch(() => null);
    if (!reply?.ok) {
      const why = reply ? (await reply.json().catch(() => ({}))).error : "The server does not answer: start cacl serve again.";
      stage.replaceChildren(make("img", { src: preview(video.key, n), alt: "" }), said(new Error(why ?? "It cannot be shown.")));
      return;
    }
    offset = from;
    URL.revokeObjectURL(screen.src);
    screen.src = URL.createObjectURL(await reply.blob());
  }

  screen.addEventListener("error", () => {
    if (fallen) return;
    fallen = true;
    if (video.key.startsWith("file-")) stage.replaceChildren(make("p.hint", {}, "This browser cannot play the file; it can be asked with all the same."));
    else reencoded(at ?? start ?? first);
  });
  screen.src = `/video/${video.key}`;
  if (at ?? start) seek(at ?? start);

  const part = { start: start ?? (timed ? first : null), end: end ?? (timed ? last : null) };
  const element = make("div.player", {}, stage);
  if (timed) element.append(handles(video, part, { onmove: (which) => seek(part[which]), onenter: () => actions[0]?.[1]({ key: video.key, ...part }) }));
  const row = make("div.row", {});
  for (const [text, act, title] of actions) row.append(button(text, () => act({ key: video.key, ...part }), { title }));
  element.append(row);
  screen.addEventListener("timeupdate", () => {
    // between the handles it goes round
    if (timed && !screen.paused && screen.currentTime + offset > part.end && part.end < last) seek(part.start);
  });
  return { element, seek, part, stop: () => { screen.pause(); URL.revokeObjectURL(screen.src); screen.removeAttribute("src"); screen.load(); } };
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
