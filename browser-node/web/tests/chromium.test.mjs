// The page in Debian's Chromium, as it is and as it will be once it refuses version 1 of WebRTC-direct.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { countWords, joined, joins, launch, list, NO_MANGLING, open, root, scratch, shows, startNode, submit, text } from "./harness.mjs";

const wordcount = join(root, "examples/wordcount/wordcount_fast.cpp");
const pi = join(root, "examples/monte-carlo-pi/monte_carlo_pi.cpp");

/** Writes an input file for a job and returns its path. */
function file(name, content) {
  const path = join(scratch, name);
  writeFileSync(path, content);
  return path;
}

const job = (body) => `
void map(string_view doc, webmesh::Emitter<int>& out) { ${body} }
int combine(int a, int b) { return a + b; }
void reduce(string_view key, webmesh::Values<int>& values, webmesh::Emitter<int>& out) {
  int sum = 0;
  for (int value : values) sum += value;
  out.emit(key, sum);
}
`;

for (const [name, flags] of [["Chromium", []], ["Chromium without rewritten offers", [NO_MANGLING]]]) {
  describe(name, { timeout: 600_000 }, () => {
    let browser, node;
    before(async () => {
      node = await startNode();
      browser = await launch("chromium", ...flags);
    });
    after(async () => {
      await browser?.close();
      await node?.end();
    });

    test("nothing runs before the button is pressed", async () => {
      const page = await open(browser, node);
      const loaded = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
      assert.ok(!loaded.some((name) => name.endsWith(".wasm")), loaded.join(" "));
      await page.close();
    });

    test("a tab does a job's tasks, and the answer is right", async () => {
      const page = await joined(browser, node, 2);
      const words = text(400_000);
      const counted = submit(node, wordcount, [file("words.txt", words)]);
      assert.equal(await counted.ended, 0, counted.said);
      assert.deepEqual(readFileSync(counted.output), countWords(words));
      await shows(page, "#tasks", (text) => Number(text) > 0);
      assert.deepEqual(page.errors, []);
      await page.close();
    });

    test("a tab reaches a submitter that joined later, without a relay", async () => {
      const plain = await startNode("shuffler,compiler");
      const page = await joined(browser, plain);
      const words = text(1000);
      const counted = submit(plain, wordcount, [file("later.txt", words)]);
      assert.equal(await counted.ended, 0, counted.said);
      assert.deepEqual(readFileSync(counted.output), countWords(words));
      await page.close();
      await plain.end();
    });

    test("tabs work and shuffle if no native peer does", async () => {
      const thin = await startNode("compiler,relay");
      // It joins first, and learns their roles.
      const submitter = await open(browser, thin);
      await submitter.evaluate(async () => {
        const { join } = await import("/mesh.js");
        globalThis.mesh = await join({ threads: 0 });
      });
      const pages = [await joined(browser, thin), await joined(browser, thin)];
      // Through the relay, which takes a moment, as does the advert.
      await submitter.waitForFunction(
        async () => {
          const { peers } = await globalThis.mesh.status();
          return peers.filter((p) => p.kind === "tab" && p.threads > 0 && p.addresses.length > 0).length === 2;
        },
        { polling: 50 },
      );
      const words = text(300_000);
      const [result, shufflers] = await submitter.evaluate(
        async (source, words) => {
          const job = globalThis.mesh.submit({ source, inputs: [new File([words], "words.txt")], replicas: 2 });
          let shufflers = 0;
          for await (const progress of job.progress()) {
            if (progress.phase === "running") shufflers = Math.max(shufflers, progress.shufflers);
          }
          return [await (await job.result()).blob.text(), shufflers];
        },
        readFileSync(wordcount, "utf8"),
        words.toString(),
      );
      assert.equal(result, countWords(words).toString());
      assert.equal(shufflers, 2);
      for (const page of [submitter, ...pages]) await page.close();
      await thin.end();
    });

    test("two tabs of one browser are two peers", async () => {
      const pages = [await joined(browser, node), await joined(browser, node)];
      const ids = await Promise.all(pages.map((page) => shows(page, "#state", (text) => text.includes("12D3"))));
      assert.notEqual(ids[0], ids[1]);
      for (const page of pages) await page.close();
    });

    test("errors of a job are reported, and the tab goes on", async () => {
      const page = await joined(browser, node);
      const wrong = [
        ["a trap", "__builtin_trap();", /trap/, 60],
        ["an exception", 'throw std::runtime_error("the author said so");', /the author said so/, 60],
        ["an endless loop", "for (volatile int i = 0;; i = i + 1);", /ran longer than 2 s.*--task-timeout/s, 2],
        ["a memory hog", "std::vector<string> all; while (true) all.emplace_back(1 << 20, 'x');", /out of memory.*--task-memory/s, 60],
      ];
      for (const [name, body, why, seconds] of wrong) {
        const source = file(`${name.replaceAll(" ", "_")}.cpp`, job(body));
        const options = ["--task-timeout", String(seconds), "--retries", "0"];
        const failed = submit(node, source, [file("one.txt", "one line\n")], ...options);
        assert.equal(await failed.ended, 1, failed.said);
        assert.match(failed.said, why, name);
      }
      const words = text(1000);
      const counted = submit(node, wordcount, [file("few.txt", words)]);
      assert.equal(await counted.ended, 0, counted.said);
      assert.deepEqual(readFileSync(counted.output), countWords(words));
      await page.close();
    });

    test("closing a tab in the middle of a job does not affect the result", async () => {
      const [closed, stays] = [await joined(browser, node), await joined(browser, node)];
      const words = text(2_000_000);
      const counted = submit(node, wordcount, [file("many.txt", words)]);
      await counted.heard(({ event, stages }) => event === "progress" && stages[0].done > 0);
      await closed.close();
      assert.equal(await counted.ended, 0, counted.said);
      assert.deepEqual(readFileSync(counted.output), countWords(words));
      await stays.close();
    });

    test("a reloaded tab joins again as the same peer, and works", async () => {
      const page = await joined(browser, node);
      const peer = async () => (await shows(page, "#state", (text) => text.includes("12D3"))).match(/12D3\w+/)[0];
      const before = await peer();
      await page.reload();
      assert.equal(await peer(), before);
      const words = text(1000);
      const counted = submit(node, wordcount, [file("again.txt", words)]);
      assert.equal(await counted.ended, 0, counted.said);
      assert.deepEqual(readFileSync(counted.output), countWords(words));
      await shows(page, "#tasks", (text) => Number(text) > 0);
      await page.close();
    });

    test("a reloaded tab still has the modules that it fetched", async () => {
      const page = await open(browser, node);
      /** Bytes that a tab receives from its start through a job without input: mainly its module. */
      const received = async () => {
        await joins(page, 1, 1);
        const counted = submit(node, pi, [], "--tasks", "100");
        assert.equal(await counted.ended, 0, counted.said);
        const { given, counters } = await page.evaluate(() => meshes[0].status());
        assert.ok(given.tasks > 0);
        await page.evaluate(() => meshes[0].leave());
        return counters.bytes_in;
      };
      const first = await received();
      await page.reload();
      const again = await received();
      assert.ok(again < first / 2, `${first} bytes, then ${again}`);
      await page.close();
    });

    test("a hidden tab goes on working, or says that it is paused", async () => {
      const page = await joined(browser, node);
      const front = await browser.newPage();
      await front.bringToFront();
      await page.waitForFunction(() => document.hidden, { polling: 50 });
      const words = text(100_000);
      const counted = submit(node, wordcount, [file("hidden.txt", words)]);
      assert.equal(await counted.ended, 0, counted.said);
      assert.deepEqual(readFileSync(counted.output), countWords(words));
      await page.$eval("#pause-hidden", (box) => box.click());
      // `shows` polls by animation frames, which a hidden tab does not have.
      await page.waitForFunction(() => document.getElementById("state").textContent.startsWith("Paused: "), {
        polling: "mutation",
      });
      await front.close();
      await page.bringToFront();
      await shows(page, "#state", (text) => text.includes("12D3"));
      await page.close();
    });

    test("a list of peers distinguishes tabs from nodes", async () => {
      const page = await joined(browser, node);
      const told = await shows(page, "#state", (text) => text.includes("12D3"));
      const peers = await list(node, "peers");
      const kind = (peer) => peers.find((known) => known.peer === peer)?.kind;
      assert.equal(kind(told.match(/12D3\w+/)[0]), "tab");
      assert.equal(kind(node.peer), "node");
      await page.close();
    });

    test("thirty peers in tabs do a job through one node", async () => {
      const pages = [];
      for (let i = 0; i < 10; i++) {
        const page = await open(browser, node);
        await joins(page, 3, 1);
        pages.push(page);
      }
      // Enough tasks for all of them.
      const words = text(1_500_000);
      const counted = submit(node, wordcount, [file("thirty.txt", words)], "--chunk", "8KiB", "--docs-per-task", "1");
      assert.equal(await counted.ended, 0, counted.said);
      assert.deepEqual(readFileSync(counted.output), countWords(words));
      const status = (page) => page.evaluate(() => Promise.all(globalThis.meshes.map((mesh) => mesh.status())));
      const all = (await Promise.all(pages.map(status))).flat();
      assert.deepEqual(all.filter(({ connected }) => connected === 0), [], "a peer has lost the mesh");
      const { tasks } = JSON.parse(counted.said.split("\n").find((line) => line.includes('"submitted"')));
      const run = all.reduce((sum, { given }) => sum + given.tasks, 0);
      // They are connected through the node only. Tasks of milliseconds are finished before their claims arrive, so
      // some run two or three times on a busy machine; thirty peers that heard no claims would run most tasks thirty
      // times.
      assert.ok(run < (all.length / 3) * tasks, `${run} runs of ${tasks} tasks: they do not hear what others claim`);
      for (const page of pages) await page.close();
    });

    test("a tab reports that its node is gone", async () => {
      const gone = await startNode();
      const page = await open(browser, gone);
      await gone.end();
      await page.click("#join-button");
      await shows(page, "#trouble", (text) => text.includes("no node answers"));
      assert.equal(await page.$eval("#join-button", (button) => button.disabled), false);
      await page.close();
    });
  });
}

test("a tab whose network drops UDP joins over WebSocket, and works", { timeout: 300_000 }, async () => {
  const node = await startNode();
  // WebRTC is then limited to TCP, which WebRTC-direct does not support.
  const browser = await launch("chromium", "--force-webrtc-ip-handling-policy=disable_non_proxied_udp");
  try {
    const page = await joined(browser, node);
    const words = text(100_000);
    const counted = submit(node, wordcount, [file("tcp.txt", words)]);
    assert.equal(await counted.ended, 0, counted.said);
    assert.deepEqual(readFileSync(counted.output), countWords(words));
    await shows(page, "#tasks", (text) => Number(text) > 0);
  } finally {
    await browser.close();
    await node.end();
  }
});
