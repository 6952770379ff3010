// The page's views with a fake mesh: their texts, tables and keyboard operation, and accessibility.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { accessible } from "./axe.mjs";
import { download, markedLines, openSubmit, rowsAre, run, write, written } from "./editor.mjs";
import { serveFake } from "./fake/serve.mjs";
import { closed, fresh, launch, open, scratch, shows } from "./harness.mjs";

describe("the page's views", { timeout: 300_000 }, () => {
  let browser, node, page;
  before(async () => {
    node = await serveFake();
    browser = await launch("chromium");
  });
  after(async () => {
    await browser?.close();
    await node?.end();
  });

  async function arriving() {
    page = await fresh(browser, node);
  }
  async function submitting() {
    await arriving();
    await openSubmit(page);
  }
  test("each view passes the accessibility checks", async () => {
    await arriving();
    await accessible(page, "Join");
    await page.click('nav [data-view="mesh"]');
    await accessible(page, "Mesh, not joined");
    await page.click('nav [data-view="join"]');
    await page.click("#join-button");
    await shows(page, "#connected", (text) => text === "3");
    await accessible(page, "Join, joined");
    await page.click('nav [data-view="mesh"]');
    await accessible(page, "Mesh");
    await openSubmit(page);
    await page.click("#settings summary");
    await page.type("#setting-replicas", "9");
    await accessible(page, "Submit, with an invalid setting");
    await page.click("#reset-settings");
    await write(page, "// fake: done 500\n");
    await run(page, "Done");
    await rowsAre(page, (rows) => rows.length > 0);
    await accessible(page, "a result");
    await write(page, "// fake: slow\n");
    await run(page, "Running");
    await page.waitForSelector("#job .failures summary");
    await page.click("#job .failures summary");
    await accessible(page, "progress");
    await write(page, "// fake: error\nint x;\n  split(1);\n\n  int n = 3;\n");
    await run(page, "Failed");
    await accessible(page, "errors");
    await closed(page);
  });

  test("a tab that only joins does not load the editor", async () => {
    await arriving();
    await page.click("#join-button");
    await shows(page, "#connected", (text) => text === "3");
    const names = () => page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
    assert.ok(!(await names()).some((name) => /editor|view/.test(name)));
    await openSubmit(page);
    assert.ok((await names()).some((name) => /editor/.test(name)));
    await closed(page);
  });

  test("Run joins first, and says so beforehand", async () => {
    await submitting();
    assert.match(await page.$eval("#run-note", (note) => note.textContent), /not in the mesh yet: Run joins first/);
    await run(page, "Done");
    await shows(page, "#badge", (text) => text.startsWith("Joined"));
    await shows(page, "#run-note", (text) => text === "");
    await closed(page);
  });

  test("errors and warnings are marked at their lines, and the list leads there", async () => {
    await submitting();
    await write(page, "// fake: error\nint x;\n  split(1);\n\n  int n = 3;\n");
    await run(page, "Failed");
    await shows(page, "#diagnostics h3", (text) => text === "1 error, 1 warning");
    assert.deepEqual(await markedLines(page, "error"), [3]);
    assert.deepEqual(await markedLines(page, "warning"), [5]);
    await page.click("#diagnostics li:nth-child(2) button");
    const active = await page.$eval(
      "#editor",
      (editor) => editor.shadowRoot.querySelector(".cm-activeLine").textContent,
    );
    assert.equal(active, "  int n = 3;");
    await write(page, "// fake: warn 3\nint x;\n");
    await run(page, "Done");
    await shows(page, "#diagnostics h3", (text) => text === "1 warning");
    assert.deepEqual(await markedLines(page, "warning"), [2]);
    assert.deepEqual(await markedLines(page, "error"), []);
    await closed(page);
  });

  test("a wrong signature is one message at the author's line, without the SDK's headers", async () => {
    await submitting();
    await write(page, "// fake: signature\nint reduce();\n");
    await run(page, "Failed");
    await shows(page, "#diagnostics ul", (text) => /^Line 2error: WebMesh: reduce takes \(.*\)$/.test(text));
    assert.deepEqual(await markedLines(page, "error"), [2]);
    await shows(page, "#job .trouble", (text) => text.startsWith("Line 2: WebMesh: reduce takes ("));
    assert.ok(!(await page.$eval("main", (main) => main.textContent)).includes("job.hpp"));
    await closed(page);
  });

  test("the line that the list of errors leads to is visible below the page's header", async () => {
    await submitting();
    await page.setViewport({ width: 900, height: 420 });
    await write(page, `// fake: error\nint x;\n  split(1);\n\n  int n = 3;\n${"// more\n".repeat(100)}`);
    await run(page, "Failed");
    await shows(page, "#diagnostics h3", (text) => text === "1 error, 1 warning");
    await page.click("#diagnostics li:nth-child(1) button");
    // The browser and the editor scroll before the next frame.
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    const [top, bottom, head] = await page.evaluate(() => {
      const line = document.querySelector("#editor").shadowRoot.querySelector(".cm-activeLine").getBoundingClientRect();
      return [line.top, line.bottom, document.querySelector("body > header").getBoundingClientRect().bottom];
    });
    assert.ok(top >= head && bottom <= 420, `the line is from ${top} to ${bottom}, the head ends at ${head}`);
    await closed(page);
  });

  test("a job is shown as compiling, however far its files are read", async () => {
    await submitting();
    await write(page, "// fake: compiling\n");
    await run(page, "Running");
    const steps = () => page.$$eval("#job .steps li", (all) => all.map((step) => step.textContent));
    await page.waitForFunction(() => document.querySelector("#job .hint")?.textContent === "waiting for a compiler");
    const [compile, read] = await steps();
    assert.equal(compile, "Compilecompiling");
    assert.match(read, /^Read544 bytes of 544 bytes$/);
    await closed(page);
  });

  test("messages name the page's settings, not the terminal's options", async () => {
    await submitting();
    await write(page, "// fake: fail\n");
    await run(page, "Failed");
    await shows(page, "#job .trouble", (text) => text.endsWith("less with “Memory limit of a task, MiB” (under Settings)"));
    await closed(page);
  });

  test("every button is large enough to touch", async () => {
    await submitting();
    await write(page, "// fake: done 3\n");
    await run(page, "Done");
    await rowsAre(page, (rows) => rows.length === 3);
    const small = await page.$$eval("button, .button", (all) => {
      const sizes = all.map((one) => [one.textContent, one.getBoundingClientRect()]);
      const seen = sizes.filter(([, { width }]) => width > 0);
      return [seen.length, seen.filter(([, { width, height }]) => width < 24 || height < 24).map(([text]) => text)];
    });
    assert.ok(small[0] > 10);
    assert.deepEqual(small[1], []);
    await closed(page);
  });

  test("hundreds of thousands of lines are scrolled, sorted and searched", async () => {
    await submitting();
    await write(page, "// fake: done 400000\n");
    await run(page, "Done");
    await rowsAre(page, ([first]) => first?.[0] === "aaaaa");
    const drawn = await page.$$eval("#job .rows [role=row]", (rows) => rows.length);
    assert.ok(drawn < 100, `${drawn} rows are elements`);
    await page.focus("#job .grid");
    await page.keyboard.press("End");
    const last = (399_999)
      .toString(26)
      .replace(/./g, (digit) => String.fromCharCode(97 + parseInt(digit, 26)))
      .padStart(5, "a");
    await rowsAre(page, (rows) => rows.at(-1)?.[0] === last);
    await shows(page, "#job .line dt", (text) => text === last);
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowDown");
    await shows(page, "#job .line dt", (text) => text === "aaaab");
    // The scroll bar's middle shows the middle lines, although the rows are higher than a browser can lay out.
    await page.$eval("#job .grid", (grid) => grid.scrollTo(0, grid.scrollHeight / 2));
    const middle = await page.$eval("#job .grid", (grid) =>
      Math.round(400_000 * (grid.scrollTop / (grid.scrollHeight - grid.clientHeight))),
    );
    await page.waitForFunction(
      (middle) => {
        const seen = [...document.querySelectorAll("#job .rows [role=row]")].map((row) => row.ariaRowIndex);
        return seen.some((index) => Math.abs(index - middle) < 100);
      },
      {},
      middle,
    );
    const sort = (by) => page.click(`#job .grid .head .${by} button`);
    await sort("value");
    const values = (rows) => rows.map(([, value]) => Number(value));
    await rowsAre(page, (rows) => values(rows)[0] === 100_003);
    await sort("value");
    await rowsAre(page, (rows) => values(rows)[0] === 1);
    assert.equal(await page.$eval("#job .grid .head .value", (head) => head.ariaSort), "ascending");
    await page.type("#job .search input", "zz");
    const expected = Array.from({ length: 400_000 }, (_, i) => i).filter((i) => {
      const digits = [456_976, 17_576, 676, 26, 1].map((place) => Math.floor(i / place) % 26);
      return digits.some((digit, at) => digit === 25 && digits[at + 1] === 25);
    }).length;
    await shows(page, "#job .table .hint", (text) => text === `${expected.toLocaleString("en")} of 400,000 lines`);
    await rowsAre(page, (rows) => rows.length > 0 && rows.every(([key]) => key.includes("zz")));
    assert.equal((await page.$$("#job .chart rect")).length, 20);
    await closed(page);
  });

  test("a result is downloaded as a file named after its job", async () => {
    await submitting();
    await write(page, "// fake: done 3\n");
    await run(page, "Done");
    const path = await download(page, join(scratch, "downloads"));
    assert.equal(basename(path), "wordcount_fast.tsv");
    assert.equal(readFileSync(path, "utf8"), "aaaaa\t1\naaaab\t7920\naaaac\t15839\n");
    await closed(page);
  });

  test("a result without numbers has a table and no chart", async () => {
    await submitting();
    await write(page, "// fake: pi\n");
    await run(page, "Done");
    assert.deepEqual(await rowsAre(page, (rows) => rows.length === 1), [["pi", "[3.14159,2,3]"]]);
    assert.equal(await page.$("#job .chart"), null);
    await closed(page);
  });

  test("an example is opened with its own inputs by one click, and the earlier code can be restored", async () => {
    await submitting();
    await write(page, "int mine;\n");
    const named = (name) => `::-p-xpath(//ul[@id="examples"]//button[text()="${name}"])`;
    await page.click(named("Inverted index"));
    assert.match(await written(page), /An inverted index/);
    assert.match(await page.$eval("#inputs-shown", (shown) => shown.textContent), /^3 files/);
    assert.equal(await page.$eval("#whole-files", (box) => box.checked), true);
    await page.click(named("Monte Carlo pi"));
    assert.match(await page.$eval("#inputs-shown", (shown) => shown.textContent), /^No files/);
    assert.equal(await page.$eval("#setting-tasks", (field) => field.value), "64");
    await page.click(named("Word count"));
    await write(page, "int mine;\n");
    await page.click(named("Grep"));
    await page.click("#undo-example");
    assert.match(await written(page), /int mine;/);
    assert.equal(await page.evaluate(() => document.activeElement?.id), "editor");
    await closed(page);
  });

  test("files and folders are chosen and dropped, hidden files left out", async () => {
    const folder = join(scratch, "chosen");
    mkdirSync(join(folder, "deep/.git"), { recursive: true });
    for (const name of ["a.txt", "deep/b.txt", "deep/.git/no.txt", ".no.txt"])
      writeFileSync(join(folder, name), "12345");
    await submitting();
    await page.click("#no-inputs");
    const shown = (wanted) => shows(page, "#inputs-shown", (text) => text === wanted);
    const paths = () => page.$$eval("#inputs .path", (all) => all.map((path) => path.textContent));
    await shown("No files: the job's documents are numbers, counted from 0.");
    await (await page.$("#files")).uploadFile(join(folder, "a.txt"), join(folder, ".no.txt"));
    await shown("2 files, 10 bytes");
    assert.deepEqual(await paths(), [".no.txt", "a.txt"]);
    await page.click("#no-inputs");
    await (await page.$("#folder")).uploadFile(folder);
    await shown("2 files, 10 bytes");
    assert.deepEqual(await paths(), ["chosen/a.txt", "chosen/deep/b.txt"]);
    await page.click("#no-inputs");
    const { x, y } = await (await page.$("#drop")).clickablePoint();
    const client = await page.createCDPSession();
    const data = { items: [], files: [folder], dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"])
      await client.send("Input.dispatchDragEvent", { type, x, y, data });
    await shown("2 files, 10 bytes");
    assert.deepEqual(await paths(), ["chosen/a.txt", "chosen/deep/b.txt"]);
    await page.click("#inputs li:nth-child(1) button");
    await shown("1 file, 5 bytes");
    await closed(page);
  });

  test("notes on files are shown at their list until others are chosen", async () => {
    await submitting();
    const [one, other] = ["one.txt.gz", "other.txt"].map((name) => join(scratch, name));
    for (const path of [one, other]) writeFileSync(path, "12345");
    await write(page, "// fake: notes\n");
    await page.click("#no-inputs");
    await (await page.$("#files")).uploadFile(one);
    await run(page, "Done");
    const notes = () => page.$$eval("#inputs-notes p", (all) => all.map((note) => note.textContent));
    assert.deepEqual(await notes(), ["one.txt.gz is compressed (gzip), and jobs get the compressed bytes."]);
    await accessible(page, "notes on files");
    await (await page.$("#files")).uploadFile(other);
    await shows(page, "#inputs-shown", (text) => text.startsWith("2 files"));
    assert.deepEqual(await notes(), []);
    await closed(page);
  });

  test("code, name and settings are kept over a reload", async () => {
    await submitting();
    await write(page, "int mine;\n");
    await page.$eval("#job-name", (field) => (field.value = ""));
    await page.type("#job-name", "mine.cpp");
    await page.click("#settings summary");
    await page.type("#setting-partitions", "8");
    await page.reload();
    await page.waitForSelector("#submit-body:not([hidden])");
    assert.match(await written(page), /int mine;/);
    assert.equal(await page.$eval("#job-name", (field) => field.value), "mine.cpp");
    assert.equal(await page.$eval("#setting-partitions", (field) => field.value), "8");
    await closed(page);
  });

  test("a reload keeps the list: results are available, and running jobs are interrupted", async () => {
    await submitting();
    await write(page, "// fake: done 10\n");
    await run(page, "Done");
    await rowsAre(page, (rows) => rows.length === 10);
    await write(page, "// fake: slow\nint kept;\n");
    await run(page, "Running");
    // From its first progress on, it is in the list after a reload too.
    await page.waitForSelector("#job li.active");
    await page.reload();
    await page.waitForSelector("#submit-body:not([hidden])");
    const said = await page.$$eval("#jobs .said", (rows) => rows.map((row) => row.textContent));
    assert.match(said[0], /^Interrupted/);
    assert.match(said[1], /^Done/);
    await page.click("#jobs li:nth-child(2) .name");
    await rowsAre(page, (rows) => rows.length === 10);
    await write(page, "something else\n");
    await page.click("#jobs li:nth-child(1) .small");
    assert.match(await written(page), /int kept;/);
    await closed(page);
  });

  test("a job of another tab is not shown as interrupted", async () => {
    await submitting();
    await write(page, "// fake: slow\n");
    await run(page, "Running");
    await page.waitForSelector("#job li.active");
    const other = await open(page.browserContext(), node, "#submit");
    await other.waitForSelector("#submit-body:not([hidden])");
    await shows(other, "#jobs .said", (text) => text.startsWith("Running"));
    await closed(page);
  });

  test("a job can be cancelled", async () => {
    await submitting();
    await write(page, "// fake: slow\n");
    await run(page, "Running");
    await page.click("::-p-xpath(//div[@id='job']//button[text()='Cancel'])");
    await shows(page, "#job .head p", (text) => text.startsWith("Cancelled"));
    await shows(page, "#jobs .said", (text) => text.startsWith("Cancelled"));
    await closed(page);
  });

  test("an invalid setting is reported, and nothing runs", async () => {
    await submitting();
    await page.$eval("#setting-replicas", (field) => (field.value = "9"));
    await page.click("#run");
    assert.match(
      await page.$eval("#run-trouble", (shown) => shown.textContent),
      /Copies of each partition: a whole number from 1 to 5/,
    );
    assert.equal(await page.evaluate(() => document.activeElement?.id), "setting-replicas");
    assert.equal(await page.$("#jobs li"), null);
    await closed(page);
  });

  test("everything can be reached by keyboard, and the editor can be left", async () => {
    await submitting();
    await page.focus("#job-name");
    const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent);
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "editor");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Tab");
    assert.notEqual(await focused(), "editor");
    const seen = [];
    for (let i = 0; i < 12; i++) {
      seen.push(await focused());
      await page.keyboard.press("Tab");
    }
    for (const id of ["pick-files", "pick-folder", "run"]) assert.ok(seen.includes(id), `${id} is not among ${seen}`);
    await page.focus("#editor");
    await page.click("#editor");
    await page.keyboard.down("Control");
    await page.keyboard.press("Enter");
    await page.keyboard.up("Control");
    await shows(page, "#job .head p", (text) => text.startsWith("Done"));
    await closed(page);
  });

  const saying = (text) => `::-p-xpath(//button[not(@hidden)][text()='${text}'])`;
  const wrong = (what) => page.evaluate((what) => void Object.assign(globalThis, { wrong: what }), what);

  test("a crash is reported in every view, with a button that joins again", async () => {
    await submitting();
    await run(page, "Done");
    await wrong("crash");
    await shows(page, "#badge", (text) => text === "Stopped");
    for (const view of ["submit", "mesh", "join"]) {
      await page.click(`nav [data-view="${view}"]`);
      await shows(page, "#crash-text", (text) => /^The program of this tab stopped because of a fault/.test(text));
      assert.ok(await page.$eval("#crash", (notice) => notice.checkVisibility()), view);
      await accessible(page, `${view}, after a crash`);
    }
    await wrong(undefined);
    await page.click(saying("Join again"));
    await shows(page, "#connected", (text) => text === "3");
    assert.equal(await page.$eval("#crash", (notice) => notice.checkVisibility()), false);
    await closed(page);
  });

  test("if the program cannot be restarted after a crash, the page can be reloaded", async () => {
    await arriving();
    await page.click("#join-button");
    await wrong("crash");
    await shows(page, "#badge", (text) => text === "Stopped");
    await wrong("join");
    await page.click(saying("Join again"));
    await shows(page, "#crash-text", (text) => text === "The tab cannot join: a test said so");
    await Promise.all([page.waitForNavigation(), page.click(saying("Reload the page"))]);
    await page.click("#join-button");
    await shows(page, "#connected", (text) => text === "3");
    await closed(page);
  });

  test("an error while leaving is reported, and the next press works", async () => {
    await arriving();
    await page.click("#join-button");
    await shows(page, "#connected", (text) => text === "3");
    await wrong("leave");
    await page.click("#leave-button");
    await shows(page, "#trouble", (text) => text.includes("a test said so"));
    await wrong(undefined);
    await page.click("#join-button");
    await shows(page, "#badge", (text) => text === "Joined · 3 peers");
    await page.click("#leave-button");
    await shows(page, "#state", (text) => text === "You have left the mesh.");
    await closed(page);
  });
});
