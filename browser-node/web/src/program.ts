// The program of a page: compiled once, started when a tab joins, and started anew after it crashed.

import type * as Script from "../wasm/webmesh_browser_node.js";
import { JoinError, noAnswer } from "./bootstrap.js";
import { type Guard, guardOf } from "./guard.js";

/** A program that runs. All peers of a page share it. */
export interface Program {
  /** What it was made of; the storage Worker has an instance of its own. */
  module: WebAssembly.Module;
  script: typeof Script;
  memory: WebAssembly.Memory;
  guard: Guard;
}

let compiled: Promise<WebAssembly.Module> | undefined;
let running: Promise<Program> | undefined;
let starts = 0;

/** The page's program, which is started if none runs. */
export async function program(): Promise<Program> {
  running ??= start();
  try {
    return await running;
  } catch (error) {
    // The next try asks again.
    compiled = running = undefined;
    throw error instanceof TypeError ? new JoinError(noAnswer(new URL(import.meta.url))) : error;
  }
}

async function start(): Promise<Program> {
  compiled ??= WebAssembly.compileStreaming(fetch(new URL("./webmesh.wasm", import.meta.url)));
  // A script has one instance; by another name it is another script. The node is asked for it once all the same.
  const name = new URL(`./program.js#${starts++}`, import.meta.url).href;
  const [module, script] = await Promise.all([compiled, import(name) as Promise<typeof Script>]);
  const exports = await script.default({ module_or_path: module });
  const guard = guardOf(exports);
  void guard.crashed.then(() => {
    running = undefined;
    hangUp(exports.__wbindgen_externrefs);
  });
  return { module, script, memory: exports.memory, guard };
}

/** Closes what a program that crashed has left open: its peers need not wait for it. */
function hangUp(held: WebAssembly.Table): void {
  for (let i = 0; i < held.length; i++) {
    const value: unknown = held.get(i);
    if (value instanceof RTCPeerConnection || value instanceof WebSocket) value.close();
  }
}
