// What the map shows: the images, which of them are filtered out, and the part of the plane in sight.

const data = JSON.parse(document.getElementById("map-data").textContent);
const count = data.x.length;
const canvas = document.getElementById("map-canvas");
const context = canvas.getContext("2d");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const print = matchMedia("print");

const MARGIN = 36; // pixels around the whole map
const CLOSEST = Math.max(4, 0.2 / data.spacing); // zoom
const FLIGHT = 260; // milliseconds

const xs = Float32Array.from(data.x, (x) => x / data.unit);
const ys = Float32Array.from(data.y, (y) => y / data.unit);
const paths = data.path.map((path) => path.toLowerCase());
const range = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [1, 0]);
const [left, right] = range(xs);
const [top_, bottom] = range(ys);
const middle = { x: (left + right) / 2, y: (top_ + bottom) / 2, zoom: 1 };

let view = { ...middle };
let width = 0; // of the canvas, in CSS pixels
let height = 0;
let selected = -1;
let hovered = -1;
let byKeyboard = false; // the image in the middle is marked: Enter opens it
let query = "";
let version = 0; // of the filter
const hidden = new Set(); // places of clusters in the legend
const shown = new Uint8Array(count).fill(1);
const found = new Uint8Array(count).fill(1);

function fit() {
  return Math.min(
    (width - 2 * MARGIN) / Math.max(right - left, 1e-3),
    (height - 2 * MARGIN) / Math.max(bottom - top_, 1e-3),
  );
}

function place(i) {
  const scale = fit() * view.zoom;
  return [(xs[i] - view.x) * scale + width / 2, (ys[i] - view.y) * scale + height / 2];
}

function moveTo(next) {
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  view = { x: clamp(next.x, 0, 1), y: clamp(next.y, 0, 1), zoom: clamp(next.zoom, 0.8, CLOSEST) };
  redraw();
}

function pan(dx, dy) {
  const scale = fit() * view.zoom;
  moveTo({ ...view, x: view.x - dx / scale, y: view.y - dy / scale });
}

// The point of the map below (px, py) stays there.
function zoomAt(factor, px = width / 2, py = height / 2) {
  const zoom = Math.min(Math.max(view.zoom * factor, 0.8), CLOSEST);
  const change = 1 / (fit() * view.zoom) - 1 / (fit() * zoom);
  moveTo({ x: view.x + (px - width / 2) * change, y: view.y + (py - height / 2) * change, zoom });
}

function flyTo(target) {
  if (still.matches) return moveTo(target);
  const from = view;
  const begin = performance.now();
  const step = (now) => {
    const t = Math.min((now - begin) / FLIGHT, 1);
    const part = t * t * (3 - 2 * t);
    const between = (a, b) => a + (b - a) * part;
    moveTo({
      x: between(from.x, target.x),
      y: between(from.y, target.y),
      zoom: from.zoom * (target.zoom / from.zoom) ** part,
    });
    if (t < 1) requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function refilter() {
  version++;
  for (let i = 0; i < count; i++) {
    shown[i] = hidden.has(data.cluster[i]) ? 0 : 1;
    found[i] = query === "" || paths[i].includes(query) ? 1 : 0;
  }
  redraw();
}

// The images that the filters leave, in the order of the table.
function remaining() {
  return [...Array(count).keys()].filter((i) => shown[i] && found[i]);
}
