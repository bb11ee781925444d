// Drawing: markers from far away, thumbnails from near. A frame is drawn only after a change.

const SMALLEST = 14; // pixels of a thumbnail
const LARGEST = 96;
const SELECTED = 84; // pixels of the thumbnail of the selected image
const MARKED = 44; // pixels of a thumbnail that has a marker in its corner
const MARKER = 12; // pixels of the box that a shape is drawn in
const atlases = [...document.querySelectorAll("[data-atlas]")];
const shapes = data.shapes.map((shape) => new Path2D(shape));
const centers = data.clusters.map((_, c) => centerOf(c));
let frame = 0;
let colors = null; // of the theme, and the markers in these colors

function redraw() {
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  colors ||= readColors();
  const sharpness = canvas.width / Math.max(width, 1);
  context.setTransform(sharpness, 0, 0, sharpness, 0, 0);
  context.clearRect(0, 0, width, height);
  drawImages();
  drawNames();
  if (!print.matches) drawChosen();
  Object.assign(canvas.dataset, { zoom: view.zoom.toFixed(3), pictures: showsPictures(), selected });
  performance.mark("map-drawn");
}

function readColors() {
  const style = getComputedStyle(canvas);
  const read = (name) => style.getPropertyValue(name).trim();
  const [ink, paper] = [read("--ink"), read("--page")];
  const clusters = data.clusters.map((cluster) => read(`--color-${cluster.color}`));
  return { ink, paper, clusters, markers: clusters.map((color, c) => drawnMarker(color, data.clusters[c].shape, paper)) };
}

function drawnMarker(color, shape, edge) {
  const picture = document.createElement("canvas");
  picture.width = picture.height = 4 * MARKER;
  const pen = picture.getContext("2d");
  pen.setTransform(4, 0, 0, 4, 2 * MARKER, 2 * MARKER);
  pen.lineWidth = 1.2;
  pen.strokeStyle = edge;
  pen.stroke(shapes[shape]);
  pen.fillStyle = color;
  pen.fill(shapes[shape]);
  return picture;
}

function drawImages() {
  const pictures = showsPictures();
  const size = pictures ? thumbnailSize() : Math.min(Math.max(data.spacing * fit() * view.zoom, 5), MARKER);
  for (const matching of [0, 1]) {
    context.globalAlpha = matching ? 1 : 0.12;
    for (let i = 0; i < count; i++)
      if (shown[i] && found[i] === matching && isInSight(i, size)) (pictures ? drawThumbnail : drawMarker)(i, size);
  }
  context.globalAlpha = 1;
}

function isInSight(i, size) {
  const [x, y] = place(i);
  return x > -size && y > -size && x < width + size && y < height + size;
}

function drawMarker(i, size, [x, y] = place(i)) {
  context.drawImage(colors.markers[data.cluster[i]], x - size / 2, y - size / 2, size, size);
}

// The images are spread: thumbnails as long as the distance between two of them have room side by side.
function thumbnailSize() {
  return Math.min(data.spacing * fit() * view.zoom * 0.96, LARGEST);
}

function showsPictures() {
  return data.thumbnails !== null && thumbnailSize() >= SMALLEST && !print.matches;
}

function drawThumbnail(i, size) {
  const [x, y] = place(i);
  const [w, h] = paintThumbnail(context, i, x, y, size - 3);
  if (!data.thumbnails) return;
  context.lineWidth = 1.5;
  context.strokeStyle = colors.clusters[data.cluster[i]];
  context.strokeRect(x - w / 2 - 0.75, y - h / 2 - 0.75, w + 1.5, h + 1.5);
  if (size >= MARKED) drawMarker(i, MARKER * 1.2, [x - w / 2 + 6, y + h / 2 - 6]);
}

// Paints a thumbnail with its middle at (x, y), its longer side `size` pixels, and returns its width and height; a marker
// where there are no thumbnails.
function paintThumbnail(pen, i, x, y, size) {
  if (!data.thumbnails) {
    pen.drawImage(colors.markers[data.cluster[i]], x - size / 4, y - size / 4, size / 2, size / 2);
    return [size, size];
  }
  const { side, columns, cells } = data.atlas;
  const cell = i % cells;
  const [left, top] = [side * (cell % columns), side * Math.floor(cell / columns)];
  const atlas = atlases[Math.floor(i / cells)];
  const [w, h] = drawnSize(i, size);
  pen.imageSmoothingQuality = "high";
  if (atlas.complete) pen.drawImage(atlas, left, top, ...data.thumbnails[i], x - w / 2, y - h / 2, w, h);
  return [w, h];
}

// The width and height of a thumbnail whose longer side is drawn with `size` pixels.
function drawnSize(i, size) {
  const [w, h] = data.thumbnails?.[i] ?? [1, 1];
  return [(w * size) / Math.max(w, h), (h * size) / Math.max(w, h)];
}

// The image of a cluster that is nearest to the mean of its places: the name of the cluster stands there.
function centerOf(c) {
  const members = [...Array(count).keys()].filter((i) => data.cluster[i] === c);
  const mean = (values) => members.reduce((sum, i) => sum + values[i], 0) / members.length;
  const [x, y] = [mean(xs), mean(ys)];
  const far = (i) => (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
  return members.reduce((best, i) => (far(i) < far(best) ? i : best), members[0]);
}

function drawNames() {
  if (data.clusters.length < 2) return;
  context.font = "600 13px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  const boxes = [];
  data.clusters.forEach((cluster, c) => {
    if (hidden.has(c)) return;
    const name = width < 600 ? shortened(cluster.name.split(":")[0], 16) : shortened(cluster.name, 24);
    const [x, y] = place(centers[c]);
    const box = [x, y, context.measureText(name).width + 16];
    if (boxes.some((b) => Math.abs(b[0] - x) < (b[2] + box[2]) / 2 && Math.abs(b[1] - y) < 24)) return;
    boxes.push(box);
    drawName(name, box);
  });
}

function drawName(name, [x, y, wide]) {
  context.globalAlpha = 0.86;
  context.fillStyle = colors.paper;
  context.beginPath();
  context.roundRect(x - wide / 2, y - 11, wide, 22, 11);
  context.fill();
  context.globalAlpha = 1;
  context.fillStyle = colors.ink;
  context.fillText(name, x, y);
}

function shortened(text, most) {
  const letters = [...text];
  return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : text;
}

// The selected image with lines to its neighbors, and the image below the pointer or in the middle.
function drawChosen() {
  if (selected >= 0) {
    context.strokeStyle = colors.ink;
    context.lineWidth = 1;
    data.neighbors[selected].forEach((i) => drawLine(place(selected), place(i)));
    data.neighbors[selected].forEach((i) => drawThumbnail(i, Math.max(thumbnailSize(), 40)));
    drawFramed(selected, SELECTED);
  }
  const marked = byKeyboard ? imageInMiddle() : hovered;
  if (marked >= 0 && marked !== selected) drawFramed(marked, Math.max(thumbnailSize() * 1.2, 56));
}

function drawLine([x, y], [u, v]) {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(u, v);
  context.stroke();
}

function drawFramed(i, size) {
  drawThumbnail(i, size);
  const [x, y] = place(i);
  const [w, h] = drawnSize(i, size - 3);
  context.lineWidth = 2;
  context.strokeStyle = colors.ink;
  context.strokeRect(x - w / 2 - 3, y - h / 2 - 3, w + 6, h + 6);
}
