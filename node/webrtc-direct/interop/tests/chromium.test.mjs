import assert from "node:assert/strict";
import { test } from "node:test";
import { describeBrowser } from "./browser.mjs";
import { NO_MANGLING, browser, dial, nativePeer } from "./harness.mjs";

describeBrowser("Chromium", "chromium", []);
describeBrowser("Chromium that refuses rewritten offers", "chromium", [NO_MANGLING], { refusesV1: true });

test("100 connects and disconnects leave nothing behind", { timeout: 120_000 }, async (t) => {
  const running = await browser("chromium");
  const server = await nativePeer();
  t.after(async () => {
    await running.close();
    await server.end();
  });
  const page = await running.open();
  async function connects(times) {
    for (let i = 0; i < times; i++) {
      const peer = await dial(page, server.address);
      await server.next("connected");
      await page.evaluate(async (peer) => {
        await window.peer.echo(peer, new Uint8Array(10));
        await window.peer.disconnect(peer);
        await window.peer.gone(peer);
      }, peer);
      await server.next("closed");
    }
  }
  // Whatever is allocated once is there after these.
  await connects(20);
  const before = await server.stats();
  await connects(100);
  const after = await server.stats();
  assert.equal(after.files, before.files);
  assert.ok(after.rss_kib < before.rss_kib + 2048, `${before.rss_kib} KiB before, ${after.rss_kib} KiB after`);
  const prototype = await page.evaluateHandle(() => RTCPeerConnection.prototype);
  /** Connections that are in the page's memory, though nobody can reach them. */
  async function live() {
    const objects = await page.queryObjects(prototype);
    const count = await page.evaluate((objects) => objects.length, objects);
    await objects.dispose();
    return count;
  }
  // The browser lets the last ones go once its own threads are done with them.
  for (const until = performance.now() + 10_000; (await live()) > 0; ) {
    assert.ok(performance.now() < until, `${await live()} RTCPeerConnections stay`);
  }
});
