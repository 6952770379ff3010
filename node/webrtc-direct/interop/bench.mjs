// Throughput between a page in Chromium and a native peer, and the native peer's CPU time, compared with the published
// crates. `bench.mjs [MIB]`: amount in each direction, 256 MiB by default.

import { MIB, browser, dial, nativePeer } from "./tests/harness.mjs";

const amount = Number(process.argv[2] ?? 256);
/** Targets in MiB/s: docs/benchmarks.md. */
const target = { "upload 1": "20", "upload 4": "24", "download 1": "24", "download 4": "24" };

async function measure(transport) {
  const running = await browser("chromium");
  const server = await nativePeer("--transport", transport);
  const rows = {};
  try {
    const page = await running.open(transport);
    const times = [];
    let peer;
    for (let i = 0; i < 11; i++) {
      const start = performance.now();
      peer = await dial(page, server.address);
      times.push(performance.now() - start);
      await server.next("connected");
      if (i < 10) {
        await page.evaluate(async (peer) => { await window.peer.disconnect(peer); await window.peer.gone(peer); }, peer);
      }
    }
    // The first includes the page's startup.
    rows["connect, median of 10"] = `${times.slice(1).sort((a, b) => a - b)[5].toFixed(0)} ms`;
    for (const [way, streams] of [["upload", 1], ["upload", 4], ["download", 1], ["download", 4]]) {
      const before = await server.stats();
      const bytes = amount * MIB / streams;
      try {
        const ms = await page.evaluate((way, peer, bytes, n) => window.peer[way](peer, bytes, n), way, peer, bytes, streams);
        const after = await server.stats();
        const cpu = (after.cpu_s - before.cpu_s) * 64 / amount;
        rows[`${way} ${streams}`] = `${(amount / ms * 1000).toFixed(1)} MiB/s, ${cpu.toFixed(2)} CPU s per 64 MiB`;
      } catch (error) {
        rows[`${way} ${streams}`] = `failed: ${error.message.split("\n")[0]}`;
      }
    }
    rows["native memory at the end"] = `${((await server.stats()).rss_kib / 1024).toFixed(1)} MiB`;
  } finally {
    await running.close();
    await server.end();
  }
  return rows;
}

const ours = await measure("ours");
const published = await measure("published");
console.log(`Chromium and a native peer, ${amount} MiB in each direction; upload is from the page\n`);
console.log(["", "ours", "published", "target"].map((text, i) => text.padEnd(i ? 40 : 26)).join(""));
for (const row of Object.keys(ours)) {
  const goal = target[row] ? `${target[row]} MiB/s` : "";
  console.log([row, ours[row], published[row] ?? "", goal].map((text, i) => text.padEnd(i ? 40 : 26)).join(""));
}
