// Chosen files, kept over reloads: the browser copies them, so their size is limited.

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import type { Found } from "./walk.js";

/** Size limit of one choice, in bytes: copying a larger one would take long, and as much disk space. */
export const KEPT_SET_BYTES = 256_000_000;
export const KEPT_SET_FILES = 10_000;
/** Size limit of all choices together, of drafts and of jobs; the least recently used are dropped first. */
export const KEPT_SETS_BYTES = 512_000_000;
const KEPT_SETS = 50;

/** The description of a choice of files, which may outlive the files themselves. */
export interface Chosen {
  files: number;
  bytes: number;
  /** Key of the stored copy; undefined for a choice that is too large. */
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

/** Whether a choice is small enough to be stored. */
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

  /** Stores a choice under a new key, and drops old ones beyond the limit. */
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

  /** The files of a choice, which then counts as recently used; undefined if the browser no longer has them. */
  async get(key: string): Promise<Found[] | undefined> {
    const transaction = (await this.#opened).transaction(["sets", "files"], "readwrite");
    const set = await transaction.objectStore("sets").get(key);
    const found = await transaction.objectStore("files").get(key);
    if (set !== undefined) await transaction.objectStore("sets").put({ ...set, used: Date.now() });
    await transaction.done;
    return found;
  }
}
