// What the page and its Workers say to each other.

/** Tasks to run one after another, each in a fresh instance. */
export interface Batch {
  kind: "batch";
  module: WebAssembly.Module;
  /** Buckets to write; a reduce has none. */
  buckets: number | undefined;
  /** Bytes that a task may give. */
  output: number;
  firstTask: number;
  /** 32 bytes for each task. */
  seeds: Uint8Array;
  /** The inputs of all tasks, one behind the other. */
  bytes: Uint8Array;
  /** Where each input ends in `bytes`. */
  ends: Uint32Array;
  inputsPerTask: number;
}

/** What a failure is put down to: the job, this tab, or the limit that the task reached. */
export type Cause = "job" | "worker" | "time" | "memory" | "output";

/** What became of a task. */
export type Outcome = Done | Failed;

export interface Done {
  kind: "done";
  task: number;
  millis: number;
  /** Bytes of memory that the task ended with, the most that it had. */
  memory: number;
  data: Uint8Array;
  /** Where each bucket begins in `data`, and the end of the last; none for a reduce. */
  offsets: Uint32Array | undefined;
}

export interface Failed {
  kind: "failed";
  task: number;
  millis: number;
  memory: number;
  /** Which of the task's documents did it, where one did. */
  document: number | undefined;
  why: string;
  cause: Cause;
}

/** What the page asks of the storage Worker. */
export type StorageCall =
  | { kind: "begin"; program: WebAssembly.Module }
  | { kind: "order"; head: Uint8Array; body: Uint8Array }
  | { kind: "plan"; call: number; files: readonly File[]; options: string }
  /** Nobody waits for a plan any more; not answered. */
  | { kind: "unplan"; call: number }
  | { kind: "nameOf"; call: number; inputs: string; task: number; document: number | undefined }
  | { kind: "forget"; call: number; inputs: string; job: string }
  | { kind: "merge"; call: number; job: string };

/** What the storage Worker says: one answer to each order, and to each other call one that ends it. */
export type StorageAnswer =
  | { kind: "answer"; head: Uint8Array; body: Uint8Array }
  | { kind: "progress"; call: number; bytes: number; of: number }
  | { kind: "done"; call: number; value: unknown }
  | { kind: "failed"; call: number; why: string }
  /** It answers nothing any more. */
  | { kind: "broken"; why: string };
