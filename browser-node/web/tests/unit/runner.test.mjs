// The Workers of a tab, with fake Workers controlled by the test.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { load } from "./module.mjs";

let workers;
globalThis.Worker = class {
  constructor() {
    this.batches = [];
    workers.push(this);
  }
  postMessage(batch) {
    this.batches.push(batch);
  }
  terminate() {
    this.isEnded = true;
  }
};
const { Runner } = await load("runner.ts");
/** The smallest valid module. */
const WASM = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
const turn = () => new Promise((resolve) => setImmediate(resolve));

let runner, told;
function unit(run, tasks = 1) {
  const seeds = new Uint8Array(32 * tasks);
  const ends = Uint32Array.from({ length: tasks }, (_, i) => i + 1);
  const more = { millis: 60_000, output: 1, buckets: 1, firstTask: 0, inputsPerTask: 1, free() {} };
  return { run, job: "job", module: "m:1", seeds, bytes: new Uint8Array(tasks), ends, ...more };
}
/** Runs of the units on Workers that have not ended. */
const running = () => workers.filter(({ isEnded, batches }) => !isEnded && batches.length > 0).length;
async function start(threads, units) {
  runner = new Runner(threads, new URL("file:///guest.js"));
  runner.results = {
    began: () => {},
    finished: () => {},
    failed: (...given) => told.push(["failed", ...given]),
    returned: (run) => told.push(["returned", run]),
  };
  runner.load("m:1", WASM);
  for (let run = 0; run < units; run++) runner.run(unit(run, 2));
  // Modules are compiled asynchronously.
  while (running() < Math.min(threads, units)) await turn();
}
beforeEach(() => {
  workers = [];
  told = [];
});

test("with more Workers, waiting units start", async () => {
  await start(1, 3);
  assert.equal(running(), 1);
  runner.resize(3);
  while (running() < 3) await turn();
  assert.equal(runner.threads, 3);
  assert.deepEqual(told, []);
  runner.close();
});

test("with fewer Workers, surplus running units are stopped at once and returned, not failed", async () => {
  await start(3, 3);
  runner.resize(1);
  await turn();
  assert.equal(running(), 1);
  assert.deepEqual(told, [["returned", 1], ["returned", 2]]);
  runner.close();
});

test("with fewer Workers, at most one unit for each waits", async () => {
  await start(2, 6);
  runner.resize(1);
  assert.deepEqual(told.map(([, run]) => run), [1, 3, 4, 5]);
  runner.close();
});

test("without Workers, all units are returned", async () => {
  await start(2, 3);
  runner.resize(0);
  assert.equal(running(), 0);
  assert.deepEqual(told.map(([, run]) => run).sort(), [0, 1, 2]);
  runner.close();
});

test("idle Workers are removed before busy ones", async () => {
  await start(2, 1);
  runner.resize(1);
  assert.equal(running(), 1);
  assert.deepEqual(told, []);
  runner.close();
});

test("a cancelled unit ends without a result, and the next one gets its Worker", async () => {
  await start(1, 3);
  const [first] = workers;
  runner.cancel(0);
  assert.ok(first.isEnded);
  runner.cancel(2);
  while (running() < 1) await turn();
  assert.equal(workers.at(-1).batches.length, 1);
  assert.deepEqual(told, []);
  runner.cancel(1);
  await turn();
  assert.equal(running(), 0, "a cancelled unit that waited began");
  runner.close();
});

test("a unit is reported to have begun once its module is compiled", async () => {
  const began = [];
  await start(1, 0);
  runner.results.began = (run) => began.push(run);
  runner.run(unit(7));
  assert.deepEqual(began, []);
  while (running() < 1) await turn();
  assert.deepEqual(began, [7]);
  runner.run(unit(8));
  while (began.length < 2) await turn();
  assert.deepEqual(began, [7, 8], "it waits for a Worker only");
  runner.close();
});
