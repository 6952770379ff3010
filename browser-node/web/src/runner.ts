// The Workers of a tab: units of work go to idle ones, and tasks that exceed their time limit are stopped.

import { workerFailure } from "./assets.js";
import type { Given } from "./given.js";
import type { Batch, Cause, Outcome } from "./messages.js";
import { keepModule, touchModule } from "./module-cache.js";

/** Maximum number of compiled modules; beyond that, the least recently used is dropped. */
const MODULES = 8;
/** Added to a task's time limit, which is measured here and not in the Worker: time for messages to arrive. */
const GRACE_MILLIS = 500;

/** A unit of work from the wasm module. */
export interface Unit {
  readonly run: number;
  readonly job: string;
  readonly module: string;
  readonly millis: number;
  readonly output: number;
  readonly buckets: number | undefined;
  readonly firstTask: number;
  readonly seeds: Uint8Array;
  readonly bytes: Uint8Array;
  readonly ends: Uint32Array;
  readonly inputsPerTask: number;
  free(): void;
}

/** Receives results. */
export interface Results {
  finished(
    run: number,
    task: number,
    millis: number,
    data: Uint8Array,
    offsets: Uint32Array | undefined,
    last: boolean,
  ): void;
  failed(
    run: number,
    task: number,
    millis: number,
    document: number | undefined,
    why: string,
    cause: Cause,
    last: boolean,
  ): void;
  /** The rest of a run is not done here. */
  returned(run: number): void;
}

/** A queued or running unit, and how many of its tasks are done. */
interface Queued {
  run: number;
  job: string;
  module: string;
  millis: number;
  batch: Omit<Batch, "module">;
  tasks: number;
  done: number;
}

class Seat {
  worker: Worker | undefined;
  unit: Queued | undefined;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Runs units on Workers. */
export class Runner {
  /** Set before the first unit arrives. */
  results: Results | undefined;
  readonly given: Given = { tasks: 0, failures: 0, millis: 0, gigabyteSeconds: 0 };
  #modules = new Map<string, Promise<WebAssembly.Module>>();
  #seats: Seat[];
  #queue: Queued[] = [];
  #script: URL;

  constructor(threads: number, script: URL) {
    this.#seats = Array.from({ length: threads }, () => new Seat());
    this.#script = script;
  }

  get threads(): number {
    return this.#seats.length;
  }

