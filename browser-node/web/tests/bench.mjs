// Benchmarks of tabs in Debian's Chromium: `npm run bench`. The results go to docs/benchmarks.md.

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { countWords, joins, launch, open, root, scratch, startNode, submit, text } from "./harness.mjs";

const wordcount = join(root, "examples/wordcount/wordcount_fast.cpp");
const browser = await launch("chromium");
const median = (all) => all.sort((a, b) => a - b)[Math.floor(all.length / 2)];
const say = (what, value) => {
  process.stdout.write(`${what.padEnd(72)} ${value}\n`);
};

function corpus(name, words) {
  const bytes = text(words);
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return { path, bytes };
}

/** Runs a word count and checks the answer; returns the job's duration in seconds. */
async function count(node, { path, bytes }, ...more) {
  const counted = submit(node, wordcount, [path], ...more);
  if ((await counted.ended) !== 0) throw new Error(counted.said);
  if (!readFileSync(counted.output).equals(countWords(bytes))) throw new Error("a wrong answer");
  const ended = counted.said.split("\n").find((line) => line.includes('"ended"'));
  return JSON.parse(ended).seconds;
}

/** How long a tab is observed, while it works and while it is idle, in milliseconds. */
const WORKING_MILLIS = 2000;
const IDLE_MILLIS = 5000;

/** Opens a page whose tabs have joined as `meshes`. */
async function tabs(node, peers, threads) {
  const page = await open(browser, node);
  await joins(page, peers, threads);
  return page;
}

/** Clock ticks in /proc, on every Linux that runs Chromium. */
const TICKS_A_SECOND = 100;

/** CPU seconds that all threads of a name, as Linux truncates it, have used so far. */
function cpu(name) {
  let ticks = 0;
  const stats = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => {
    const folder = `/proc/${pid}/task`;
    // Threads that end meanwhile are not the counted ones.
    return existsSync(folder) ? readdirSync(folder).map((thread) => join(folder, thread, "stat")) : [];
  });
  for (const stat of stats.filter(existsSync)) {
    // The name is in parentheses; user and system time are the 12th and 13th number behind it.
    const [, called, rest] = readFileSync(stat, "latin1").match(/\((.*)\) (.*)/);
    const numbers = rest.split(" ");
    if (called === name) ticks += Number(numbers[11]) + Number(numbers[12]);
  }
  return ticks / TICKS_A_SECOND;
}

/** Duration of a job in seconds, the median of five after a warm-up, and CPU seconds of its tasks, the mean. */
async function timed(node, job, thread) {
  await count(node, job);
  const before = cpu(thread);
  const all = [];
  for (let i = 0; i < 5; i++) all.push(await count(node, job));
  return { job: median(all), core: (cpu(thread) - before) / 5 };
}

const big = corpus("big.txt", 11_000_000);
const megabytes = (big.bytes.length / 1e6).toFixed(0);

// From pressing the button to the first task.
{
  const node = await startNode();
  // More work than can be finished meanwhile.
  const waiting = submit(node, join(root, "examples/monte-carlo-pi/monte_carlo_pi.cpp"), [], "--tasks", "200000");
  await waiting.heard(({ event }) => event === "submitted");
  const first = [];
  const longest = [];
  for (let i = 0; i < 5; i++) {
    const page = await open(browser, node);
    const [millis, task] = await page.evaluate(async (observed) => {
      // The Workers that run tasks report each that is done.
      const done = new Promise((resolve) => {
        globalThis.Worker = class extends Worker {
          constructor(...given) {
            super(...given);
            this.addEventListener("message", ({ data }) => data.kind === "done" && "task" in data && resolve());
          }
        };
      });
      const tasks = [];
      new PerformanceObserver((list) => tasks.push(...list.getEntries())).observe({ type: "longtask" });
      const { join } = await import("/mesh.js");
      const pressed = performance.now();
      const mesh = await join({ threads: 1 });
      await done;
      const millis = performance.now() - pressed;
      await new Promise((resolve) => setTimeout(resolve, observed));
      await mesh.leave();
      return [millis, Math.max(0, ...tasks.map(({ duration }) => duration))];
    }, WORKING_MILLIS);
    first.push(millis);
    longest.push(task);
    await page.close();
  }
  waiting.cancel();
  await waiting.ended;
  say("pressing the button to the first task, median of 5", `${(median(first) / 1000).toFixed(2)} s`);
  say("longest task of the main thread, joining and working, of 5", `${Math.max(...longest).toFixed(0)} ms`);
  await node.end();
}

// A tab's core compared with a node's: CPU time of the tasks, and duration of a job over the network.
{
  const node = await startNode("shuffler,compiler,relay");
  const page = await tabs(node, 1, 1);
  const tab = await timed(node, big, "DedicatedWorker");
  await page.close();
  await node.end();
  const other = await startNode("shuffler,compiler,relay");
  const worker = await startNode("worker", "--threads", "1", "--bootstrap", other.tcp);
  const native = await timed(other, big, "webmesh-task-0");
  await worker.end();
  await other.end();
  const beside = (what) => `${tab[what].toFixed(2)} / ${native[what].toFixed(2)} s: ${(native[what] / tab[what]).toFixed(2)}`;
  say(`${megabytes} MB word count, a core's time: tab / node`, beside("core"));
  say(`${megabytes} MB word count, the whole job, one thread: tab / node`, beside("job"));
}

// Memory of an idle tab.
{
  const node = await startNode();
  const page = await tabs(node, 1, 1);
  await new Promise((resolve) => setTimeout(resolve, IDLE_MILLIS));
  const memory = await page.evaluate(async () => (await globalThis.meshes[0].status()).memory);
  const { JSHeapUsedSize } = await page.metrics();
  say("memory of an idle joined tab: wasm / JavaScript", `${(memory / 1e6).toFixed(1)} / ${(JSHeapUsedSize / 1e6).toFixed(1)} MB`);
  await page.close();
  await node.end();
}

// Tabs as the only workers and shufflers.
{
  const node = await startNode("compiler,relay");
  const pages = [await tabs(node, 1, 1), await tabs(node, 1, 1)];
  const seconds = await count(node, big, "--replicas", "1");
  say(`${megabytes} MB word count, two tabs the only workers and shufflers`, `${seconds.toFixed(1)} s`);
  for (const page of pages) await page.close();
  await node.end();
}

await browser.close();
process.exit(0);
