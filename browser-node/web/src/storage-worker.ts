// The Worker that holds what a tab keeps: segments, results of its own jobs, and the files that they read.

import init, { Storage } from "../wasm/webmesh_browser_node.js";
import type { StorageAnswer, StorageCall } from "./messages.js";

const post = self.postMessage.bind(self) as (answer: StorageAnswer, transfer?: Transferable[]) => void;
const ready = new Promise<Storage>((resolve) => {
  addEventListener("message", async function begin({ data }: MessageEvent<StorageCall>) {
    if (data.kind !== "begin") return;
    removeEventListener("message", begin);
    await init({ module_or_path: data.program });
    resolve(new Storage());
  });
});

// One after another: the engine counts on their order.
let turn: Promise<void> = Promise.resolve();
addEventListener("message", ({ data }: MessageEvent<StorageCall>) => {
  if (data.kind !== "begin") turn = turn.then(async () => carryOut(await ready, data));
});

function carryOut(storage: Storage, call: Exclude<StorageCall, { kind: "begin" }>): void {
  if (call.kind === "order") {
    const { head, body } = storage.obey(call.head, call.body);
    post({ kind: "answer", head, body }, [head.buffer, body.buffer]);
    return;
  }
  try {
    post({ kind: "done", call: call.call, value: answerTo(storage, call) });
  } catch (error) {
    post({ kind: "failed", call: call.call, why: error instanceof Error ? error.message : String(error) });
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
    case "dropInputs":
      return storage.dropInputs(call.inputs);
    case "merge": {
      const parts: Uint8Array<ArrayBuffer>[] = [];
      const stats = storage.merge(call.job, (part: Uint8Array<ArrayBuffer>) => parts.push(part));
      return { stats, blob: new Blob(parts, { type: "text/tab-separated-values" }) };
    }
  }
}
