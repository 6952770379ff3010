// The stored list of jobs of a browser.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { JobStore, KEPT_BYTES, KEPT_JOBS, KEPT_RESULT_BYTES } = await load("submit/kept.ts");

let stores = 0;
const empty = () => `store-${stores++}`;
const job = (number, more = {}) => ({
  key: `key-${number}`,
  id: "",
  name: `job-${number}.cpp`,
  source: "code",
  settings: { wholeFiles: false, fields: {} },
  inputs: { files: 1, bytes: 2 },
  state: "done",
  started: 1000 + number,
  whole: false,
  ...more,
});
/** A blob of a size that need not be in memory. */
const sized = (bytes) => ({ result: { lines: 1, keys: 1, bytes } });

test("jobs are listed after a reload, newest first", async () => {
  const name = empty();
  const before = new JobStore(name);
  for (const number of [2, 1, 3]) await before.put(job(number));
  const after = new JobStore(name);
  assert.deepEqual(
    (await after.list()).map(({ key }) => key),
    ["key-3", "key-2", "key-1"],
  );
  assert.deepEqual((await after.list())[0], job(3));
});

test("a result is stored with its job, and removed with it", async () => {
  const store = new JobStore(empty());
  await store.put(job(1, sized(4)), new Blob(["a\t1\n"]));
  assert.equal((await store.list())[0].whole, true);
  assert.equal(await (await store.result("key-1")).text(), "a\t1\n");
  await store.put(job(1, { ...sized(4), whole: true, id: "later" }));
  assert.equal((await store.list())[0].whole, true);
  await store.remove("key-1");
  assert.deepEqual(await store.list(), []);
  assert.equal(await store.result("key-1"), undefined);
});

test("the oldest jobs are dropped, with their results", async () => {
  const store = new JobStore(empty());
  for (let number = 0; number < KEPT_JOBS + 3; number++) await store.put(job(number, sized(2)), new Blob(["x\n"]));
  const kept = await store.list();
  assert.equal(kept.length, KEPT_JOBS);
  assert.equal(kept.at(-1).key, "key-3");
  assert.equal(await store.result("key-2"), undefined);
  assert.notEqual(await store.result("key-3"), undefined);
});

test("a result over the limit is not stored, and its job says so", async () => {
  const store = new JobStore(empty());
  await store.put(job(1, sized(KEPT_RESULT_BYTES + 1)), new Blob([new Uint8Array(KEPT_RESULT_BYTES + 1)]));
  assert.equal((await store.list())[0].whole, false);
  assert.equal(await store.result("key-1"), undefined);
});

test("beyond the total limit, the oldest results are dropped and their jobs stay", async () => {
  const store = new JobStore(empty());
  const most = KEPT_BYTES / KEPT_RESULT_BYTES;
  for (let number = 0; number <= most; number++)
    await store.put(job(number, sized(KEPT_RESULT_BYTES)), new Blob(["x\n"]));
  const kept = await store.list();
  assert.equal(kept.length, most + 1);
  assert.deepEqual(
    kept.filter(({ whole }) => !whole).map(({ key }) => key),
    ["key-0"],
  );
  assert.equal(await store.result("key-0"), undefined);
});