  /** Changes the number of Workers. Units on removed ones, and queued ones beyond one for each Worker, are returned. */
  resize(threads: number): void {
    const returned: Queued[] = [];
    // Idle ones are removed first.
    const busy = this.#seats.filter(({ unit }) => unit !== undefined);
    const idle = this.#seats.filter(({ unit }) => unit === undefined);
    const seats = [...busy, ...idle];
    for (const seat of seats.splice(threads)) {
      if (seat.unit !== undefined) returned.push(seat.unit);
      this.#vacate(seat);
    }
    while (seats.length < threads) seats.push(new Seat());
    const shrinks = threads < this.#seats.length;
    this.#seats = seats;
    if (shrinks) returned.push(...this.#queue.splice(threads));
    for (const { run } of returned) this.results?.returned(run);
    this.#fill();
  }

  has(module: string): boolean {
    const compiled = this.#modules.get(module);
    if (compiled === undefined) return false;
    // Re-inserted as the most recently used.
    this.#modules.delete(module);
    this.#modules.set(module, compiled);
    return true;
  }

  load(module: string, wasm: Uint8Array): void {
    void touchModule(module.slice(0, module.indexOf(":")));
    const compiled = WebAssembly.compile(wasm as BufferSource);
    // Running a unit of it reports the error; until then nobody handles it.
    compiled.catch(() => this.#modules.delete(module));
    this.#modules.set(module, compiled);
    for (const oldest of this.#modules.keys()) {
      if (this.#modules.size <= MODULES) break;
      this.#modules.delete(oldest);
    }
  }

  keep(hash: string, wasm: Uint8Array): void {
    void keepModule(hash, wasm);
  }

  run(unit: Unit): void {
    const { run, job, module, millis, output, buckets, firstTask, seeds, bytes, ends, inputsPerTask } = unit;
    unit.free();
    const batch = { kind: "batch" as const, output, buckets, firstTask, seeds, bytes, ends, inputsPerTask };
    this.#queue.push({ run, job, module, millis, batch, tasks: seeds.length / 32, done: 0 });
    this.#fill();
  }

  stop(job: string): void {
    this.#queue = this.#queue.filter((unit) => unit.job !== job);
    for (const seat of this.#seats) {
      if (seat.unit?.job === job) this.#vacate(seat);
    }
    this.#fill();
  }

  /** Ends all Workers. */
  close(): void {
    this.#queue = [];
    for (const seat of this.#seats) this.#vacate(seat);
    this.#seats = [];
  }

  #fill(): void {
    for (const seat of this.#seats) {
      if (seat.unit !== undefined) continue;
      const unit = this.#queue.shift();
      if (unit === undefined) return;
      void this.#begin(seat, unit);
    }
  }

  async #begin(seat: Seat, unit: Queued): Promise<void> {
    seat.unit = unit;
    let module: WebAssembly.Module;
    try {
      const compiled = this.#modules.get(unit.module);
      if (compiled === undefined) throw new Error("it was dropped from the cache");
      module = await compiled;
    } catch (error) {
      if (seat.unit !== unit) return;
      seat.unit = undefined;
      this.#failRest(unit, `the module cannot be loaded: ${String(error)}`);
      this.#fill();
      return;
    }
    // It may have been stopped meanwhile.
    if (seat.unit !== unit) return;
    seat.worker ??= this.#hire(seat);
    const { seeds, ends, inputsPerTask, firstTask, bytes } = unit.batch;
    // Of a unit that was started on another Worker, only the remaining tasks.
    const firstInput = Math.min(unit.done * inputsPerTask, ends.length);
    const start = firstInput === 0 ? 0 : (ends[firstInput - 1] ?? 0);
    const batch: Batch = {
      ...unit.batch,
      module,
      firstTask: firstTask + unit.done,
      seeds: seeds.slice(32 * unit.done),
      bytes: bytes.slice(start),
      ends: ends.slice(firstInput).map((end) => end - start),
    };
    seat.worker.postMessage(batch, [batch.bytes.buffer]);
    this.#watch(seat, unit);
  }

  #hire(seat: Seat): Worker {
    const worker = new Worker(this.#script, { type: "module", name: "webmesh task" });
    worker.onmessage = ({ data }: MessageEvent<Outcome>) => this.#onOutcome(seat, data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#lost(seat, `its Worker failed: ${workerFailure(event, this.#script)}`, "worker");
    };
    return worker;
  }

  #watch(seat: Seat, unit: Queued): void {
    clearTimeout(seat.timer);
    const seconds = unit.millis / 1000;
    const why = `ran longer than ${seconds} s`;
    seat.timer = setTimeout(() => this.#lost(seat, why, "time"), unit.millis + GRACE_MILLIS);
  }

  #onOutcome(seat: Seat, outcome: Outcome): void {
    const unit = seat.unit;
    if (unit === undefined) return;
    unit.done++;
    const last = unit.done === unit.tasks;
    this.given.millis += outcome.millis;
    this.given.gigabyteSeconds += (outcome.memory / 1e9) * (outcome.millis / 1000);
    if (outcome.kind === "done") {
      this.given.tasks++;
      this.results?.finished(unit.run, outcome.task, outcome.millis, outcome.data, outcome.offsets, last);
    } else {
      this.given.failures++;
      this.results?.failed(unit.run, outcome.task, outcome.millis, outcome.document, outcome.why, outcome.cause, last);
    }
    if (last) {
      clearTimeout(seat.timer);
      seat.unit = undefined;
      this.#fill();
    } else {
      this.#watch(seat, unit);
    }
  }

  /** The running task is lost with its Worker; the rest of its unit runs elsewhere. */
  #lost(seat: Seat, why: string, cause: Cause): void {
    const unit = seat.unit;
    this.#vacate(seat);
    if (unit !== undefined) {
      const task = unit.batch.firstTask + unit.done;
      unit.done++;
      const last = unit.done === unit.tasks;
      this.given.failures++;
      this.results?.failed(unit.run, task, unit.millis, undefined, why, cause, last);
      if (!last) this.#queue.unshift(unit);
    }
    this.#fill();
  }

  #failRest(unit: Queued, why: string): void {
    for (; unit.done < unit.tasks; unit.done++) {
      const last = unit.done + 1 === unit.tasks;
      this.results?.failed(unit.run, unit.batch.firstTask + unit.done, 0, undefined, why, "worker", last);
    }
  }

  #vacate(seat: Seat): void {
    clearTimeout(seat.timer);
    seat.worker?.terminate();
    seat.worker = undefined;
    seat.unit = undefined;
  }
}
