// Takes the screenshots of the page's views for docs/, with a real node.

import { join } from "node:path";
import { openSubmit, rowsAre, run } from "./editor.mjs";
import { joined, launch, root, shows, startNode } from "./harness.mjs";

const node = await startNode("worker,shuffler,compiler,relay");
const browser = await launch("chromium");
try {
  const page = await joined(browser, node, 1);
  await page.setViewport({ width: 1200, height: 800 });
  const picture = (name, options = {}) => page.screenshot({ path: join(root, `docs/page-${name}.png`), ...options });
  await picture("join");
  await openSubmit(page);
  await picture("submit");
  await run(page, "Done");
  await rowsAre(page, (rows) => rows.length > 0);
  await page.$eval("#job", (job) => job.scrollIntoView());
  await picture("result");
  // A job of some seconds, so that there is activity to show.
  await page.click("::-p-xpath(//ul[@id='examples']//button[text()='Monte Carlo pi'])");
  await page.click("#settings summary");
  await page.$eval("#setting-tasks", (field) => (field.value = "2000"));
  await run(page, "Running");
  await shows(page, "#job .steps", (text) => /[1-9]\d+ of 2,000 tasks · .* left/.test(text));
  await picture("progress");
  await page.click('nav [data-view="mesh"]');
  await shows(page, "#tasks", (text) => Number(text) > 20);
  await picture("mesh", { fullPage: true });
  await page.click('nav [data-view="submit"]');
  await page.click("::-p-xpath(//div[@id='job']//button[text()='Cancel'])");
  await shows(page, "#job .head p", (text) => text.startsWith("Cancelled"));
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  await page.setViewport({ width: 390, height: 844, deviceScaleFactor: 2 });
  await page.click("#jobs li:last-child .name");
  await rowsAre(page, (rows) => rows.length > 0);
  await page.$eval("#job", (job) => job.scrollIntoView());
  await picture("phone-dark");
} finally {
  await browser.close();
  await node.end();
}
