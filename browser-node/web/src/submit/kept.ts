// Stored jobs of this browser, kept over reloads: their descriptions, and their results up to a size limit.

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import type { Chosen } from "./input-sets.js";
import type { Settings } from "./settings.js";

/** Maximum number of stored jobs; older ones are dropped. */
export const KEPT_JOBS = 50;
/** Size limit of a stored result; a larger one can only be downloaded. */
export const KEPT_RESULT_BYTES = 64 << 20;
/** Size limit of all results together; the oldest are dropped first. */
export const KEPT_BYTES = 256 << 20;

export type State = "running" | "done" | "failed" | "cancelled";

/** A stored job. */
export interface Kept {
  /** This browser's key for it; it exists before the mesh's id. */
  key: string;
  /** The mesh's id, once there is one. */
  id: string;
  name: string;
  source: string;
  settings: Settings;
  /** The files that it had. */
  inputs: Chosen;
  state: State;
  /** Start time, in milliseconds since 1970. */
  started: number;
  /** Its duration. */
  seconds?: number;
  /** The reason of its failure. */
  why?: string;
  result?: { lines: number; keys: number; bytes: number };
  /** Whether the bytes of its result are stored too. */
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
    // Callers get the error.
    this.#opened.catch(() => {});
  }

  /** All jobs, newest first. */
  async list(): Promise<Kept[]> {
    const jobs = await (await this.#opened).getAllFromIndex("jobs", "started");
    return jobs.reverse();
  }

  async result(key: string): Promise<Blob | undefined> {
    return (await this.#opened).get("results", key);
  }

  /** Stores a job, and its result if it is not too large; drops what is too old or too large. */
  async put(kept: Kept, blob?: Blob): Promise<void> {
    try {
      await this.#put(kept, blob);
    } catch (why) {
      // If the browser has no space for a result, the job must still stay in the list.
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
