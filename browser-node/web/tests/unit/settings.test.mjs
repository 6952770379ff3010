// Settings: their options, and errors in them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { NO_SETTINGS, options, read, wrong } = await load("submit/settings.ts");

test("empty settings give no options", () => {
  assert.deepEqual(options(NO_SETTINGS), {});
  assert.deepEqual(options({ wholeFiles: false, fields: { tasks: " ", chunk: "" } }), {});
});

test("fields become a job's options, in the options' units", () => {
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

test("an invalid field is reported with its range", () => {
  assert.match(wrong("replicas", "6"), /from 1 to 5/);
  for (const text of ["0", "257", "1.5", "-1", "many", "1e99", "NaN"])
    assert.match(wrong("partitions", text), /Partitions/);
  const both = options({ wholeFiles: false, fields: { replicas: "9", time: "never", retries: "1" } });
  assert.equal(both.length, 2);
});

test("stored settings are read, and invalid data is left out", () => {
  assert.deepEqual(read({ wholeFiles: true, fields: { tasks: "5", chunk: 7, other: "x" } }), {
    wholeFiles: true,
    fields: { tasks: "5" },
  });
  for (const kept of [undefined, null, 3, "x", [], { fields: null }]) assert.deepEqual(read(kept), NO_SETTINGS);
});
