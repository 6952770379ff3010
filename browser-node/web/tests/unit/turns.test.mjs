// Changes that run one after another.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { Turns } = await load("turns.ts");

test("changes run in order and do not overlap", async () => {
  const seen = [];
  const turns = new Turns(assert.fail);
  const change = (name) => async () => {
    seen.push(`${name} begins`);
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(`${name} ends`);
  };
  turns.take(change("one"));
  await turns.take(change("two"));
  assert.deepEqual(seen, ["one begins", "one ends", "two begins", "two ends"]);
});

test("a failed change is reported, and the next one runs", async () => {
  const told = [];
  const turns = new Turns((error) => told.push(error.message));
  let done = false;
  await turns.take(() => Promise.reject(new Error("no")));
  await turns.take(async () => {
    done = true;
  });
  assert.deepEqual(told, ["no"]);
  assert.equal(done, true);
});
