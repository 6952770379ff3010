// What a reload, or closing another tab, does to jobs and their files, with a fake mesh.

import assert from "node:assert/strict";
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { openSubmit, run, write, written } from "./editor.mjs";
import { serveFake } from "./fake/serve.mjs";
import { closed, elsewhere, launch, opened, REACH_ELSEWHERE, scratch, shows } from "./harness.mjs";

describe("a reload", { timeout: 300_000 }, () => {
  let browser, node, page;
  before(async () => {
    node = await serveFake();
    browser = await launch("chromium", REACH_ELSEWHERE);
  });
  after(async () => {
    await browser?.close();
    await node?.end();
  });

  async function submits(context, at = node) {
    const page = await opened(context, at);
    await openSubmit(page);
    return page;
  }
  async function submitting(at = node) {
    page = await submits(await browser.createBrowserContext(), at);
  }
  async function reload() {
    await page.reload();
    await page.waitForSelector("#submit-body:not([hidden])");
  }
  const inputs = (wanted) => shows(page, "#inputs-shown", wanted);
  const pressed = (text) => page.click(`::-p-xpath(//div[@id='job']//button[text()='${text}'])`);
  function file(name, bytes) {
    const folder = join(scratch, "reload");
    mkdirSync(folder, { recursive: true });
    const path = join(folder, name);
    writeFileSync(path, "12345");
    truncateSync(path, bytes);
    return path;
  }
  /** Chooses files that replace the example's. */
  async function choose(...paths) {
    await page.click("#no-inputs");
    await (await page.$("#files")).uploadFile(...paths);
  }
  const draft = () => page.evaluate(() => JSON.parse(localStorage.getItem("draft")));
  const untilKept = () => page.waitForFunction(() => JSON.parse(localStorage.getItem("draft"))?.inputs.set);

  test("keeps the chosen files", async () => {
    await submitting();
    await choose(file("a.txt", 5), file("b.txt", 7));
    await inputs((text) => text === "2 files, 12 bytes");
    await untilKept();
    await reload();
    await inputs((text) => text === "2 files, 12 bytes");
    assert.deepEqual(await page.$$eval("#inputs .path", (all) => all.map((path) => path.textContent)), ["a.txt", "b.txt"]);
    await run(page, "Done");
    assert.match(await page.$eval("#jobs .said", (said) => said.textContent), /2 files, 12 bytes/);
    await closed(page);
  });

  test("keeps the names of a folder's files", async () => {
    await submitting();
    file("a.txt", 5);
    await page.click("#no-inputs");
    await (await page.$("#folder")).uploadFile(join(scratch, "reload"));
    await untilKept();
    await run(page, "Done");
    const names = () => page.evaluate(() => globalThis.submittedFiles);
    const before = await names();
    assert.ok(before.includes("reload/a.txt"), before.join());
    await reload();
    await run(page, "Done");
    assert.deepEqual(await names(), before);
    await closed(page);
  });

  test("does not turn a job over files that are too large to keep into one over numbers", async () => {
    await submitting();
    await choose(file("large.bin", 300_000_000));
    await inputs((text) => /^1 file, 300 MB, to be chosen again after a reload: the page keeps .*256 MB together/.test(text));
    await page.waitForFunction(() => JSON.parse(localStorage.getItem("draft"))?.inputs.bytes === 300_000_000);
    assert.equal((await draft()).inputs.set, undefined);
    await reload();
    await inputs((text) => /The job's files \(1 file, 300 MB\) must be chosen again/.test(text));
    await page.click("#run");
    await shows(page, "#run-trouble", (text) => /chosen again/.test(text));
    assert.equal(await page.$("#jobs li"), null, "it ran all the same");
    await page.click("#no-inputs");
    await inputs((text) => text.startsWith("No files: "));
    await run(page, "Done");
    await closed(page);
  });

  test("reports in every view which job it ended, with a button that runs it again with its files", async () => {
    await submitting();
    await write(page, "// fake: slow\nint kept;\n");
    await choose(file("a.txt", 5));
    await run(page, "Running");
    await page.waitForSelector("#job li.active");
    await untilKept();
    await write(page, "something else\n");
    await page.click('nav [data-view="mesh"]');
    await page.reload();
    await shows(page, "#reloaded-text", (text) => /wordcount_fast\.cpp ended when this tab was reloaded/.test(text));
    assert.ok(await page.$eval("#reloaded", (notice) => notice.checkVisibility()));
    await page.click("#reloaded-again");
    await page.waitForSelector("#job .head p");
    await shows(page, "#job .head p", (text) => text.startsWith("Running"));
    assert.match(await written(page), /int kept;/);
    await inputs((text) => text === "1 file, 5 bytes");
    const said = await page.$$eval("#jobs .said", (all) => all.map((one) => one.textContent));
    assert.match(said[0], /^Running.*1 file, 5 bytes/);
    assert.match(said[1], /^Interrupted.*1 file, 5 bytes/);
    assert.equal(await page.$eval("#reloaded", (notice) => notice.checkVisibility()), false);
    await closed(page);
  });

  test("of a tab without jobs reports none", async () => {
    await submitting();
    await run(page, "Done");
    await reload();
    assert.equal(await page.$eval("#reloaded", (notice) => notice.checkVisibility()), false);
    await closed(page);
  });

  test("keeps the files of a job taken from the list, even if an example's code was shown before", async () => {
    await submitting();
    await write(page, "// fake: done 3\n");
    const before = await page.$eval("#inputs-shown", (shown) => shown.textContent);
    assert.match(before, /^\d+ files?, /);
    await run(page, "Done");
    await page.click("::-p-xpath(//ul[@id='examples']//button[text()='Monte Carlo pi'])");
    await inputs((text) => text.startsWith("No files: "));
    await page.click("#jobs li .small");
    await inputs((text) => text === before);
    await closed(page);
  });

  for (const [where, at] of [["HTTPS", () => node], ["plain HTTP", () => elsewhere(node)]]) {
    test(`over ${where}, a job that another tab runs is shown as running until that tab is closed`, async () => {
      await submitting(at());
      await write(page, "// fake: slow\n");
      await run(page, "Running");
      await page.waitForSelector("#job li.active");
      const other = await submits(page.browserContext(), at());
      await shows(other, "#jobs .said", (text) => text.startsWith("Running"));
      // `shows` polls by animation frames, which a hidden tab does not have.
      await page.bringToFront();
      await pressed("Cancel");
      await shows(page, "#jobs .said", (text) => text.startsWith("Cancelled"));
      await other.bringToFront();
      await shows(other, "#jobs .said", (text) => text.startsWith("Cancelled"));
      await page.bringToFront();
      await run(page, "Running");
      await other.bringToFront();
      await shows(other, "#jobs li:nth-child(1) .said", (text) => text.startsWith("Running"));
      await page.close();
      await shows(other, "#jobs li:nth-child(1) .said", (text) => text.startsWith("Interrupted"));
      page = other;
      await closed(page);
    });
  }
});
