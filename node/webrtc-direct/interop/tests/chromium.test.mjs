import assert from "node:assert/strict";
import { test } from "node:test";
import { describeBrowser } from "./browser.mjs";
import { NO_MANGLING, browser, dial, nativePeer } from "./harness.mjs";

describeBrowser("Chromium", "chromium", []);
describeBrowser("Chromium that refuses rewritten offers", "chromium", [NO_MANGLING], { refusesV1: true });

test("100 closed connections leave no files, memory or RTCPeerConnections", { timeout: 120_000 }, async (t) => {
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
  // Allocates what is allocated only once.
  await connects(20);
  const before = await server.stats();
  await connects(100);
  const after = await server.stats();
  assert.equal(after.files, before.files);
  assert.ok(after.rss_kib < before.rss_kib + 2048, `${before.rss_kib} KiB before, ${after.rss_kib} KiB after`);
  const prototype = await page.evaluateHandle(() => RTCPeerConnection.prototype);
  /** Number of RTCPeerConnections in the page's memory, after a garbage collection. */
  async function live() {
    const objects = await page.queryObjects(prototype);
    const count = await page.evaluate((objects) => objects.length, objects);
    await objects.dispose();
    return count;
  }
  // The browser's threads may hold the last ones for a moment.
  for (const until = performance.now() + 10_000; (await live()) > 0; ) {
    assert.ok(performance.now() < until, `${await live()} RTCPeerConnections are left`);
  }
});
