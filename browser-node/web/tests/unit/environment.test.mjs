// Environments in which the library cannot run.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { load } from "./module.mjs";

const { requirePage } = await load("environment.ts");

const NAMES = ["document", "RTCPeerConnection", "Worker", "WorkerGlobalScope"];
afterEach(() => {
  for (const name of NAMES) delete globalThis[name];
});
function has(...names) {
  for (const name of names) globalThis[name] = class {};
}

test("it runs in a page", () => {
  has("document", "RTCPeerConnection", "Worker");
  requirePage();
});

test("in Node it says what to run instead", () => {
  assert.throws(requirePage, /^JoinError: .*browsers only.*`webmesh submit .*`webmesh node/);
});

test("in a Worker it says to call the page", () => {
  has("Worker", "WorkerGlobalScope");
  assert.throws(requirePage, /^JoinError: .*in a Worker.*Call it in the page/);
});

test("in a browser without WebRTC it says that WebRTC is switched off", () => {
  has("document", "Worker");
  assert.throws(requirePage, /^JoinError: .*WebRTC.*switched off/);
});
