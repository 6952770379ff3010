// Errors when the library's own files cannot be loaded.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { load } from "./module.mjs";

const { AssetError, assetsIn, compiledProgram, fetchScript, workerFailure, wrongVersion } = await load("assets.ts");

/** An empty module. */
const WASM = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

let assets;
beforeEach(() => {
  globalThis.location = new URL("http://192.0.2.1/a/page.html");
  assets = assetsIn("lib");
});

function serves(body, type, status = 200) {
  globalThis.fetch = async () => new Response(body, { status, headers: type === undefined ? {} : { "content-type": type } });
}

/** Asserts that an answer to a request for a file is refused with these words. */
async function refuses(loading, words) {
  await assert.rejects(loading, (error) => {
    assert.ok(error instanceof AssetError);
    assert.match(error.message, words);
    assert.ok(error.message.includes(error.url), "it does not say which file");
    return true;
  });
}

test("files are found in the given folder, relative to the page, with or without a slash", () => {
  for (const folder of ["lib", "lib/", "/a/lib", new URL("http://192.0.2.1/a/lib/")]) {
    const { program, taskWorker, storageWorker } = assetsIn(folder);
    assert.equal(program.href, "http://192.0.2.1/a/lib/webmesh.wasm");
    assert.equal(taskWorker.href, "http://192.0.2.1/a/lib/guest.js");
    assert.equal(storageWorker.href, "http://192.0.2.1/a/lib/storage-worker.js");
  }
});

test("an invalid folder, or one of another origin, is refused at once", () => {
  for (const none of ["http://", "data:text/plain,x"]) {
    const words = new RegExp(`^AssetError: .*\`assets\` must be the URL of a folder.*"${none}" is none`);
    assert.throws(() => assetsIn(none), words);
  }
  assert.throws(() => assetsIn("http://192.0.2.2/lib/"), /^AssetError: .*no Worker .*another origin .*http:\/\/192\.0\.2\.1\)/);
});

test("a module that does not know its own URL says what to do", () => {
  // This one was loaded from a data: URL, next to which there can be no files.
  assert.throws(() => assetsIn(), /^AssetError: .*import\.meta\.url.*--format=esm.*assets: "/);
});

test("a program is compiled whatever media type its server sends", async () => {
  for (const type of ["application/wasm", "application/wasm; charset=x", "application/octet-stream", undefined]) {
    serves(WASM, type);
    assert.ok((await compiledProgram(assets)) instanceof WebAssembly.Module, type);
  }
});

test("a missing file is reported with its status, and what to do", async () => {
  serves("", "text/plain", 404);
  await refuses(compiledProgram(assets), /webmesh\.wasm: .*status 404; the folder given as `assets` must hold/);
  await refuses(fetchScript(assets.taskWorker, assets.remedy), /guest\.js: .*status 404; the folder given as `assets`/);
});

test("an HTML page in place of a file is detected", async () => {
  serves("<!doctype html>", "text/html; charset=utf-8");
  await refuses(compiledProgram(assets), /with an HTML page instead of the file/);
  await refuses(fetchScript(assets.taskWorker, assets.remedy), /with an HTML page instead of the file/);
});

test("an unresponsive server is not reported as an unresponsive mesh", async () => {
  globalThis.fetch = () => Promise.reject(new TypeError("failed"));
  await refuses(compiledProgram(assets), /^(?!.*node).*webmesh\.wasm: its server does not answer/);
});

test("an invalid program, or one of another version, is reported", async () => {
  serves("garbage", "application/wasm");
  await refuses(compiledProgram(assets), /cannot compile .*webmesh\.wasm: .*WebAssembly/);
  const wrong = Promise.reject(wrongVersion(assets, new WebAssembly.LinkError("import")));
  await refuses(wrong, /cannot start .*webmesh\.wasm: .*another version.*Copy it from the package again/);
});

test("a script that browsers would not run is reported with its media type", async () => {
  serves("", "text/plain");
  await refuses(fetchScript(assets.taskWorker, assets.remedy), /guest\.js: its server sends it as text\/plain.*text\/javascript/);
  for (const type of ["text/javascript", "application/javascript; charset=utf-8", "application/x-javascript"]) {
    serves("", type);
    await fetchScript(assets.taskWorker, assets.remedy);
  }
});

test("a failed Worker is reported by its message, or by its missing script", () => {
  assert.equal(workerFailure({ message: "Uncaught Error: x" }, assets.taskWorker), "Uncaught Error: x");
  assert.match(workerFailure({}, assets.taskWorker), /^http:\/\/192\.0\.2\.1\/a\/lib\/guest\.js could not be loaded/);
});
