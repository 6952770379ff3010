// A Worker that runs tasks, each in a fresh instance, by the interface in docs/guest-abi.md.

import type { Batch, Cause, Outcome } from "./messages.js";
import { Exit, Wasi } from "./wasi.js";

/** Size limit of a guest's own error message. */
const ERROR_BYTES = 4096;

interface Exports {
  memory: WebAssembly.Memory;
  __stack_pointer?: WebAssembly.Global<"i32">;
  _initialize(): void;
  webmesh_alloc(length: number): number;
  webmesh_map(at: number, length: number): number;
  webmesh_map_finish(buckets: number): number;
  webmesh_reduce_feed(at: number, length: number): number;
  webmesh_reduce_finish(): number;
  webmesh_error(): number;
}

/** A failure, and the document that it happened on. */
/** How the SDK's message for a failed allocation begins (compiler-service/sdk/webmesh/errors.cpp). */
const OUT_OF_MEMORY = "out of memory";

class TaskError extends Error {
  document: number | undefined;
  limit: Cause = "job";

  static at(limit: Cause, why: string): TaskError {
    return Object.assign(new TaskError(why), { limit });
  }
}

class Guest {
  readonly wasi: Wasi;
  readonly exports: Exports;

  constructor(module: WebAssembly.Module, seed: Uint8Array) {
    this.wasi = new Wasi(seed);
    const instance = new WebAssembly.Instance(module, this.wasi.imports());
    this.exports = instance.exports as unknown as Exports;
    this.wasi.memory = this.exports.memory;
    this.exports._initialize();
  }

  bytes(at: number, length: number): Uint8Array {
    const buffer = this.exports.memory.buffer;
    if (at + length > buffer.byteLength) throw new TaskError(`${length} bytes at ${at} are outside the memory`);
    return new Uint8Array(buffer, at, length);
  }

  words(at: number, count: number): number[] {
    const view = this.bytes(at >>> 0, 4 * count);
    const words = new DataView(view.buffer, view.byteOffset, view.byteLength);
    return Array.from({ length: count }, (_, i) => words.getUint32(4 * i, true));
  }

  /** Passes bytes to the guest through one of its functions. */
  feed(call: (at: number, length: number) => number, bytes: Uint8Array): void {
    const at = this.exports.webmesh_alloc(bytes.length) >>> 0;
    // A null pointer means that the allocation failed.
    if (at === 0 && bytes.length > 0) throw TaskError.at("memory", `${OUT_OF_MEMORY}: the task needs more than its memory limit`);
    this.bytes(at, bytes.length).set(bytes);
    if (call(at, bytes.length) !== 0) throw this.thrown();
  }

  /**
   * Whether the job's variables overflowed the stack. It is at the bottom of the memory, so its pointer is then below
   * zero.
   */
  get stackRanOver(): boolean {
    return (this.exports.__stack_pointer?.value ?? 0) < 0;
  }

  /** The error behind a failed status. */
  thrown(): TaskError {
    const [at, length] = this.words(this.exports.webmesh_error(), 2) as [number, number];
    const text = new TextDecoder().decode(this.bytes(at, Math.min(length, ERROR_BYTES)));
    if (text.startsWith(OUT_OF_MEMORY)) return TaskError.at("memory", text);
    return new TaskError(text === "" ? "an exception without a text" : text);
  }
}

type Given = { data: Uint8Array; offsets: Uint32Array | undefined };

/** Copies some of the guest's bytes. */
function take(guest: Guest, at: number, length: number, limit: number): Uint8Array {
  if (length > limit) throw TaskError.at("output", `gave ${length} bytes of output, more than its limit of ${limit}`);
  return guest.bytes(at, length).slice();
}

function map(guest: Guest, documents: Iterable<Uint8Array>, buckets: number, limit: number): Given {
  let number = 0;
  try {
    for (const document of documents) {
      guest.feed(guest.exports.webmesh_map, document);
      number++;
    }
  } catch (error) {
    throw Object.assign(explained(error, guest.stackRanOver), { document: number });
  }
  const at = guest.exports.webmesh_map_finish(buckets);
  if (at === 0) throw guest.thrown();
  const [data, table] = guest.words(at, 2) as [number, number];
  const offsets = guest.words(table, buckets + 1);
  const first = offsets[0] ?? 0;
  let before = first;
  for (const offset of offsets) {
    if (offset < before) throw new TaskError(`bucket offsets descend from ${before} to ${offset}`);
    before = offset;
  }
  const rebased = Uint32Array.from(offsets, (offset) => offset - first);
  return { data: take(guest, data + first, before - first, limit), offsets: rebased };
}

function reduce(guest: Guest, chunks: Iterable<Uint8Array>, limit: number): Given {
  for (const chunk of chunks) guest.feed(guest.exports.webmesh_reduce_feed, chunk);
  const [data, length, , status] = guest.words(guest.exports.webmesh_reduce_finish(), 4) as [
    number,
    number,
    number,
    number,
  ];
  if (status !== 0) throw guest.thrown();
  return { data: take(guest, data, length, limit), offsets: undefined };
}

/** An error as a message for the job's author. */
function explained(error: unknown, stackRanOver: boolean): TaskError {
  if (error instanceof TaskError) return error;
  if (error instanceof Exit) return new TaskError(error.message);
  if (error instanceof WebAssembly.Exception) {
    return new TaskError("an exception outside map and reduce, where nothing catches it");
  }
  if (error instanceof WebAssembly.RuntimeError && stackRanOver) {
    return new TaskError(
      "trap: stack overflow: make large local arrays static or a std::vector, and recursion less deep",
    );
  }
  if (error instanceof RangeError) return new TaskError(`trap: ${error.message} (perhaps an endless recursion)`);
  return new TaskError(`trap: ${error instanceof Error ? error.message : String(error)}`);
}

function run(batch: Batch, index: number): Outcome {
  const task = batch.firstTask + index;
  const started = performance.now();
  let guest: Guest | undefined;
  try {
    guest = new Guest(batch.module, batch.seeds.subarray(32 * index, 32 * (index + 1)));
    const inputs = inputsOf(batch, index);
    const given =
      batch.buckets === undefined
        ? reduce(guest, inputs, batch.output)
        : map(guest, inputs, batch.buckets, batch.output);
    return { kind: "done", task, ...spent(started, guest), ...given };
  } catch (error) {
    const { message, document, limit: cause } = explained(error, guest?.stackRanOver ?? false);
    const log = guest?.wasi.log ?? "";
    const why = log === "" ? message : `${message}\nit had written:\n${log}`;
    return { kind: "failed", task, ...spent(started, guest), document, why, cause };
  }
}

function spent(started: number, guest: Guest | undefined): { millis: number; memory: number } {
  return { millis: performance.now() - started, memory: guest?.exports.memory.buffer.byteLength ?? 0 };
}

function* inputsOf({ bytes, ends, inputsPerTask }: Batch, index: number): Iterable<Uint8Array> {
  const first = index * inputsPerTask;
  for (let i = first; i < Math.min(first + inputsPerTask, ends.length); i++) {
    yield bytes.subarray(i === 0 ? 0 : ends[i - 1], ends[i]);
  }
}

self.onmessage = ({ data: batch }: MessageEvent<Batch>) => {
  for (let index = 0; 32 * index < batch.seeds.length; index++) {
    const outcome = run(batch, index);
    const transfer = outcome.kind === "done" ? [outcome.data.buffer] : [];
    (self as unknown as { postMessage(message: Outcome, transfer: Transferable[]): void }).postMessage(outcome, transfer);
  }
};
