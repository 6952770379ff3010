// Messages between the page and its Workers.

/** Tasks to run one after another, each in a fresh instance. */
export interface Batch {
  kind: "batch";
  module: WebAssembly.Module;
  /** Number of buckets to write; undefined for a reduce. */
  buckets: number | undefined;
  /** Output limit of a task, in bytes. */
  output: number;
  firstTask: number;
  /** The seeds, 32 bytes for each task. */
  seeds: Uint8Array;
  /** The inputs of all tasks, concatenated. */
  bytes: Uint8Array;
  /** The end of each input in `bytes`. */
  ends: Uint32Array;
  inputsPerTask: number;
}

/** The cause of a failure: the job, this tab, or the limit that the task reached. */
export type Cause = "job" | "worker" | "time" | "memory" | "output";

/** The outcome of a task. */
export type Outcome = Done | Failed;

export interface Done {
  kind: "done";
  task: number;
  millis: number;
  /** The task's memory in bytes at its end, which is its maximum. */
  memory: number;
  data: Uint8Array;
  /** Offset of each bucket in `data`, and the end of the last; undefined for a reduce. */
  offsets: Uint32Array | undefined;
}

export interface Failed {
  kind: "failed";
  task: number;
  millis: number;
  memory: number;
  /** Index of the task's document that failed, if known. */
  document: number | undefined;
  why: string;
  cause: Cause;
}

/** Calls from the page to the storage Worker. */
export type StorageCall =
  | { kind: "begin"; program: WebAssembly.Module }
  | { kind: "order"; head: Uint8Array; body: Uint8Array }
  | { kind: "plan"; call: number; files: readonly File[]; options: string }
  /** A plan is not wanted any more; not answered. */
  | { kind: "unplan"; call: number }
  | { kind: "nameOf"; call: number; inputs: string; task: number; document: number | undefined }
  | { kind: "forget"; call: number; inputs: string; job: string }
  | { kind: "merge"; call: number; job: string };

/** Messages of the storage Worker: one answer to each order, and a final one to each other call. */
export type StorageAnswer =
  | { kind: "answer"; head: Uint8Array; body: Uint8Array }
  | { kind: "progress"; call: number; bytes: number; of: number }
  | { kind: "done"; call: number; value: unknown }
  | { kind: "failed"; call: number; why: string }
  /** It answers no more. */
  | { kind: "broken"; why: string };
