// Mouse, fingers, wheel and keys.

const REACH = { mouse: 12, pen: 16, touch: 24 }; // pixels from a marker
const pointers = new Map(); // that are down: where they are
let travelled = 0; // pixels since the first of them came down
let hintTimer = 0;

function spot(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function imageAt(px, py, reach) {
  if (selected >= 0 && isInside(selected, px, py, SELECTED)) return selected; // it is drawn above all others
  const i = nearestImage(px, py);
  if (i < 0 || (showsPictures() && isInside(i, px, py, thumbnailSize()))) return i;
  return Math.hypot(place(i)[0] - px, place(i)[1] - py) <= reach ? i : -1;
}

function isInside(i, px, py, size) {
  const [x, y] = place(i);
  const [w, h] = drawnSize(i, size);
  return Math.abs(x - px) <= w / 2 && Math.abs(y - py) <= h / 2;
}

function nearestImage(px, py) {
  let [best, closest] = [-1, Infinity];
  for (let i = 0; i < count; i++) {
    if (!shown[i] || !found[i]) continue;
    const [x, y] = place(i);
    const distance = (x - px) ** 2 + (y - py) ** 2;
    if (distance < closest) [best, closest] = [i, distance];
  }
  return best;
}

function imageInMiddle() {
  return nearestImage(width / 2, height / 2);
}

function pointerDown(event) {
  canvas.setPointerCapture(event.pointerId);
  if (pointers.size === 0) travelled = 0;
  pointers.set(event.pointerId, spot(event));
  byKeyboard = false;
}

function pointerMove(event) {
  const before = pointers.get(event.pointerId);
  if (!before) return hover(event);
  const now = spot(event);
  const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  travelled += Math.hypot(dx, dy);
  pointers.set(event.pointerId, now);
  if (other) pinch(before, now, other);
  else if (travelled > 4) pan(dx, dy);
}

function pinch(before, now, other) {
  const apartBy = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
  pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  zoomAt(apartBy(now) / Math.max(apartBy(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
}

function pointerUp(event) {
  if (pointers.size === 1 && travelled <= 4) select(imageAt(...spot(event), REACH[event.pointerType] ?? 12));
  pointers.delete(event.pointerId);
}

function hover(event) {
  const image = event.pointerType === "touch" ? -1 : imageAt(...spot(event), REACH.mouse);
  if (image !== hovered) redraw();
  hovered = image;
  canvas.classList.toggle("over-image", image >= 0);
  showTip(image);
}

function showTip(i) {
  const tip = byId("map-tip");
  tip.hidden = i < 0;
  if (i < 0) return;
  const [x, y] = place(i);
  tip.textContent = data.path[i];
  tip.classList.toggle("below", y < 70);
  tip.style.left = `${Math.min(Math.max(x, tip.offsetWidth / 2), width - tip.offsetWidth / 2)}px`;
  tip.style.top = `${y}px`;
}

// The page scrolls below the wheel until the map is clicked.
function wheel(event) {
  if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return showHint();
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 16 : 1;
  return zoomAt(2 ** (-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0025)), ...spot(event));
}

function showHint() {
  byId("map-hint").hidden = false;
  clearTimeout(hintTimer);
  hintTimer = setTimeout(() => (byId("map-hint").hidden = true), 1600);
}

const KEYS = {
  ArrowLeft: () => pan(60, 0),
  ArrowRight: () => pan(-60, 0),
  ArrowUp: () => pan(0, 60),
  ArrowDown: () => pan(0, -60),
  "+": () => zoomAt(1.4),
  "=": () => zoomAt(1.4),
  "-": () => zoomAt(1 / 1.4),
  0: () => flyTo(middle),
  Enter: () => select(imageInMiddle()),
  " ": () => select(imageInMiddle()),
  Escape: () => select(-1),
};

function keyDown(event) {
  const act = KEYS[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  byKeyboard = true;
  hovered = -1;
  act();
  redraw();
}

function resize() {
  if (print.matches) return; // the picture is printed as it is
  [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const sharpness = Math.min(devicePixelRatio || 1, 3);
  [canvas.width, canvas.height] = [Math.round(width * sharpness), Math.round(height * sharpness)];
  redraw();
}

function recolor() {
  colors = null;
  redraw();
}

// On paper: the whole map, in the colors of the page there.
function printing() {
  const before = view;
  colors = null;
  view = print.matches ? { ...middle } : view;
  draw();
  view = before;
  colors = null;
}

function listen(target, actions) {
  for (const [name, act] of Object.entries(actions)) target.addEventListener(name, act, { passive: false });
}

listen(canvas, {
  pointerdown: pointerDown, pointermove: pointerMove, pointerup: pointerUp, wheel, keydown: keyDown,
  pointercancel: (event) => pointers.delete(event.pointerId),
  pointerleave: () => { hovered = -1; showTip(-1); redraw(); },
  blur: () => { byKeyboard = false; redraw(); },
});
listen(byId("map-legend"), { change: filterClusters });
listen(byId("map-all"), { click: () => setAll(true) });
listen(byId("map-none"), { click: () => setAll(false) });
listen(byId("map-in"), { click: () => flyTo({ ...view, zoom: Math.min(view.zoom * 1.8, CLOSEST) }) });
listen(byId("map-out"), { click: () => flyTo({ ...view, zoom: Math.max(view.zoom / 1.8, 0.8) }) });
listen(byId("map-reset"), { click: () => flyTo(middle) });
listen(byId("map-search"), {
  input: (event) => search(event.target.value),
  keydown: (event) => event.key === "Enter" && openNextMatch(),
});
listen(byId("map-table"), { toggle: fillTable });
listen(byId("map-previous"), { click: () => turnPage(-1) });
listen(byId("map-next"), { click: () => turnPage(1) });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
print.addEventListener("change", printing);
new ResizeObserver(resize).observe(canvas);
atlases.forEach((atlas) => atlas.decode().then(redraw, () => {}));
document.querySelector(".map").classList.add("ready");
filtersChanged();
