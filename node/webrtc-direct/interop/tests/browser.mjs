// What a page must be able to do with a native peer, whatever the browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MIB, browser, dial, nativePeer } from "./harness.mjs";

/** A goodbye takes milliseconds, and silence is noticed after seven seconds at least. */
const GOODBYE_SECONDS = 5;

/** Describes the tests for one browser. `refusesV1`: it takes no rewritten offer. */
export function describeBrowser(name, kind, flags, { refusesV1 = false } = {}) {
  test(name, async (t) => {
    const running = await browser(kind, ...flags);
    const server = await nativePeer();
    t.after(async () => {
      await running.close();
      await server.end();
    });
    const named = (name, body) => t.test(name, { timeout: 120_000 }, body);

    /** Runs with a page that has dialled the server. */
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
      await named(`a page dials by ${version} and is echoed`, () =>
        connected(async (page, peer) => {
          await page.evaluate((peer) => window.peer.echo(peer, new Uint8Array(100_000).fill(42)), peer);
        }, `ours-${version}`));
    }

    if (refusesV1) {
      await named("a refused rewritten offer is told with the browser's reason", async () => {
        const page = await running.open("ours-v1");
        await assert.rejects(dial(page, server.address), /InvalidModificationError/);
        await page.close();
      });
    }

    await named("bulk data arrives whole in both directions", () =>
      connected(async (page, peer) => {
        for (const streams of [1, 4]) {
          await page.evaluate((peer, bytes, n) => window.peer.upload(peer, bytes, n), peer, 16 * MIB / streams, streams);
          await page.evaluate((peer, bytes, n) => window.peer.download(peer, bytes, n), peer, 16 * MIB / streams, streams);
        }
      }));

    await named("a peer that dials nobody opens streams to the page", () =>
      connected(async (_, __, page) => {
        for (const order of [`echo ${page} 100000`, `upload ${page} ${4 * MIB} 2`, `download ${page} ${4 * MIB} 2`]) {
          server.order(order);
          await server.next("done");
        }
      }));

    await named("a reader that pauses loses nothing", () =>
      connected(async (page, peer) => {
        await page.evaluate((peer, bytes) => window.peer.downloadLate(peer, bytes, 1500), peer, 24 * MIB);
      }));

    await named("2,000 streams one after another and 200 at once", () =>
      connected(async (page, peer) => {
        await page.evaluate(async (peer) => {
          const data = new Uint8Array(100).fill(1);
          for (let i = 0; i < 2000; i++) await window.peer.echo(peer, data);
          await Promise.all(Array.from({ length: 200 }, () => window.peer.echo(peer, data)));
        }, peer);
      }));

    await named("a page that closes is noticed by what it says, and not by its silence", async () => {
      const page = await running.open();
      await dial(page, server.address);
      await server.next("connected");
      await page.close();
      await server.next("closed", GOODBYE_SECONDS);
    });

    await named("a peer that hangs up is noticed by what it says, and not by its silence", () =>
      connected(async (page, peer, id) => {
        const gone = page.evaluate((peer) => window.peer.gone(peer), peer);
        const start = performance.now();
        server.order(`disconnect ${id}`);
        await gone;
        assert.ok(performance.now() - start < GOODBYE_SECONDS * 1000, `after ${performance.now() - start} ms`);
      }));

    await named("a peer that falls silent is noticed within 10 s", async () => {
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

    await named("a connection on which nobody speaks stays", () =>
      connected(async (page, peer) => {
        // Longer than any silence that ends one.
        await sleep(15_000);
        await page.evaluate((peer) => window.peer.echo(peer, new Uint8Array(10)), peer);
      }));

    await named("nobody there is told in words", async () => {
      const page = await running.open();
      const nobody = server.address.replace(/udp\/\d+/, "udp/9");
      await assert.rejects(dial(page, nobody), /UDP is blocked/);
      await page.close();
    });

    await named("another certificate than the address names is refused", async () => {
      const other = await nativePeer();
      const page = await running.open();
      const wrong = other.address.replace(/certhash\/[^/]+/, server.address.match(/certhash\/[^/]+/)[0]);
      await assert.rejects(dial(page, wrong));
      await page.close();
      await other.end();
    });
  });
}
