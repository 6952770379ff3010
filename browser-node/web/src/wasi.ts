// WASI preview 1 with an empty environment (docs/guest-abi.md): no files, no arguments, no variables, a clock that
// stands still, and random numbers that depend on the task alone.

import { blake3 } from "@noble/hashes/blake3.js";

const SUCCESS = 0;
const BADF = 8;
const FAULT = 21;
const INVAL = 28;
const SPIPE = 70;

/** As natively: a guest that passes more vectors at once gets an error. */
const MAX_VECTORS = 1024;
/** Bytes kept of a guest's output, which are shown if it fails. */
const LOG_BYTES = 4096;
/** A task's random bytes are generated in pieces of this size. */
const RANDOM_PIECE = 64;
const CHARACTER_DEVICE = 2;
const RIGHT_READ = 1n << 1n;
const RIGHT_WRITE = 1n << 6n;

/** Thrown by `proc_exit`. */
export class Exit extends Error {
  constructor(readonly status: number) {
    super(`it exited with status ${status}`);
  }
}

/** The imports of one instance. */
export class Wasi {
  memory: WebAssembly.Memory | undefined;
  #log = new Uint8Array(0);
  #random: { read(to: Uint8Array): void };

  constructor(seed: Uint8Array) {
    this.#random = randomStream(seed);
  }

  /** The end of the guest's standard output and error. */
  get log(): string {
    return new TextDecoder().decode(this.#log);
  }

  /** The functions of the one module. */
  imports(): WebAssembly.Imports {
    const isOpen = (fd: number) => fd >>> 0 <= 2;
    return {
      wasi_snapshot_preview1: {
        args_get: () => SUCCESS,
        args_sizes_get: (count: number, bytes: number) => this.#write32([count, 0], [bytes, 0]),
        environ_get: () => SUCCESS,
        environ_sizes_get: (count: number, bytes: number) => this.#write32([count, 0], [bytes, 0]),
        clock_time_get: (_clock: number, _precision: bigint, time: number) => this.#write32([time, 0], [time + 4, 0]),
        fd_close: (fd: number) => (isOpen(fd) ? SUCCESS : BADF),
        fd_fdstat_get: (fd: number, stat: number) => (isOpen(fd) ? this.#stat(fd, stat) : BADF),
        fd_prestat_get: () => BADF,
        fd_prestat_dir_name: () => BADF,
        fd_read: (fd: number, _vectors: number, count: number, read: number) => {
          if (fd !== 0) return BADF;
          return count >>> 0 > MAX_VECTORS ? INVAL : this.#write32([read, 0]);
        },
        fd_seek: (fd: number) => (isOpen(fd) ? SPIPE : BADF),
        fd_write: (fd: number, vectors: number, count: number, written: number) =>
          fd === 1 || fd === 2 ? this.#print(vectors >>> 0, count >>> 0, written) : BADF,
        proc_exit: (status: number) => {
          throw new Exit(status >>> 0);
        },
        random_get: (at: number, length: number) => {
          const to = this.#bytes(at >>> 0, length >>> 0);
          if (to === undefined) return FAULT;
          this.#random.read(to);
          return SUCCESS;
        },
        sched_yield: () => SUCCESS,
      },
    };
  }

  #bytes(at: number, length: number): Uint8Array | undefined {
    const buffer = this.memory?.buffer;
    return buffer !== undefined && at + length <= buffer.byteLength ? new Uint8Array(buffer, at, length) : undefined;
  }

  #view(at: number, length: number): DataView | undefined {
    const bytes = this.#bytes(at, length);
    return bytes && new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  #write32(...words: [number, number][]): number {
    for (const [at, value] of words) {
      const view = this.#view(at >>> 0, 4);
      if (view === undefined) return FAULT;
      view.setUint32(0, value, true);
    }
    return SUCCESS;
  }

  #stat(fd: number, at: number): number {
    // { u8 type, u16 flags at 2, u64 rights at 8, u64 rights to inherit at 16 }
    const view = this.#view(at >>> 0, 24);
    if (view === undefined) return FAULT;
    for (const word of [0, 8, 16]) view.setBigUint64(word, 0n, true);
    view.setUint8(0, CHARACTER_DEVICE);
    view.setBigUint64(8, fd === 0 ? RIGHT_READ : RIGHT_WRITE, true);
    return SUCCESS;
  }

  #print(vectors: number, count: number, written: number): number {
    if (count > MAX_VECTORS) return INVAL;
    let total = 0;
    for (let i = 0; i < count; i++) {
      const vector = this.#view(vectors + i * 8, 8);
      if (vector === undefined) return FAULT;
      const bytes = this.#bytes(vector.getUint32(0, true), vector.getUint32(4, true));
      if (bytes === undefined) return FAULT;
      total += bytes.length;
      if (total >= 2 ** 32) return INVAL;
      this.#keep(bytes);
    }
    return this.#write32([written, total]);
  }

  #keep(bytes: Uint8Array): void {
    const tail = bytes.subarray(Math.max(0, bytes.length - LOG_BYTES));
    const before = this.#log.subarray(Math.max(0, this.#log.length + tail.length - LOG_BYTES));
    const log = new Uint8Array(before.length + tail.length);
    log.set(before);
    log.set(tail, before.length);
    this.#log = log;
  }
}

/** blake3 in extendable-output mode over the task's seed, as natively. */
function randomStream(seed: Uint8Array): { read(to: Uint8Array): void } {
  // Most jobs never ask, so the stream is created at the first call.
  let hash: ReturnType<typeof blake3.create> | undefined;
  let piece = new Uint8Array(0);
  return {
    read(to) {
      hash ??= blake3.create({}).update(seed);
      for (let at = 0; at < to.length; ) {
        if (piece.length === 0) piece = hash.xof(RANDOM_PIECE);
        const part = piece.subarray(0, to.length - at);
        to.set(part, at);
        at += part.length;
        piece = piece.subarray(part.length);
      }
    },
  };
}
