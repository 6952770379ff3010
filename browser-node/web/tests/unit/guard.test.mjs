// A program that traps, and its pending callers.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { load } from "./module.mjs";

const { CrashError, guardOf, instantiate } = await load("guard.ts");

// (module (import "" "f" (func)) (memory (export "memory") 1)
//   (func (export "fine") (result i32) i32.const 7) (func (export "trap") unreachable) (func (export "out") call 0))
const bytes = Buffer.from(
  "0061736d0100000001080260000060000" +
    "17f0206010001660000030403010000" +
    "0503010001071e040466696e65000104747261700002036f75740003066d656d6f72790200" +
    "0a0f030400" + "41070b0300000b040010000b",
  "hex",
);
const program = new WebAssembly.Module(bytes);

let exports, guard;
beforeEach(async () => {
  const f = () => {
    throw new TypeError("the page's own fault");
  };
  const started = await instantiate(program, { "": { f } });
  exports = started.instance.exports;
  guard = guardOf(exports);
});

test("a working program can be called as if there were no guard", async () => {
  assert.equal(exports.fine(), 7);
  assert.ok(exports.memory instanceof WebAssembly.Memory);
  assert.equal(await guard.until(Promise.resolve(1)), 1);
  await assert.rejects(guard.until(Promise.reject(new Error("no"))), /^Error: no$/);
});

test("a program that trapped is never entered again", async () => {
  assert.throws(exports.trap, (error) => error instanceof CrashError && error.cause instanceof WebAssembly.RuntimeError);
  assert.equal(exports.fine(), undefined);
  assert.match((await guard.crashed).message, /stopped because of a fault/);
});

test("an exception that passes through the program ends it as a trap does", () => {
  assert.throws(exports.out, (error) => error instanceof CrashError && error.cause instanceof TypeError);
  assert.equal(exports.fine(), undefined);
});

test("pending and later calls are rejected with the crash", async () => {
  const never = () => guard.until(new Promise(() => {}));
  const waiting = [never(), never()];
  assert.throws(exports.trap);
  for (const answer of [...waiting, never()]) await assert.rejects(answer, CrashError);
});

test("the first reason is kept", async () => {
  guard.stop(new CrashError("the first"));
  guard.stop(new CrashError("the second"));
  assert.equal((await guard.crashed).message, "the first");
  await assert.rejects(guard.until(Promise.resolve()), /the first/);
});
