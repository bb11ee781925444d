// Opens a report in Chromium, uses it, and draws it: node report.mjs REPORT.html FOLDER [phone|laptop|print] [light|dark]
// Writes screenshots and findings.json into FOLDER; ends with status 1 if there is a fault.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { useMap } from "./map.mjs";

const SIZES = { phone: { width: 390, height: 844 }, laptop: { width: 1366, height: 768 } };
const SCHEMES = ["light", "dark"];
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const [file, folder] = process.argv.slice(2, 4).map((name) => resolve(name));
const words = process.argv.slice(4); // without them: each size in each scheme
const wanted = (names) => (names.some((name) => words.includes(name)) ? names.filter((name) => words.includes(name)) : names);
const address = pathToFileURL(file).href;
const faults = [];
const findings = { faults, firstDraw: {}, accessibility: {} };

async function openReport(browser, name, settings) {
  const context = await browser.newContext({ ...settings, bypassCSP: false });
  const page = await context.newPage();
  const fault = (text) => faults.push(`${name}: ${text}`);
  await context.route("**/*", (route) => {
    const url = route.request().url();
    if (url === address || url.startsWith("data:")) return route.continue();
    fault(`request of ${url}`);
    return route.abort();
  });
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && fault(`console: ${message.text()}`));
  page.on("pageerror", (error) => fault(`exception: ${error.stack}`));
  page.on("dialog", (dialog) => fault(`dialog: ${dialog.message()}`) && dialog.dismiss());
  await page.goto(address);
  await page.waitForFunction(() => performance.getEntriesByName("map-drawn").length || !document.getElementById("map-app"));
  return page;
}

// Milliseconds from the begin of the loading to the first picture of the map.
const firstDraw = (page) => page.evaluate(() => performance.getEntriesByName("map-drawn")[0]?.startTime ?? null);

async function checkAccessibility(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  findings.accessibility[name] = violations.map((v) => ({ id: v.id, impact: v.impact, nodes: v.nodes.length }));
  for (const v of violations)
    if (["serious", "critical"].includes(v.impact)) faults.push(`${name}: axe: ${v.help}: ${v.nodes[0].html.slice(0, 200)}`);
}

async function checkWidth(page, name) {
  const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (wide > inner) faults.push(`${name}: the page is ${wide} pixels wide in a window of ${inner}`);
}

async function draw(page, name) {
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  const map = page.locator("#map");
  if (await map.count()) await map.screenshot({ path: `${folder}/${name}-map.png` });
}

async function onScreen(browser, size, scheme) {
  const name = `${size}-${scheme}`;
  const phone = size === "phone";
  const page = await openReport(browser, name, {
    viewport: SIZES[size], colorScheme: scheme, hasTouch: phone, isMobile: phone, deviceScaleFactor: phone ? 2 : 1,
  });
  findings.firstDraw[name] = await firstDraw(page);
  await draw(page, name);
  await checkWidth(page, name);
  await checkAccessibility(page, name);
  return page;
}

async function onPaper(browser, scheme) {
  const page = await openReport(browser, `print-${scheme}`, { viewport: { width: 794, height: 1123 }, colorScheme: scheme });
  await page.pdf({ path: `${folder}/print-${scheme}.pdf`, format: "A4", printBackground: true, margin: { top: "14mm", bottom: "14mm", left: "14mm", right: "14mm" } });
  await page.emulateMedia({ media: "print" });
  await page.waitForTimeout(100);
  await draw(page, `print-${scheme}`);
  return page;
}

async function useAndCheck(page, name, touch) {
  if (!(await page.locator("#map-app").count())) return;
  const picture = (part) => draw(page, `${name}-${part}`);
  await useMap(page, { touch, picture }).catch((error) => faults.push(`${name}: ${error.stack}`));
  await checkAccessibility(page, `${name}-used`);
}

async function everything(browser) {
  for (const scheme of wanted(SCHEMES))
    for (const size of wanted([...Object.keys(SIZES), "print"])) {
      const page = await (size === "print" ? onPaper(browser, scheme) : onScreen(browser, size, scheme));
      if (size !== "print") await useAndCheck(page, `${size}-${scheme}`, size === "phone");
      await page.context().close();
    }
}

mkdirSync(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"],
});
try {
  await everything(browser);
} finally {
  await browser.close();
}
writeFileSync(`${folder}/findings.json`, JSON.stringify(findings, null, 1));
console.log(JSON.stringify(findings, null, 1));
process.exitCode = faults.length ? 1 : 0;
