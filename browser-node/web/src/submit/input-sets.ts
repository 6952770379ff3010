// The files that were chosen, kept over reloads: a browser copies them, so that there is a bound.

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import type { Found } from "./walk.js";

/** A larger choice is not kept: copying it would take long, and as much of the disk. */
export const KEPT_SET_BYTES = 256_000_000;
export const KEPT_SET_FILES = 10_000;
/** All choices together, of drafts and of jobs; those used longest ago go first. */
export const KEPT_SETS_BYTES = 512_000_000;
const KEPT_SETS = 50;

/** A choice of files, as it is told of where the files themselves may be gone. */
export interface Chosen {
  files: number;
  bytes: number;
  /** Names what is kept of it; nothing for a choice that is too large. */
  set?: string;
}

interface KeptSet {
  key: string;
  used: number;
  bytes: number;
}

interface Schema extends DBSchema {
  sets: { key: string; value: KeptSet; indexes: { used: number } };
  files: { key: string; value: Found[] };
}

export function chosen(found: readonly Found[]): Chosen {
  return { files: found.length, bytes: found.reduce((sum, { file }) => sum + file.size, 0) };
}

/** Whether a choice can be kept. */
export function fits({ files, bytes }: Chosen): boolean {
  return files > 0 && files <= KEPT_SET_FILES && bytes <= KEPT_SET_BYTES;
}

export class InputSets {
  #opened: Promise<IDBPDatabase<Schema>>;

  constructor(name = "webmesh-inputs") {
    this.#opened = openDB<Schema>(name, 1, {
      upgrade(db) {
        db.createObjectStore("sets", { keyPath: "key" }).createIndex("used", "used");
        db.createObjectStore("files");
      },
    });
    // Each method rejects with the same error.
    this.#opened.catch(() => {});
  }

  /** Keeps a choice under a new name, and forgets what is too much. */
  async put(found: readonly Found[]): Promise<string> {
    const key = crypto.getRandomValues(new Uint32Array(4)).join("-");
    const transaction = (await this.#opened).transaction(["sets", "files"], "readwrite");
    const [sets, files] = [transaction.objectStore("sets"), transaction.objectStore("files")];
    await Promise.all([
      files.put([...found], key),
      sets.put({ key, used: Date.now(), bytes: chosen(found).bytes }),
    ]);
    let [count, bytes] = [0, 0];
    for (let cursor = await sets.index("used").openCursor(null, "prev"); cursor; cursor = await cursor.continue()) {
      count += 1;
      bytes += cursor.value.bytes;
      if (count > KEPT_SETS || bytes > KEPT_SETS_BYTES) {
        await Promise.all([files.delete(cursor.value.key), cursor.delete()]);
      }
    }
    await transaction.done;
    return key;
  }

  /** The files of a choice, which then counts as used; nothing if the browser has them no more. */
  async get(key: string): Promise<Found[] | undefined> {
    const transaction = (await this.#opened).transaction(["sets", "files"], "readwrite");
    const set = await transaction.objectStore("sets").get(key);
    const found = await transaction.objectStore("files").get(key);
    if (set !== undefined) await transaction.objectStore("sets").put({ ...set, used: Date.now() });
    await transaction.done;
    return found;
  }
}
