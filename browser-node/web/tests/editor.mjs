// Actions of a user in the Submit view.

import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { shows } from "./harness.mjs";

/** Opens the Submit view. */
export async function openSubmit(page) {
  await page.click('nav [data-view="submit"]');
  await page.waitForSelector("#submit-body:not([hidden])");
}

/** Replaces the editor's text, as pasting does. */
export async function write(page, code) {
  await page.click("#editor");
  await page.keyboard.down("Control");
  await page.keyboard.press("a");
  await page.keyboard.up("Control");
  await page.$eval(
    "#editor",
    (editor, code) => {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text/plain", code);
      const into = editor.shadowRoot.querySelector(".cm-content");
      into.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    },
    code,
  );
}

/** The editor's text; invisible lines are not included. */
export function written(page) {
  return page.$eval("#editor", (editor) => {
    const lines = [...editor.shadowRoot.querySelectorAll(".cm-line")];
    return lines.map((line) => line.textContent).join("\n");
  });
}

/** The numbers of the lines with a mark of a kind in the editor's margin. */
export function markedLines(page, kind) {
  return page.$eval(
    "#editor",
    (editor, kind) => {
      const { shadowRoot } = editor;
      const top = (element) => Math.round(element.getBoundingClientRect().top);
      const marked = new Set(
        [...shadowRoot.querySelectorAll(`.cm-lint-marker-${kind}`)].map((mark) => top(mark.parentElement)),
      );
      const numbers = [...shadowRoot.querySelectorAll(".cm-lineNumbers .cm-gutterElement")];
      return numbers.filter((number) => marked.has(top(number))).map((number) => Number(number.textContent));
    },
    kind,
  );
}

/** Runs the editor's text, and waits until the job has reached a state. */
export async function run(page, state) {
  await page.click("#run");
  await page.waitForSelector("#job .head p");
  await shows(page, "#job .head p", (text) => text.startsWith(state));
}

/** The rendered rows of the table, as pairs. */
export function rows(page) {
  return page.$$eval("#job .rows [role=row]", (rows) =>
    rows.map((row) => [...row.children].map((cell) => cell.textContent)),
  );
}

/** Resolves when the rendered rows satisfy a condition. */
export async function rowsAre(page, wanted) {
  for (let i = 0; i < 1000; i++) {
    const drawn = await rows(page);
    if (wanted(drawn)) return drawn;
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
  }
  throw new Error(`the table shows ${JSON.stringify((await rows(page)).slice(0, 5))} …`);
}

/** Downloads the shown result into a folder, as a user does; returns the file's path. */
export async function download(page, folder) {
  mkdirSync(folder, { recursive: true });
  const client = await page.createCDPSession();
  await client.send("Browser.setDownloadBehavior", {
    behavior: "allow",
    downloadPath: folder,
    browserContextId: page.browserContext().id,
    eventsEnabled: true,
  });
  const begun = once(client, "Browser.downloadWillBegin");
  const ended = new Promise((resolve, reject) => {
    client.on("Browser.downloadProgress", ({ state }) => {
      if (state === "completed") resolve();
      if (state === "canceled") reject(new Error("the browser cancelled the download"));
    });
  });
  await page.click("#job a[download]");
  const [{ suggestedFilename }] = await begun;
  await ended;
  return join(folder, suggestedFilename);
}
