// The Worker that holds what a tab keeps: segments, results of its own jobs, and the files that they read.

import init, { Storage } from "../wasm/webmesh_browser_node.js";
import type { StorageAnswer, StorageCall } from "./messages.js";

const post = self.postMessage.bind(self) as (answer: StorageAnswer, transfer?: Transferable[]) => void;

let storage: Storage | undefined;
// One after another: the engine counts on their order.
let turn: Promise<void> = Promise.resolve();
addEventListener("message", ({ data }: MessageEvent<StorageCall>) => {
  turn = turn.then(() => obey(data)).catch((error: unknown) => {
    // What is thrown here (no memory left, above all) leaves the program in no state to go on.
    post({ kind: "broken", why: wordsOf(error) });
  });
});

async function obey(call: StorageCall): Promise<void> {
  if (call.kind === "begin") {
    await init({ module_or_path: call.program });
    storage = new Storage();
    return;
  }
  if (storage === undefined) throw new Error("the Worker that keeps a tab's data did not start");
  if (call.kind === "order") {
    const { head, body } = storage.obey(call.head, call.body);
    post({ kind: "answer", head, body }, [head.buffer, body.buffer]);
    return;
  }
  try {
    post({ kind: "done", call: call.call, value: answerTo(storage, call) });
  } catch (error) {
    // A refusal in words leaves all as it was; a trap does not.
    if (error instanceof WebAssembly.RuntimeError) throw error;
    post({ kind: "failed", call: call.call, why: wordsOf(error) });
  }
}

function answerTo(storage: Storage, call: Exclude<StorageCall, { kind: "begin" | "order" }>): unknown {
  switch (call.kind) {
    case "plan":
      return storage.plan([...call.files], call.options, (bytes: number, of: number) =>
        post({ kind: "progress", call: call.call, bytes, of }),
      );
    case "nameOf":
      return storage.nameOf(call.inputs, call.task, call.document);
    case "forget":
      return storage.forget(call.inputs, call.job);
    case "merge": {
      const parts: Uint8Array<ArrayBuffer>[] = [];
      const stats = storage.merge(call.job, (part: Uint8Array<ArrayBuffer>) => parts.push(part));
      return { stats, blob: new Blob(parts, { type: "text/tab-separated-values" }) };
    }
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
