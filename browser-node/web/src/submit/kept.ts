// The jobs of this browser, kept over reloads: what they were, and their results up to a bound.

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import type { Chosen } from "./input-sets.js";
import type { Settings } from "./settings.js";

/** Older jobs are forgotten. */
export const KEPT_JOBS = 50;
/** A larger result is for its file only. */
export const KEPT_RESULT_BYTES = 64 << 20;
/** Results of all jobs together; the oldest go first. */
export const KEPT_BYTES = 256 << 20;

export type State = "running" | "done" | "failed" | "cancelled";

/** A job as it is kept. */
export interface Kept {
  /** This browser's name for it; the mesh's comes later. */
  key: string;
  /** The mesh's, once it has one. */
  id: string;
  name: string;
  source: string;
  settings: Settings;
  /** Which files it had. */
  inputs: Chosen;
  state: State;
  /** When it was started, in milliseconds of the epoch. */
  started: number;
  /** How long it took. */
  seconds?: number;
  /** Why it failed. */
  why?: string;
  result?: { lines: number; keys: number; bytes: number };
  /** Whether the result's bytes are kept too. */
  whole: boolean;
}

interface Schema extends DBSchema {
  jobs: { key: string; value: Kept; indexes: { started: number } };
  results: { key: string; value: Blob };
}

/** The list of jobs, in IndexedDB. */
export class JobStore {
  #opened: Promise<IDBPDatabase<Schema>>;

  constructor(name = "webmesh-jobs") {
    this.#opened = openDB<Schema>(name, 1, {
      upgrade(db) {
        db.createObjectStore("jobs", { keyPath: "key" }).createIndex("started", "started");
        db.createObjectStore("results");
      },
    });
    // Who asks hears of it.
    this.#opened.catch(() => {});
  }

  /** All jobs, the newest first. */
  async list(): Promise<Kept[]> {
    const jobs = await (await this.#opened).getAllFromIndex("jobs", "started");
    return jobs.reverse();
  }

  async result(key: string): Promise<Blob | undefined> {
    return (await this.#opened).get("results", key);
  }

  /** Keeps a job, and its result if it is not too large; puts away what is too old or too much. */
  async put(kept: Kept, blob?: Blob): Promise<void> {
    try {
      await this.#put(kept, blob);
    } catch (why) {
      // A result for which the browser has no room must not cost the job its place in the list.
      if (blob === undefined) throw why;
      await this.#put(kept);
    }
  }

  async #put(kept: Kept, blob?: Blob): Promise<void> {
    const transaction = (await this.#opened).transaction(["jobs", "results"], "readwrite");
    const [jobs, results] = [transaction.objectStore("jobs"), transaction.objectStore("results")];
    const fits = blob !== undefined && blob.size <= KEPT_RESULT_BYTES;
    if (fits) await results.put(blob, kept.key);
    await jobs.put({ ...kept, whole: kept.whole || fits });
    let [count, bytes] = [0, 0];
    for (let cursor = await jobs.index("started").openCursor(null, "prev"); cursor; cursor = await cursor.continue()) {
      const { key, whole, result } = cursor.value;
      count += 1;
      if (whole) bytes += result?.bytes ?? 0;
      if (count > KEPT_JOBS) await Promise.all([results.delete(key), cursor.delete()]);
      else if (whole && bytes > KEPT_BYTES) {
        await Promise.all([results.delete(key), cursor.update({ ...cursor.value, whole: false })]);
      }
    }
    await transaction.done;
  }

  async remove(key: string): Promise<void> {
    const transaction = (await this.#opened).transaction(["jobs", "results"], "readwrite");
    await Promise.all([
      transaction.objectStore("jobs").delete(key),
      transaction.objectStore("results").delete(key),
      transaction.done,
    ]);
  }
}
