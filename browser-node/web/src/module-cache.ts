// Modules that this browser has fetched: kept over reloads, so that a job that runs on is joined at once.

const DATABASE = "webmesh modules";
const STORE = "modules";
/** The modules used last are kept, this many: a person's browser is no archive. */
const MODULES = 32;
/** Larger ones are fetched anew: few jobs have them. */
const MODULE_BYTES = 1 << 20;

interface Kept {
  hash: string;
  wasm: Uint8Array;
  at: number;
}

/** Opens the database; `undefined` where the browser has none (a private window): nothing is kept then. */
async function database(): Promise<IDBDatabase | undefined> {
  try {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "hash" }).createIndex("at", "at");
    return await done(opening);
  } catch {
    return undefined;
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser keeps nothing"));
  });
}

/** What was kept, to be checked by whoever uses it. */
export async function keptModules(): Promise<Uint8Array[]> {
  const open = await database();
  if (open === undefined) return [];
  try {
    const all = (await done(open.transaction(STORE).objectStore(STORE).getAll())) as Kept[];
    return all.map(({ wasm }) => wasm);
  } catch {
    return [];
  } finally {
    open.close();
  }
}

/** Keeps a module; the longest unused make room. That it cannot be kept costs a transfer after the next reload, no more. */
export async function keepModule(hash: string, wasm: Uint8Array): Promise<void> {
  if (wasm.length > MODULE_BYTES) return;
  const open = await database();
  if (open === undefined) return;
  try {
    const store = open.transaction(STORE, "readwrite").objectStore(STORE);
    await done(store.put({ hash, wasm, at: Date.now() } satisfies Kept));
    const oldest = await done(store.index("at").getAllKeys());
    for (const key of oldest.slice(0, Math.max(0, oldest.length - MODULES))) store.delete(key);
  } catch {
    // As said above.
  } finally {
    open.close();
  }
}

/** A kept module is used: others are older now. */
export async function touchModule(hash: string): Promise<void> {
  const open = await database();
  if (open === undefined) return;
  try {
    const store = open.transaction(STORE, "readwrite").objectStore(STORE);
    const kept = (await done(store.get(hash))) as Kept | undefined;
    if (kept !== undefined) await done(store.put({ ...kept, at: Date.now() } satisfies Kept));
  } catch {
    // It goes earlier than it might, no more.
  } finally {
    open.close();
  }
}
