// Beside the map: the selected image with its neighbors, the filters, the table of the numbers.

const ROWS = 50; // of a page of the table
const byId = (id) => document.getElementById(id);
let page = 0;

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function thumbnailOf(i, size) {
  const picture = element("canvas", { width: 2 * size, height: 2 * size, ariaHidden: "true" });
  picture.style.width = picture.style.height = `${size}px`;
  const paint = () => paintThumbnail(picture.getContext("2d"), i, size, size, 2 * size);
  Promise.resolve(atlases[Math.floor(i / data.atlas.cells)]?.decode()).then(paint, () => {});
  return picture;
}

function fileSize(bytes) {
  if (bytes < 1e6) return `${Math.max(bytes / 1e3, 0.1).toFixed(bytes < 1e4 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function facts(i) {
  return [
    ["Size", `${data.width[i]} × ${data.height[i]} pixels, ${fileSize(data.bytes[i])}`],
    ["Cluster", data.clusters[data.cluster[i]].name],
  ];
}

function select(i, { focus = false } = {}) {
  selected = i;
  byId("map-empty").hidden = i >= 0;
  byId("map-image").hidden = i < 0;
  if (i >= 0) describe(i, focus);
  redraw();
}

function describe(i, focus) {
  const title = element("h4", { textContent: data.path[i], tabIndex: -1 });
  const list = element("dl", {});
  for (const [name, value] of facts(i)) list.append(element("dt", {}, name), element("dd", {}, value));
  byId("map-facts").replaceChildren(thumbnailOf(i, 128), title, list);
  byId("map-neighbors").replaceChildren(...data.neighbors[i].map(neighborButton));
  if (focus) title.focus();
}

function neighborButton(i) {
  const name = `${data.path[i]}, ${data.clusters[data.cluster[i]].name}`;
  const button = element("button", { type: "button", title: name, ariaLabel: name }, thumbnailOf(i, 56));
  button.addEventListener("click", () => open(i, { focus: true }));
  return element("li", {}, button);
}

// Selects an image and brings it into the middle.
function open(i, options) {
  select(i, options);
  flyTo({ x: xs[i], y: ys[i], zoom: Math.max(view.zoom, (48 / (data.spacing * fit()))) });
}

function filterClusters() {
  hidden.clear();
  document.querySelectorAll("[data-cluster]").forEach((box) => box.checked || hidden.add(Number(box.dataset.cluster)));
  filtersChanged();
}

function filtersChanged() {
  refilter();
  page = 0;
  const left = remaining().length;
  byId("map-count").textContent = left === count ? `${say(count)} images` : `${say(left)} of ${say(count)} images`;
  fillTable();
}

function say(number) {
  return number.toLocaleString("en-US");
}

function setAll(checked) {
  document.querySelectorAll("[data-cluster]").forEach((box) => (box.checked = checked));
  filterClusters();
}

function search(text) {
  query = text.trim().toLowerCase();
  filtersChanged();
}

// The match after the selected one; after the last, the first.
function openNextMatch() {
  const matches = remaining();
  if (query && matches.length) open(matches.find((i) => i > selected) ?? matches[0]);
}

function fillTable() {
  if (!byId("map-table").open) return;
  const rows = remaining();
  const pages = Math.max(1, Math.ceil(rows.length / ROWS));
  byId("map-rows").replaceChildren(...rows.slice(page * ROWS, (page + 1) * ROWS).map(tableRow));
  byId("map-page").textContent = `Page ${page + 1} of ${pages}`;
  byId("map-previous").disabled = page === 0;
  byId("map-next").disabled = page >= pages - 1;
}

function tableRow(i) {
  const button = element("button", { type: "button", textContent: data.path[i] });
  button.addEventListener("click", () => open(i, { focus: true }));
  const numbers = [xs[i], ys[i]].map((value) => element("td", { textContent: value.toFixed(4) }));
  const cluster = element("td", { textContent: data.clusters[data.cluster[i]].name });
  return element("tr", {}, element("th", { scope: "row" }, button), cluster, ...numbers);
}

function turnPage(by) {
  page += by;
  fillTable();
}
