// Settings: what a job gets of them, and what is wrong with them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { NO_SETTINGS, options, read, wrong } = await load("submit/settings.ts");

test("nothing set is nothing asked for", () => {
  assert.deepEqual(options(NO_SETTINGS), {});
  assert.deepEqual(options({ wholeFiles: false, fields: { tasks: " ", chunk: "" } }), {});
});

test("fields become a job's options, in its units", () => {
  const fields = { tasks: "100", chunk: "64", time: "5", memory: "256", retries: "0", partitions: "8" };
  assert.deepEqual(options({ wholeFiles: true, fields }), {
    wholeFiles: true,
    tasks: 100,
    chunk: 65_536,
    taskMillis: 5000,
    taskMemory: 268_435_456,
    retries: 0,
    partitions: 8,
  });
});

test("what is wrong is told in words, with the bounds", () => {
  assert.match(wrong("replicas", "6"), /from 1 to 5/);
  for (const text of ["0", "257", "1.5", "-1", "many", "1e99", "NaN"])
    assert.match(wrong("partitions", text), /Partitions/);
  const both = options({ wholeFiles: false, fields: { replicas: "9", time: "never", retries: "1" } });
  assert.equal(both.length, 2);
});

test("what was kept is read, and what is none of it left out", () => {
  assert.deepEqual(read({ wholeFiles: true, fields: { tasks: "5", chunk: 7, other: "x" } }), {
    wholeFiles: true,
    fields: { tasks: "5" },
  });
  for (const kept of [undefined, null, 3, "x", [], { fields: null }]) assert.deepEqual(read(kept), NO_SETTINGS);
});
