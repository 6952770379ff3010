// Accessibility checks of a page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const script = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Checks the page in light and dark mode, on a desktop screen and on a phone. */
export async function accessible(page, what) {
  for (const width of [1200, 360]) {
    for (const value of ["light", "dark"]) {
      await page.setViewport({ width, height: 800 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
      const where = `${what}, ${value}, ${width} pixels`;
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${where}: the page is ${wide} pixels wide`);
      // Not a script element: the page's policy allows none.
      await page.evaluate(script);
      // The target size of 24 pixels is from WCAG 2.2 (2.5.8); axe checks it only on request.
      const rules = { "target-size": { enabled: true } };
      const found = await page.evaluate(async (rules) => (await globalThis.axe.run({ rules })).violations, rules);
      const told = found.map(({ id, nodes }) => {
        return `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join("\n")}`;
      });
      assert.equal(told.length, 0, `${where}:\n${told.join("\n\n")}`);
    }
  }
  await page.setViewport({ width: 1200, height: 800 });
}
