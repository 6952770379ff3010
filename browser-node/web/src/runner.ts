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
  /** A unit runs as soon as a Worker is free: its module is compiled. */
  began(run: number): void;
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

class Slot {
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
  #slots: Slot[];
  #queue: Queued[] = [];
  #script: URL;

  constructor(threads: number, script: URL) {
    this.#slots = Array.from({ length: threads }, () => new Slot());
    this.#script = script;
  }

  get threads(): number {
    return this.#slots.length;
  }

  /** Changes the number of Workers. Units on removed ones, and queued ones beyond one for each Worker, are returned. */
  resize(threads: number): void {
    const returned: Queued[] = [];
    // Idle ones are removed first.
    const busy = this.#slots.filter(({ unit }) => unit !== undefined);
    const idle = this.#slots.filter(({ unit }) => unit === undefined);
    const slots = [...busy, ...idle];
    for (const slot of slots.splice(threads)) {
      if (slot.unit !== undefined) returned.push(slot.unit);
      this.#clear(slot);
    }
    while (slots.length < threads) slots.push(new Slot());
    const shrinks = threads < this.#slots.length;
    this.#slots = slots;
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
    const begins = () => this.results?.began(run);
    // Running it reports the error.
    this.#modules.get(module)?.then(begins, () => {});
    this.#fill();
  }

  /** Ends one run without results. */
  cancel(run: number): void {
    this.#drop((unit) => unit.run === run);
  }

  /** Ends all runs of a job without results. */
  stop(job: string): void {
    this.#drop((unit) => unit.job === job);
  }

  #drop(ends: (unit: Queued) => boolean): void {
    this.#queue = this.#queue.filter((unit) => !ends(unit));
    for (const slot of this.#slots) {
      if (slot.unit !== undefined && ends(slot.unit)) this.#clear(slot);
    }
    this.#fill();
  }

  /** Ends all Workers. */
  close(): void {
    this.#queue = [];
    for (const slot of this.#slots) this.#clear(slot);
    this.#slots = [];
  }

  #fill(): void {
    for (const slot of this.#slots) {
      if (slot.unit !== undefined) continue;
      const unit = this.#queue.shift();
      if (unit === undefined) return;
      void this.#begin(slot, unit);
    }
  }

  async #begin(slot: Slot, unit: Queued): Promise<void> {
    slot.unit = unit;
    let module: WebAssembly.Module;
    try {
      const compiled = this.#modules.get(unit.module);
      if (compiled === undefined) throw new Error("it was dropped from the cache");
      module = await compiled;
    } catch (error) {
      if (slot.unit !== unit) return;
      slot.unit = undefined;
      this.#failRest(unit, `the module cannot be loaded: ${String(error)}`);
      this.#fill();
      return;
    }
    // It may have been stopped meanwhile.
    if (slot.unit !== unit) return;
    slot.worker ??= this.#startWorker(slot);
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
    slot.worker.postMessage(batch, [batch.bytes.buffer]);
    this.#watch(slot, unit);
  }

  #startWorker(slot: Slot): Worker {
    const worker = new Worker(this.#script, { type: "module", name: "webmesh task" });
    worker.onmessage = ({ data }: MessageEvent<Outcome>) => this.#onOutcome(slot, data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#lost(slot, `its Worker failed: ${workerFailure(event, this.#script)}`, "worker");
    };
    return worker;
  }

  #watch(slot: Slot, unit: Queued): void {
    clearTimeout(slot.timer);
    const seconds = unit.millis / 1000;
    const why = `ran longer than ${seconds} s`;
    slot.timer = setTimeout(() => this.#lost(slot, why, "time"), unit.millis + GRACE_MILLIS);
  }

  #onOutcome(slot: Slot, outcome: Outcome): void {
    const unit = slot.unit;
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
      clearTimeout(slot.timer);
      slot.unit = undefined;
      this.#fill();
    } else {
      this.#watch(slot, unit);
    }
  }

  /** The running task is lost with its Worker; the rest of its unit runs elsewhere. */
  #lost(slot: Slot, why: string, cause: Cause): void {
    const unit = slot.unit;
    this.#clear(slot);
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

  #clear(slot: Slot): void {
    clearTimeout(slot.timer);
    slot.worker?.terminate();
    slot.worker = undefined;
    slot.unit = undefined;
  }
}
