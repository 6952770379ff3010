// Cache of fetched modules in this browser, kept over reloads, so that a running job can be joined at once.

const DATABASE = "webmesh modules";
const STORE = "modules";
/** Maximum number of modules; the most recently used are kept. */
const MODULES = 32;
/** Maximum size of a cached module, in bytes: few jobs have larger ones. */
const MODULE_BYTES = 1 << 20;

interface Kept {
  hash: string;
  wasm: Uint8Array;
  at: number;
}

/** Opens the database; `undefined` if the browser has none (a private window): then nothing is cached. */
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

/** The cached modules; the caller has to check them. */
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

/** Stores a module, evicting the least recently used. If that fails, the only cost is a transfer after the next
 * reload. */
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
    // Not stored: see above.
  } finally {
    open.close();
  }
}

/** Marks a cached module as used now. */
export async function touchModule(hash: string): Promise<void> {
  const open = await database();
  if (open === undefined) return;
  try {
    const store = open.transaction(STORE, "readwrite").objectStore(STORE);
    const kept = (await done(store.get(hash))) as Kept | undefined;
    if (kept !== undefined) await done(store.put({ ...kept, at: Date.now() } satisfies Kept));
  } catch {
    // It may be evicted earlier, which does no harm.
  } finally {
    open.close();
  }
}
