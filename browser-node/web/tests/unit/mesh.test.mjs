// A mesh whose page is closed, or whose program crashes or does not answer.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { load } from "./module.mjs";

const { CrashError, JobError, Mesh } = await load("mesh.ts");
const { Guard } = await load("guard.ts");

const never = () => new Promise(() => {});
let guard, tab, ended, patience, page, sent;
const JOB_ENDS = new URL("http://192.0.2.1/job-ends");
function mesh() {
  const program = { guard, memory: new WebAssembly.Memory({ initial: 1 }) };
  const storage = { plan: never, forget: never, close: () => ended.push("storage") };
  return new Mesh(program, tab, { given: {}, close: () => ended.push("runner") }, storage, { fallback: undefined, jobEnds: JOB_ENDS });
}
beforeEach(() => {
  page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
  sent = [];
  Object.defineProperty(globalThis, "navigator", {
    configurable: true,
    value: { sendBeacon: (url, body) => sent.push(`${body} to ${url}`) },
  });
  guard = new Guard({});
  tab = { peer: "me", connected: 1, leave: async () => {}, status: never, compile: never };
  ended = [];
  patience = undefined;
  AbortSignal.timeout = (millis) => {
    patience = new AbortController();
    patience.millis = millis;
    return patience.signal;
  };
});
const crash = () => guard.stop(new CrashError("a test said so"));

test("leaving closes a mesh and its Workers", async () => {
  const left = mesh();
  await left.leave();
  await left.closed;
  assert.deepEqual(ended, ["runner", "storage"]);
  await left.leave();
  patience.abort();
  assert.equal(await guard.until(Promise.resolve("well")), "well", "a late look ended a program that had answered");
});

const hides = (persisted) => page.dispatchEvent(Object.assign(new Event("pagehide"), { persisted }));

test("a closing page ends its jobs before they could be cancelled, sends the ends, and leaves", async () => {
  const closed = mesh();
  let running = ["end of a", "end of b"];
  tab.endJobs = () => running;
  tab.leave = async () => {
    running = [];
  };
  hides(true);
  assert.deepEqual(sent, [], "it may be shown again");
  hides(false);
  await closed.closed;
  assert.deepEqual(sent, [`end of a to ${JOB_ENDS}`, `end of b to ${JOB_ENDS}`]);
  hides(false);
  assert.equal(sent.length, 2, "a mesh that was left tells of nothing");
});

test("a crash closes the mesh with its reason, and ends its Workers", async () => {
  const crashed = mesh();
  const status = crashed.status();
  crash();
  await assert.rejects(crashed.closed, /a test said so/);
  await assert.rejects(status, /a test said so/);
  await assert.rejects(crashed.status(), /a test said so/);
  await assert.rejects(crashed.leave(), /a test said so/);
  assert.deepEqual(ended, ["runner", "storage"]);
});

test("a crash ends a job with an error, and its progress", async () => {
  const crashed = mesh();
  const job = crashed.submit({ source: "" });
  const phases = (async () => {
    const seen = [];
    for await (const { phase } of job.progress()) seen.push(phase);
    return seen;
  })();
  crash();
  await assert.rejects(job.result(), (error) => error instanceof JobError && /a test said so/.test(error.message));
  assert.deepEqual(await phases, ["compiling"]);
  await job.cancel();
  assert.throws(() => crashed.submit({ source: "" }), (error) => error instanceof JobError && /a test/.test(error.message));
});

test("leaving rejects if the program crashes meanwhile", async () => {
  tab.leave = never;
  const leaving = mesh().leave();
  crash();
  await assert.rejects(leaving, /a test said so/);
});

test("waiting for a program that does not answer ends at the timeout", async () => {
  tab.leave = never;
  const leaving = mesh().leave();
  assert.ok(patience.millis > 2_000 && patience.millis <= 30_000);
  patience.abort();
  await assert.rejects(leaving, /does not answer/);
  assert.deepEqual(ended, ["runner", "storage"]);
  await assert.rejects(guard.until(Promise.resolve()), /does not answer/, "it goes on all the same");
});

test("a program that traps while leaving is reported as crashed", async () => {
  tab.leave = () => {
    throw crash();
  };
  await assert.rejects(mesh().leave(), /a test said so/);
});
