// Many points on a canvas: drawn into an image pixel by pixel, which takes milliseconds for 100 000; moved by dragging,
// the wheel, two fingers or keys; a line around points chooses them.
const FARTHEST = 0.7, NEAREST = 400; // zoom
const RING = 70, NEAR = 12; // CSS pixels: what Enter chooses; how near the pointer has to be

export function board(canvas, { onhover, onchoose, onmove }) {
  const pen = canvas.getContext("2d", { alpha: false });
  let points = new Float32Array(), order = new Uint32Array(), codes = new Uint16Array(), marked = new Set();
  let palette = new Uint32Array(), none = 0, paper = 0, ink = 0;
  let image = null, pixels = null, asked = 0;
  let wide = 1, high = 1; // how far the points reach
  const view = { x: 0.5, y: 0.5, zoom: 1 };
  const fingers = new Map();
  let lasso = null, mode = "move", keys = false;

  const ratio = () => Math.min(window.devicePixelRatio || 1, 2);
  const scale = () => Math.min(canvas.clientWidth / wide, canvas.clientHeight / high) * 0.92 * view.zoom; // CSS pixels of 1
  const unit = (x, y) => [(x - canvas.clientWidth / 2) / scale() + view.x, (y - canvas.clientHeight / 2) / scale() + view.y];

  function draw() {
    asked = 0;
    const width = Math.round(canvas.clientWidth * ratio()), height = Math.round(canvas.clientHeight * ratio());
    if (!width || !height) return;
    if (!image || image.width !== width || image.height !== height) {
      canvas.width = width;
      canvas.height = height;
      image = pen.createImageData(width, height);
      pixels = new Uint32Array(image.data.buffer);
    }
    pixels.fill(paper);
    const size = scale() * ratio(), left = width / 2 - view.x * size, top = height / 2 - view.y * size;
    const radius = Math.round(ratio() * ((points.length < 6000 ? 3 : points.length < 60000 ? 2 : 1) + Math.min(Math.max(Math.log2(view.zoom), 0) * 0.6, 3)));
    const disc = discOf(radius, width);
    for (let k = 0; k < order.length; k++) {
      const i = order[k];
      const x = (points[2 * i] * size + left) | 0, y = (points[2 * i + 1] * size + top) | 0;
      if (x < radius || y < radius || x >= width - radius || y >= height - radius) continue;
      const colour = codes[i] < palette.length ? palette[codes[i]] : none, place = y * width + x;
      for (let j = 0; j < disc.length; j++) pixels[place + disc[j]] = colour;
    }
    const large = discOf(radius + Math.round(ratio()), width), edge = radius + Math.round(ratio());
    for (const i of marked) {
      const x = (points[2 * i] * size + left) | 0, y = (points[2 * i + 1] * size + top) | 0;
      if (x < edge || y < edge || x >= width - edge || y >= height - edge) continue;
      for (let j = 0; j < large.length; j++) pixels[y * width + x + large[j]] = ink;
    }
    for (const i of marked) {
      const x = (points[2 * i] * size + left) | 0, y = (points[2 * i + 1] * size + top) | 0;
      if (x < edge || y < edge || x >= width - edge || y >= height - edge) continue;
      const colour = codes[i] < palette.length ? palette[codes[i]] : none;
      for (let j = 0; j < disc.length; j++) pixels[y * width + x + disc[j]] = colour;
    }
    pen.putImageData(image, 0, 0);
    pen.strokeStyle = pen.fillStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 1.5 * ratio();
    if (lasso) {
      pen.beginPath();
      for (const [x, y] of lasso) pen.lineTo(x * ratio(), y * ratio());
      pen.closePath();
      pen.stroke();
    } else if (keys) {
      pen.beginPath();
      pen.arc(width / 2, height / 2, RING * ratio(), 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  const redraw = () => { asked ||= requestAnimationFrame(draw); };

  function moved() {
    view.zoom = Math.min(Math.max(view.zoom, FARTHEST), NEAREST);
    view.x = Math.min(Math.max(view.x, 0), 1);
    view.y = Math.min(Math.max(view.y, 0), 1);
    redraw();
    onmove(view);
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const [fixedX, fixedY] = unit(x, y), before = view.zoom;
    view.zoom = Math.min(Math.max(view.zoom * factor, FARTHEST), NEAREST);
    view.x = fixedX - (fixedX - view.x) * (before / view.zoom);
    view.y = fixedY - (fixedY - view.y) * (before / view.zoom);
    moved();
  }

  function nearest(x, y) {
    const [ux, uy] = unit(x, y);
    let best = -1, least = (NEAR / scale()) ** 2;
    for (let i = 0; 2 * i < points.length; i++) {
      const distance = (points[2 * i] - ux) ** 2 + (points[2 * i + 1] - uy) ** 2;
      if (distance < least) { least = distance; best = i; }
    }
    return best;
  }

  function choose(inside) {
    const found = [];
    for (let i = 0; 2 * i < points.length; i++) if (inside(points[2 * i], points[2 * i + 1])) found.push(i);
    marked = new Set(found);
    redraw();
    onchoose(found);
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    keys = false;
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (fingers.size === 1 && (mode === "lasso") !== event.shiftKey) lasso = [[event.offsetX, event.offsetY]];
    else lasso = null;
    onhover(-1, 0, 0);
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = [event.offsetX, event.offsetY], before = fingers.get(event.pointerId);
    if (!before) return onhover(nearest(...now), ...now);
    if (lasso) {
      const [x, y] = lasso.at(-1);
      if (Math.hypot(now[0] - x, now[1] - y) > 2) lasso.push(now);
      return redraw();
    }
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) zoom(Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(Math.hypot(before[0] - other[0], before[1] - other[1]), 1), ...other);
    else {
      view.x -= (now[0] - before[0]) / scale();
      view.y -= (now[1] - before[1]) / scale();
      moved();
    }
    fingers.set(event.pointerId, now);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      fingers.delete(event.pointerId);
      const line = lasso;
      lasso = null;
      if (line && line.length > 2 && name === "pointerup") choose(within(line.map(([x, y]) => unit(x, y))));
      redraw();
    });
  }
  canvas.addEventListener("pointerleave", () => { if (!fingers.size) onhover(-1, 0, 0); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) { view.x += (step[0] * 40) / scale(); view.y += (step[1] * 40) / scale(); moved(); }
    else if (event.key === "+" || event.key === "=") zoom(1.3);
    else if (event.key === "-") zoom(1 / 1.3);
    else if (event.key === "0") fit();
    else if (event.key === "Enter") choose((x, y) => Math.hypot(x - view.x, y - view.y) * scale() < RING);
    else return;
    keys = true;
    redraw();
    onhover(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2), canvas.clientWidth / 2, canvas.clientHeight / 2);
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("focus", () => { keys = canvas.matches(":focus-visible"); redraw(); });
  canvas.addEventListener("blur", () => { keys = false; onhover(-1, 0, 0); redraw(); });
  new ResizeObserver(redraw).observe(canvas);

  function fit() {
    Object.assign(view, { x: 0.5, y: 0.5, zoom: 1 });
    moved();
  }

  return {
    fit,
    redraw,
    setMode: (wanted) => { mode = wanted; },
    look: (x, y, closer) => { Object.assign(view, { x, y, zoom: closer }); redraw(); },
    setPoints: (found) => { points = found; wide = reach(found, 0); high = reach(found, 1); order = Uint32Array.from({ length: found.length / 2 }, (_, i) => i); marked = new Set(); redraw(); },
    setMarked: (list) => { marked = new Set(list); redraw(); },
    setColours: (found, colours, other, back, front) => {
      codes = found;
      [palette, none, paper, ink] = [Uint32Array.from(colours, word), word(other), word(back), word(front)];
      // what has no colour lies below; the others in an order that lets none of them cover all others
      const rank = (i) => (codes[i] < palette.length ? 1 + (Math.imul(i + 1, 2654435761) >>> 0) / 2 ** 32 : 0);
      const ranks = Float64Array.from({ length: points.length / 2 }, (_, i) => rank(i));
      order = Uint32Array.from({ length: ranks.length }, (_, i) => i).sort((a, b) => ranks[a] - ranks[b]);
      redraw();
    },
  };
}

