// The program of a page: compiled once, started when a tab joins, and started again after a crash.

import type * as Script from "../wasm/webmesh_browser_node.js";
import { type Assets, compiledProgram, wrongVersion } from "./assets.js";
import { type Guard, guardOf } from "./guard.js";
import { newScript } from "./script.js";

/** A running program. All peers of a page share it. */
export interface Program {
  /** The compiled module; the storage Worker has an instance of its own. */
  module: WebAssembly.Module;
  script: typeof Script;
  memory: WebAssembly.Memory;
  guard: Guard;
}

let compiled: Promise<WebAssembly.Module> | undefined;
let running: Promise<Program> | undefined;

/** The page's program, started if none is running. Rejects with an AssetError if it cannot be loaded. */
export async function program(assets: Assets): Promise<Program> {
  running ??= start(assets);
  try {
    return await running;
  } catch (error) {
    // The next call retries.
    compiled = running = undefined;
    throw error;
  }
}

async function start(assets: Assets): Promise<Program> {
  compiled ??= compiledProgram(assets);
  const module = await compiled;
  const script = newScript();
  const exports = await script.default({ module_or_path: module }).catch((error: unknown) => {
    throw error instanceof WebAssembly.LinkError ? wrongVersion(assets, error) : error;
  });
  const guard = guardOf(exports);
  void guard.crashed.then(() => {
    running = undefined;
    closeConnections(exports.__wbindgen_externrefs);
  });
  return { module, script, memory: exports.memory, guard };
}

/** Closes the connections that a crashed program left open, so that its peers need not wait. */
function closeConnections(held: WebAssembly.Table): void {
  for (let i = 0; i < held.length; i++) {
    const value: unknown = held.get(i);
    if (value instanceof RTCPeerConnection || value instanceof WebSocket) value.close();
  }
}
