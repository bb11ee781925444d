// Uses the map of a report as people do: by mouse, by fingers and by keyboard.

import assert from "node:assert/strict";

const frames = (page) => page.waitForTimeout(400); // longer than a flight
const state = (page) => page.locator("#map-canvas").evaluate((canvas) => ({ ...canvas.dataset }));
const zoomOf = async (page) => Number((await state(page)).zoom);
const selectedPath = (page) => page.locator("#map-facts h4").textContent();
const rowsLeft = (page) => page.locator("#map-count").textContent();

async function middle(page) {
  const box = await page.locator("#map-canvas").boundingBox();
  return [box.x + box.width / 2, box.y + box.height / 2];
}

// How many pixels of the map are drawn, counted on a copy.
const ink = (page) =>
  page.locator("#map-canvas").evaluate((canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    return copy.getImageData(0, 0, canvas.width, canvas.height).data.filter((value, i) => i % 4 === 3 && value > 0).length;
  });

async function byKeyboard(page) {
  await page.locator("#map-canvas").focus();
  for (const key of ["+", "+", "+", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"]) await page.keyboard.press(key);
  await frames(page);
  assert.ok((await zoomOf(page)) > 2.5, "the key + zooms");
  await page.keyboard.press("Enter");
  await frames(page);
  assert.ok(await page.locator("#map-image").isVisible(), "Enter shows the image in the middle");
  const path = await selectedPath(page);
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#map-empty").isVisible(), "Escape selects no image");
  return path;
}

async function byMouse(page) {
  await page.locator("#map-reset").click();
  await frames(page);
  const [x, y] = await middle(page);
  await page.mouse.move(x, y);
  await page.mouse.wheel(0, -300);
  await frames(page);
  assert.equal(await zoomOf(page), 1, "the wheel scrolls the page before the map is clicked");
  await page.locator("#map-canvas").scrollIntoViewIfNeeded();
  const [u, v] = await middle(page);
  await page.mouse.click(u, v);
  await page.mouse.wheel(0, -600);
  await frames(page);
  assert.ok((await zoomOf(page)) > 1.5, "the wheel zooms after a click on the map");
}

// The selected image is brought into the middle: a drag moves it by as many pixels, and a click there selects it again.
async function dragAndClick(page) {
  await openFirstNeighbor(page);
  const path = await selectedPath(page);
  const [x, y] = await middle(page);
  await page.mouse.move(x + 40, y + 60);
  await page.mouse.down();
  await page.mouse.move(x + 100, y + 30, { steps: 5 });
  await page.mouse.up();
  assert.equal(await selectedPath(page), path, "a drag selects nothing");
  await page.mouse.click(x + 60, y - 30);
  await frames(page);
  assert.equal(await selectedPath(page), path, "the image has moved with the drag");
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#map-empty").isVisible(), "the click gave the keys to the map");
}

async function openFirstNeighbor(page) {
  if (!(await page.locator("#map-image").isVisible())) {
    await page.locator("#map-canvas").focus();
    await page.keyboard.press("Enter");
  }
  const neighbor = page.locator("#map-neighbors button").first();
  if (!(await neighbor.count())) return; // a map of one image
  const name = await neighbor.getAttribute("aria-label");
  await neighbor.click();
  await frames(page);
  assert.ok(name.startsWith(await selectedPath(page)), "a click on a neighbor shows it");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H4", "the focus is on its path");
  await page.locator("#map-canvas").scrollIntoViewIfNeeded();
}

async function byFingers(page) {
  await page.locator("#map-reset").tap();
  await frames(page);
  await page.locator("#map-canvas").scrollIntoViewIfNeeded();
  const [x, y] = await middle(page);
  await page.touchscreen.tap(x, y);
  const before = await zoomOf(page);
  const touch = await page.context().newCDPSession(page);
  const fingers = (apart) => [{ x: x - apart, y, id: 0 }, { x: x + apart, y, id: 1 }];
  await touch.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: fingers(30) });
  for (const apart of [40, 60, 90]) await touch.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: fingers(apart) });
  await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await frames(page);
  assert.ok((await zoomOf(page)) > 1.8 * before, "two fingers zoom");
}

async function filter(page) {
  await page.locator("#map-canvas").focus();
  await page.keyboard.press("Escape");
  const boxes = page.locator("#map-legend input");
  const all = await rowsLeft(page);
  const before = await ink(page);
  if ((await boxes.count()) > 1) {
    await boxes.first().focus();
    await page.keyboard.press("Space");
    await frames(page);
    assert.notEqual(await rowsLeft(page), all, "a cluster can be left out by the keyboard");
  }
  await page.locator("#map-none").click();
  await frames(page);
  assert.match(await rowsLeft(page), /^0 of /);
  assert.equal(await ink(page), 0, "without clusters nothing is drawn");
  await page.locator("#map-all").click();
  await frames(page);
  assert.equal(await rowsLeft(page), all);
  assert.ok(before > 0 && (await ink(page)) > 0);
}

async function search(page, path) {
  await page.locator("#map-search").fill(path.toUpperCase());
  await page.keyboard.press("Enter");
  await frames(page);
  assert.equal(await selectedPath(page), path, "Enter in the search opens the match");
  await page.locator("#map-search").fill("no such path");
  assert.match(await rowsLeft(page), /^0 of /);
  await page.locator("#map-search").fill("");
}

async function table(page) {
  await page.locator("#map-table summary").focus();
  await page.keyboard.press("Enter");
  const rows = page.locator("#map-rows tr");
  await rows.first().waitFor();
  const first = await rows.first().textContent();
  if (await page.locator("#map-next").isEnabled()) {
    await page.locator("#map-next").click();
    assert.notEqual(await rows.first().textContent(), first, "the table has pages");
  }
  const path = await rows.first().locator("button").textContent();
  await rows.first().locator("button").click();
  assert.equal(await selectedPath(page), path, "a row of the table opens its image");
}

async function drawsOnlyOnChange(page) {
  await frames(page);
  const drawn = () => page.evaluate(() => performance.getEntriesByName("map-drawn").length);
  const before = await drawn();
  await frames(page);
  assert.equal(await drawn(), before, "nothing is drawn while nothing changes");
}

export async function useMap(page, { touch, picture }) {
  assert.ok((await ink(page)) > 0, "the map is drawn");
  const path = await byKeyboard(page);
  await picture("near");
  if (touch) await byFingers(page);
  else await byMouse(page);
  await openFirstNeighbor(page);
  await picture("selected");
  if (!touch) await dragAndClick(page);
  await filter(page);
  await search(page, path);
  await table(page);
  await picture("table");
  await drawsOnlyOnChange(page);
}