// "#rrggbb" as a pixel; images hold red first, and all machines with a browser put the lowest byte first.
function word(colour) {
  const value = parseInt(colour.slice(1), 16);
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

// Twice as far from the middle as all but a few points reach along an axis.
function reach(points, axis) {
  const away = Float32Array.from({ length: points.length / 2 }, (_, i) => Math.abs(points[2 * i + axis] - 0.5)).sort();
  return Math.max(2 * (away[Math.floor(away.length * 0.998)] ?? 0.5), 0.05);
}

function discOf(radius, width) {
  const found = [];
  for (let y = -radius; y <= radius; y++) for (let x = -radius; x <= radius; x++) if (x * x + y * y <= (radius + 0.5) ** 2) found.push(y * width + x);
  return Int32Array.from(found);
}

// Whether a point is within a closed line (even-odd).
function within(line) {
  const xs = line.map(([x]) => x), ys = line.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return (x, y) => {
    if (x < left || x > right || y < top || y > bottom) return false;
    let inside = false;
    for (let i = 0, j = line.length - 1; i < line.length; j = i++) {
      if ((ys[i] > y) !== (ys[j] > y) && x < ((xs[j] - xs[i]) * (y - ys[i])) / (ys[j] - ys[i]) + xs[i]) inside = !inside;
    }
    return inside;
  };
}
