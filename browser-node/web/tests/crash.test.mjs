// A tab whose program crashes, in Debian's Chromium: what the user sees, and how the mesh reacts.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { openSubmit, run, write } from "./editor.mjs";
import { countWords, crashable, joined, launch, open, root, scratch, shows, startNode, submit, text } from "./harness.mjs";

const wordcount = join(root, "examples/wordcount/wordcount_fast.cpp");

describe("a tab whose program crashes", { timeout: 300_000 }, () => {
  let browser, node;
  before(async () => {
    node = await startNode();
    browser = await launch("chromium");
  });
  after(async () => {
    await browser?.close();
    await node?.end();
  });

  async function counted(name) {
    const words = text(10_000);
    const path = join(scratch, name);
    writeFileSync(path, words);
    const job = submit(node, wordcount, [path]);
    assert.equal(await job.ended, 0, job.said);
    assert.deepEqual(readFileSync(job.output), countWords(words));
  }

  test("says so, and joins again as the same peer when a button is pressed", async () => {
    const page = await open(browser, node);
    const crash = await crashable(page);
    await joined(browser, node, 1, page);
    const before = await shows(page, "#state", (text) => text.includes("12D3"));
    await crash();
    await shows(page, "#crash-text", (text) => /stopped because of a fault in it\. The mesh goes on/.test(text));
    assert.equal(await page.$eval("#badge", (badge) => badge.textContent), "Stopped");
    assert.ok(await page.$eval("#crash", (notice) => notice.checkVisibility()));
    assert.ok(await page.$eval("#join-button", (button) => button.checkVisibility()));
    await page.click("#crash-button");
    assert.equal(await shows(page, "#state", (text) => text.includes("12D3")), before);
    assert.equal(await page.$eval("#crash", (notice) => notice.checkVisibility()), false);
    // No native peer works here.
    await counted("again.txt");
    await shows(page, "#tasks", (text) => Number(text) > 0);
    await page.close();
  });

  test("does not affect the mesh", async () => {
    const page = await open(browser, node);
    const crash = await crashable(page);
    await joined(browser, node, 1, page);
    const other = await joined(browser, node);
    await crash();
    await counted("on.txt");
    await other.close();
    await page.close();
  });

  test("ends a job that was submitted there, with an error", async () => {
    const page = await open(browser, node);
    const crash = await crashable(page);
    await joined(browser, node, 1, page);
    await openSubmit(page);
    await write(page, "void map(string_view, webmesh::Emitter<int>&) { for (volatile int i = 0;; i = i + 1); }\n" +
      "void reduce(string_view, webmesh::Values<int>&, webmesh::Emitter<int>&) {}\n");
    await run(page, "Running");
    await crash();
    await shows(page, "#job .head p", (text) => /^Failed/.test(text));
    assert.match(await page.$eval("#job", (job) => job.textContent), /stopped because of a fault in it/);
    assert.ok(await page.$eval("#crash", (notice) => notice.checkVisibility()));
    await page.close();
  });
});
