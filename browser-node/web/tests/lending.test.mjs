// What a tab contributes while it is in a mesh, as the mesh sees it, in Debian's Chromium.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fresh, joined, joins, launch, list, open, root, shows, slide, startNode, submit, text } from "./harness.mjs";

const pi = join(root, "examples/monte-carlo-pi/monte_carlo_pi.cpp");
const wordcount = readFileSync(join(root, "examples/wordcount/wordcount_fast.cpp"), "utf8");
const PATIENCE = { polling: 50, timeout: 90_000 };

describe("a tab in a mesh", { timeout: 600_000 }, () => {
  let browser;
  before(async () => {
    browser = await launch("chromium");
  });
  after(() => browser?.close());

  /** Polls a list of the mesh until it satisfies a condition. */
  async function listed(node, what, is) {
    const until = performance.now() + PATIENCE.timeout;
    for (;;) {
      const all = await list(node, what);
      const found = all.find(is);
      if (found !== undefined) return found;
      assert.ok(performance.now() < until, JSON.stringify(all));
    }
  }

  test("gives as many threads as its slider says, at once, while a job runs", async () => {
    const node = await startNode();
    const page = await joined(browser, node, 1);
    const peer = (await shows(page, "#state", (text) => text.includes("12D3"))).match(/12D3\w+/)[0];
    // Long enough that it is not over before the slider has moved, however slow the lists are.
    const job = submit(node, pi, [], "--tasks", "1500");
    await job.heard(({ event, stages }) => event === "progress" && stages[0].done > 0);
    const workers = () => page.workers().filter((worker) => worker.url().endsWith("/guest.js")).length;
    const until = async (wanted) => {
      const end = performance.now() + PATIENCE.timeout;
      while (workers() !== wanted) {
        assert.ok(performance.now() < end, `${workers()} Workers, not ${wanted}`);
        await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
      }
    };
    await until(1);
    await slide(page, 3);
    await until(3);
    await listed(node, "peers", (known) => known.peer === peer && known.threads === 3);
    await slide(page, 0);
    await until(0);
    const idle = await listed(node, "peers", (known) => known.peer === peer && known.threads === 0);
    assert.ok(!idle.roles.includes("worker"), idle.roles.join());
    await slide(page, 2);
    await until(2);
    assert.equal(await job.ended, 0, job.said);
    assert.ok(!job.said.includes('"task_failed"'), "what was given back was told of as a failure");
    assert.deepEqual(page.errors, []);
    await page.close();
    await node.end();
  });

  for (const [how, leaves] of [
    ["closed", (page) => page.close({ runBeforeUnload: true })],
    ["loaded anew", (page) => page.reload()],
  ]) {
    test(`that is ${how} says at once, to every node, that its jobs end with it`, async (t) => {
      const node = await startNode("worker,shuffler,compiler,relay");
      const other = await startNode("worker", "--bootstrap", node.tcp);
      const page = await fresh(browser, node);
      await joins(page, 1, 0);
      const endless = wordcount.replace("  while (true) {", "  for (volatile int i = 0;; i = i + 1);\n  while (true) {");
      await page.evaluate((source) => {
        for (const name of ["one.cpp", "two.cpp"]) globalThis.meshes[0].submit({ name, source, tasks: 64 });
      }, endless);
      for (const name of ["one.cpp", "two.cpp"]) {
        await listed(other, "jobs", (job) => job.name === name && job.state === "running");
      }
      const left = performance.now();
      await leaves(page);
      // A job whose submitter merely becomes unresponsive vanishes from the list, and has no reason in it.
      for (const at of [node, other]) {
        for (const name of ["one.cpp", "two.cpp"]) {
          // The tab's goodbye may arrive before the end that it signed.
          const ended = (job) => job.state !== "running" && job.why !== "its submitter left the mesh before it was done";
          const { state, why } = await listed(at, "jobs", (job) => job.name === name && ended(job));
          assert.deepEqual([state, why], ["failed", "its submitter closed or reloaded the tab that it was submitted in"]);
        }
      }
      t.diagnostic(`listed as ended ${((performance.now() - left) / 1000).toFixed(1)} s after the tab was ${how}`);
      await page.browserContext().close();
      for (const at of [other, node]) await at.end();
    });
  }

  test("knows the relay through which another tab is reached", async () => {
    const node = await startNode("compiler,relay");
    const pages = [await joined(browser, node), await joined(browser, node)];
    const submitter = await open(browser, node);
    await joins(submitter, 1, 0);
    await submitter.waitForFunction(async () => {
      const { peers } = await globalThis.meshes[0].status();
      return peers.filter((p) => p.kind === "tab" && p.threads > 0 && p.addresses.length > 0).length === 2;
    }, PATIENCE);
    const relays = await submitter.evaluate(
      async (source, words) => {
        const [mesh] = globalThis.meshes;
        await mesh.submit({ source, inputs: [new File([words], "words.txt")], replicas: 1 }).result();
        const { peers } = await mesh.status();
        const linked = peers.filter(({ connected }) => connected);
        return linked.map(({ kind, relay, quietMillis }) => ({ kind, relay, moved: quietMillis !== null }));
      },
      wordcount,
      text(50_000).toString(),
    );
    const tabs = relays.filter(({ kind }) => kind === "tab");
    assert.ok(tabs.length > 0, JSON.stringify(relays));
    for (const tab of tabs) assert.deepEqual(tab, { kind: "tab", relay: node.peer, moved: true });
    assert.equal(relays.find(({ kind }) => kind === "node").relay, null);
    for (const page of [submitter, ...pages]) await page.close();
    await node.end();
  });
});
