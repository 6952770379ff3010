// Tests between a page and a native peer, the same for every browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MIB, browser, dial, nativePeer } from "./harness.mjs";

/** Closing is noticed within milliseconds; the liveness timeout is at least seven seconds. */
const CLOSE_SECONDS = 5;

/** Defines the tests for one browser. `refusesV1`: it refuses rewritten offers. */
export function describeBrowser(name, kind, flags, { refusesV1 = false } = {}) {
  test(name, async (t) => {
    const running = await browser(kind, ...flags);
    const server = await nativePeer();
    t.after(async () => {
      await running.close();
      await server.end();
    });
    const named = (name, body) => t.test(name, { timeout: 120_000 }, body);

    /** Runs `body` with a page that has dialled the server. */
    async function connected(body, transport = "ours", to = server) {
      const page = await running.open(transport);
      const peer = await dial(page, to.address);
      const { connected: id } = await to.next("connected");
      await body(page, peer, id);
      if (!page.isClosed()) await page.close();
      await to.next("closed");
    }

    for (const version of ["v1", "v2"]) {
      if (version === "v1" && refusesV1) continue;
      await named(`a page dials with ${version} and its data is echoed`, () =>
        connected(async (page, peer) => {
          await page.evaluate((peer) => window.peer.echo(peer, new Uint8Array(100_000).fill(42)), peer);
        }, `ours-${version}`));
    }

    if (refusesV1) {
      await named("a refused offer is reported with the browser's reason", async () => {
        const page = await running.open("ours-v1");
        await assert.rejects(dial(page, server.address), /InvalidModificationError/);
        await page.close();
      });
    }

    await named("bulk data arrives intact in both directions", () =>
      connected(async (page, peer) => {
        for (const streams of [1, 4]) {
          await page.evaluate((peer, bytes, n) => window.peer.upload(peer, bytes, n), peer, 16 * MIB / streams, streams);
          await page.evaluate((peer, bytes, n) => window.peer.download(peer, bytes, n), peer, 16 * MIB / streams, streams);
        }
      }));

    await named("the listening peer opens streams to the page", () =>
      connected(async (_, __, page) => {
        for (const command of [`echo ${page} 100000`, `upload ${page} ${4 * MIB} 2`, `download ${page} ${4 * MIB} 2`]) {
          server.command(command);
          await server.next("done");
        }
      }));

    await named("a reader that pauses loses no data", () =>
      connected(async (page, peer) => {
        await page.evaluate((peer, bytes) => window.peer.downloadLate(peer, bytes, 1500), peer, 24 * MIB);
      }));

    await named("2,000 successive and 200 concurrent streams work", () =>
      connected(async (page, peer) => {
        await page.evaluate(async (peer) => {
          const data = new Uint8Array(100).fill(1);
          for (let i = 0; i < 2000; i++) await window.peer.echo(peer, data);
          await Promise.all(Array.from({ length: 200 }, () => window.peer.echo(peer, data)));
        }, peer);
      }));

    await named("closing the page ends the native side before the liveness timeout", async () => {
      const page = await running.open();
      await dial(page, server.address);
      await server.next("connected");
      await page.close();
      await server.next("closed", CLOSE_SECONDS);
    });

    await named("closing the native side ends the page's before the liveness timeout", () =>
      connected(async (page, peer, id) => {
        const gone = page.evaluate((peer) => window.peer.gone(peer), peer);
        const start = performance.now();
        server.command(`disconnect ${id}`);
        await gone;
        assert.ok(performance.now() - start < CLOSE_SECONDS * 1000, `after ${performance.now() - start} ms`);
      }));

    await named("an unresponsive peer is noticed within 10 s", async () => {
      const silent = await nativePeer();
      const page = await running.open();
      const peer = await dial(page, silent.address);
      const start = performance.now();
      silent.process.kill("SIGSTOP");
      await page.evaluate((peer) => window.peer.gone(peer), peer);
      const seconds = (performance.now() - start) / 1000;
      await silent.end();
      await page.close();
      assert.ok(seconds < 10, `after ${seconds} s`);
    });

    await named("an idle connection stays open", () =>
      connected(async (page, peer) => {
        // Longer than any liveness timeout.
        await sleep(15_000);
        await page.evaluate((peer) => window.peer.echo(peer, new Uint8Array(10)), peer);
      }));

    await named("a dial that is not answered fails with an explanation", async () => {
      const page = await running.open();
      const nobody = server.address.replace(/udp\/\d+/, "udp/9");
      await assert.rejects(dial(page, nobody), /UDP is blocked/);
      await page.close();
    });

    await named("a certificate that does not match the address is refused", async () => {
      const other = await nativePeer();
      const page = await running.open();
      const wrong = other.address.replace(/certhash\/[^/]+/, server.address.match(/certhash\/[^/]+/)[0]);
      await assert.rejects(dial(page, wrong));
      await page.close();
      await other.end();
    });
  });
}
