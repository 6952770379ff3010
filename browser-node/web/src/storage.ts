// The connection to the Worker that stores a tab's data. It is started when there is something to store.

import { workerFailure } from "./assets.js";
import type { StorageAnswer, StorageCall } from "./messages.js";

/** A call that the Worker has not answered yet. */
interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  progress?: ((bytes: number, of: number) => void) | undefined;
}

/** A job's inputs, as `Tab.submit` expects them. */
export interface Plan {
  inputs: string;
  tasks: number;
  documents: number;
  bytes: number;
  files: number;
  /** Notes on unusual files, as sentences. */
  notes: string[];
}

type Asked = Exclude<StorageCall, { kind: "begin" | "order" | "unplan" }>;
type Call = Asked extends infer C ? (C extends Asked ? Omit<C, "call"> : never) : never;

export class Storage {
  /** Receives answers to orders of the engine; set before the first order. */
  answered: ((head: Uint8Array, body: Uint8Array) => void) | undefined;
  /** Called with the reason when no more answers will come. */
  failed: ((why: string) => void) | undefined;
  #failure: Error | undefined;
  #program: WebAssembly.Module;
  #script: URL;
  #worker: Worker | undefined;
  #waiting = new Map<number, Waiting>();
  #calls = 0;

  constructor(program: WebAssembly.Module, script: URL) {
    this.#program = program;
    this.#script = script;
  }

  /** Whether the Worker was started and has not failed; read by the engine. */
  get isStarted(): boolean {
    return this.#worker !== undefined;
  }

  /** Called by the engine. */
  order(head: Uint8Array, body: Uint8Array): void {
    if (this.#failure !== undefined) return;
    this.#started().postMessage({ kind: "order", head, body } satisfies StorageCall, [head.buffer, body.buffer]);
  }

  /** Reads files; stops when `unwanted` settles. */
  async plan(
    files: readonly File[],
    options: object,
    progress: (bytes: number, of: number) => void,
    unwanted: Promise<unknown>,
  ): Promise<Plan> {
    const call = this.#calls;
    void unwanted.then(() => {
      if (this.#waiting.has(call)) this.#worker?.postMessage({ kind: "unplan", call } satisfies StorageCall);
    });
    const plan = await this.#ask({ kind: "plan", files, options: JSON.stringify(options) }, progress);
    return JSON.parse(plan as string) as Plan;
  }

  async nameOf(inputs: string, task: number, document: number | undefined): Promise<string | undefined> {
    return (await this.#ask({ kind: "nameOf", inputs, task, document })) as string | undefined;
  }

  /** Releases the data of a job that has ended; `job` is empty if it was not announced. */
  async forget(inputs: string, job: string): Promise<void> {
    await this.#ask({ kind: "forget", inputs, job });
  }

  async merge(job: string): Promise<{ lines: number; keys: number; bytes: number; blob: Blob }> {
    const { stats, blob } = (await this.#ask({ kind: "merge", job })) as { stats: string; blob: Blob };
    return { ...(JSON.parse(stats) as { lines: number; keys: number; bytes: number }), blob };
  }

  /** Ends the Worker, and drops its data. */
  close(): void {
    this.#end(new Error("the tab has left the mesh"));
  }

  #ask(call: Call, progress?: Waiting["progress"]): Promise<unknown> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const number = this.#calls++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject, progress });
      this.#started().postMessage({ ...call, call: number });
    });
  }

  #started(): Worker {
    if (this.#worker === undefined) {
      const worker = new Worker(this.#script, { type: "module", name: "webmesh storage" });
      worker.onmessage = ({ data }: MessageEvent<StorageAnswer>) => this.#onAnswer(data);
      worker.onerror = (event) => {
        event.preventDefault();
        this.#end(new Error(`the Worker that keeps a tab's data failed: ${workerFailure(event, this.#script)}`));
      };
      worker.postMessage({ kind: "begin", program: this.#program } satisfies StorageCall);
      this.#worker = worker;
    }
    return this.#worker;
  }

  #onAnswer(answer: StorageAnswer): void {
    if (answer.kind === "answer") {
      this.answered?.(answer.head, answer.body);
      return;
    }
    if (answer.kind === "broken") {
      this.#end(new Error(`the data stored by this tab is lost: ${answer.why}`));
      return;
    }
    const waiting = this.#waiting.get(answer.call);
    if (answer.kind === "progress") {
      waiting?.progress?.(answer.bytes, answer.of);
      return;
    }
    this.#waiting.delete(answer.call);
    if (answer.kind === "done") waiting?.resolve(answer.value);
    else waiting?.reject(new Error(answer.why));
  }

  #end(why: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = why;
    this.#worker?.terminate();
    this.#worker = undefined;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(why);
    this.failed?.(why.message);
  }
}
