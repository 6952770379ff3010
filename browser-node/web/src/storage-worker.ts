// The Worker that stores a tab's data: segments, results of its own jobs, and the files that they read.

import type * as Script from "../wasm/webmesh_browser_node.js";
import { CrashError } from "./guard.js";
import type { StorageAnswer, StorageCall } from "./messages.js";
import { newScript } from "./script.js";

/** Maximum time of reading files for this tab's own jobs before other requests get a turn. */
const YIELD_MILLIS = 20;

type Asked = Exclude<StorageCall, { kind: "begin" | "order" | "unplan" }>;

const post = self.postMessage.bind(self) as (answer: StorageAnswer, transfer?: Transferable[]) => void;

/** The Worker's own instance of the program, and its data. */
interface Held {
  script: typeof Script;
  storage: Script.Storage;
}

let held: Held | undefined;
/** Calls whose files are being read and still wanted. */
const planned = new Set<number>();
// One after another: the engine relies on the order.
let turn: Promise<void> = Promise.resolve();
addEventListener("message", ({ data }: MessageEvent<StorageCall>) => {
  turn = turn.then(() => handle(data)).catch((error: unknown) => {
    // An exception here (above all, out of memory) leaves the program in an unusable state.
    post({ kind: "broken", why: wordsOf(error) });
  });
});

async function handle(call: StorageCall): Promise<void> {
  if (call.kind === "begin") {
    const script = newScript();
    await script.default({ module_or_path: call.program });
    held = { script, storage: new script.Storage() };
    return;
  }
  if (held === undefined) throw new Error("the Worker that keeps a tab's data did not start");
  if (call.kind === "order") {
    const { head, body } = held.storage.perform(call.head, call.body);
    post({ kind: "answer", head, body }, [head.buffer, body.buffer]);
    return;
  }
  const holder = held;
  if (call.kind === "unplan") planned.delete(call.call);
  else if (call.kind === "plan") void answer(call, () => plan(holder, call));
  else await answer(call, () => answerTo(holder.storage, call));
}

async function answer({ call }: Asked, work: () => unknown): Promise<void> {
  try {
    post({ kind: "done", call, value: await work() });
  } catch (error) {
    // A returned error leaves the state intact; a trap does not.
    if (error instanceof CrashError) post({ kind: "broken", why: wordsOf(error) });
    else post({ kind: "failed", call, why: wordsOf(error) });
  }
}

/** Reads a job's files, and lets other requests in between. */
async function plan(
  { script, storage }: Held,
  { call, files, options }: Extract<Asked, { kind: "plan" }>,
): Promise<string> {
  const planning = new script.Planning([...files], options);
  const report = () => post({ kind: "progress", call, bytes: planning.bytes, of: planning.of });
  planned.add(call);
  try {
    for (let yieldAt = performance.now() + YIELD_MILLIS; !planning.step(); ) {
      if (performance.now() < yieldAt) continue;
      report();
      await yieldToMessages();
      if (!planned.has(call)) throw new Error("the job was cancelled");
      yieldAt = performance.now() + YIELD_MILLIS;
    }
  } finally {
    planned.delete(call);
  }
  report();
  return storage.hold(planning);
}

/** Resolves after pending messages are handled. A timer would add some milliseconds each time. */
function yieldToMessages(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

function answerTo(storage: Script.Storage, call: Exclude<Asked, { kind: "plan" }>): unknown {
  switch (call.kind) {
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
  // Not the tab's program has crashed, but this instance of it: only the cause is reported.
  if (error instanceof CrashError) return wordsOf(error.cause);
  return error instanceof Error ? error.message : String(error);
}
