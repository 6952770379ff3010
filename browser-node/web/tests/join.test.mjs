// Joining and leaving as the user sees it, with a fake mesh.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { serveFake } from "./fake/serve.mjs";
import { closed, elsewhere, fresh, launch, REACH_ELSEWHERE, shows, slide } from "./harness.mjs";

describe("joining", { timeout: 300_000 }, () => {
  let browser, node, kiosk;
  before(async () => {
    node = await serveFake();
    kiosk = await serveFake({ kiosk: true });
    browser = await launch("chromium", REACH_ELSEWHERE);
  });
  after(async () => {
    await browser?.close();
    await node?.end();
    await kiosk?.end();
  });

  const came = (at = node, hash = "") => fresh(browser, at, hash);
  const focused = (page) => page.evaluate(() => document.activeElement?.id);
  const isJoined = (page) => shows(page, "#badge", (text) => text.startsWith("Joined"));
  const given = (page, wanted) =>
    page.waitForFunction((wanted) => globalThis.threadsGiven?.join() === wanted, { polling: 20 }, wanted.join());

  test("the slider sets the number of threads, also while joined", async () => {
    const page = await came();
    await slide(page, 2);
    await page.click("#join-button");
    await isJoined(page);
    await given(page, [2]);
    await slide(page, 5);
    await given(page, [2, 5]);
    await slide(page, 1);
    await given(page, [2, 5, 1]);
    assert.equal(await page.$eval("#threads-shown", (shown) => shown.textContent), "1");
    await closed(page);
  });

  test("with no threads a tab joins to submit, and says so", async () => {
    const page = await came();
    await slide(page, 0);
    assert.match(await page.$eval("#threads-shown", (shown) => shown.textContent), /submits jobs only/);
    await page.click("#join-button");
    await isJoined(page);
    await given(page, [0]);
    assert.match(await page.$eval("#state", (state) => state.textContent), /gives no cores/);
    await closed(page);
  });

  test("Run says how many cores it gives to others before it joins", async () => {
    const page = await came();
    await slide(page, 3);
    await page.click('nav [data-view="submit"]');
    await page.waitForSelector("#submit-body:not([hidden])");
    assert.match(await page.$eval("#run-note", (note) => note.textContent), /gives 3 cores to the jobs of others/);
    await closed(page);
  });

  test("a link alone does not make the page join", async () => {
    const page = await came(node, "#join");
    await shows(page, "#trouble", (text) => text.includes("press the button"));
    assert.equal(await page.$eval("#badge", (badge) => badge.textContent), "Not joined");
    assert.equal(await page.evaluate(() => globalThis.threadsGiven), undefined);
    await closed(page);
  });

  test("a kiosk's page joins without a click if its address asks for it, and only then", async () => {
    const asked = await came(kiosk, "#join");
    await isJoined(asked);
    await closed(asked);
    const plain = await came(kiosk);
    await plain.waitForSelector("#join-button:not([hidden])");
    assert.equal(await plain.$eval("#badge", (badge) => badge.textContent), "Not joined");
    await closed(plain);
  });

  test("a reload joins again in the tab where Join was pressed, and says why", async () => {
    const page = await came();
    await page.click("#join-button");
    await isJoined(page);
    await page.reload();
    await isJoined(page);
    await shows(page, "#state", (text) => text.includes("joined by itself after the reload"));
    await page.click("#leave-button");
    await shows(page, "#state", (text) => text === "You have left the mesh.");
    await page.reload();
    await page.waitForSelector("#join-button:not([hidden])");
    assert.equal(await page.evaluate(() => sessionStorage.getItem("joined")), null);
    assert.equal(await page.$eval("#badge", (badge) => badge.textContent), "Not joined");
    await closed(page);
  });

  test("a window with a copy of a tab's session storage does not join", async () => {
    const page = await came();
    await page.click("#join-button");
    await isJoined(page);
    const opened = new Promise((resolve) => page.once("popup", resolve));
    await page.evaluate((url) => void window.open(url), `${node.http}/#home`);
    const copy = await opened;
    // Its script has run then: before, the button has no action.
    await copy.waitForFunction(() => location.hash === "#home" && document.readyState === "complete");
    await copy.waitForFunction(() => sessionStorage.getItem("joined") === null);
    assert.equal(await copy.$eval("#badge", (badge) => badge.textContent), "Not joined");
    await closed(page);
  });

  test("the focus moves to where a pressed control leads", async () => {
    const page = await came();
    await page.focus("#join-button");
    await page.keyboard.press("Enter");
    await isJoined(page);
    assert.equal(await focused(page), "leave-button");
    await page.focus("#onward a");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement?.id === "mesh-title");
    await page.click('nav [data-view="join"]');
    await page.focus("#leave-button");
    await page.keyboard.press("Enter");
    await shows(page, "#state", (text) => text === "You have left the mesh.");
    assert.equal(await focused(page), "join-button");
    await closed(page);
  });

  test("a condition that is unavailable over plain HTTP says so beside its switch", async () => {
    const page = await came(elsewhere(node));
    assert.equal(await page.evaluate(() => isSecureContext), false);
    const [shown, disabled, why] = await page.$eval("#pause-battery", (box) => {
      const label = box.closest("label");
      return [label.checkVisibility(), box.disabled, label.textContent.replaceAll(/\s+/g, " ")];
    });
    assert.ok(shown, "it vanished");
    assert.ok(disabled);
    assert.match(why, /on battery .*plain HTTP.*HTTPS/);
    await page.click("#join-button");
    await isJoined(page);
    await closed(page);
  });

  test("a duplicated tab over plain HTTP is another peer", async () => {
    const page = await came(elsewhere(node));
    await page.click("#join-button");
    await isJoined(page);
    const opened = new Promise((resolve) => page.once("popup", resolve));
    await page.evaluate(() => void window.open(`${location.origin}/#home`));
    const copy = await opened;
    // Its script has run then: before, the button has no action.
    await copy.waitForFunction(() => location.hash === "#home" && document.readyState === "complete");
    const identity = (of) => of.evaluate(() => sessionStorage.getItem("identity"));
    assert.equal(await identity(copy), await identity(page), "it is no copy");
    await copy.click("#join-button");
    copy.errors = [];
    await isJoined(copy);
    assert.notEqual(await identity(copy), await identity(page));
    await closed(page);
  });

  test("a circuit is drawn through its relay, and only links with traffic are busy", async () => {
    const page = await came();
    await page.click("#join-button");
    await shows(page, "#connected", (text) => text === "3");
    await page.click('nav [data-view="mesh"]');
    const lines = await page.$$eval("#picture line", (all) =>
      all.map((line) => ({
        classes: [...line.classList],
        from: [Number(line.getAttribute("x1")), Number(line.getAttribute("y1"))].map(Math.round).join(),
        to: [Number(line.getAttribute("x2")), Number(line.getAttribute("y2"))].map(Math.round).join(),
      })),
    );
    const [circuit, ...others] = lines.filter(({ classes }) => classes.includes("relayed"));
    assert.deepEqual(others, []);
    const [relay] = lines.filter(({ to }) => to === circuit.from);
    assert.equal(relay?.from, "160,160", "the circuit does not begin at the relay's dot");
    assert.ok(circuit.classes.includes("busy"));
    assert.ok(relay.classes.includes("busy"), "what goes through a relay goes over the way to it");
    const [resting] = lines.filter((line) => line !== circuit && line !== relay);
    assert.equal(resting.from, "160,160");
    assert.ok(!resting.classes.includes("busy"));
    await closed(page);
  });
});
