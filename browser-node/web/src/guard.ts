// The boundary to the program: callers, and those waiting for it, learn that it crashed.
//
// A panic in Rust ends as a trap, and pending calls never complete: the program's state may be inconsistent. Without a
// guard, the next timer or message would enter it again.

/** The program of this tab crashed; {@link Error.cause} is the reason. The mesh goes on without this tab. */
export class CrashError extends Error {
  override name = "CrashError";
}

type Call = (...given: unknown[]) => unknown;

/** Guards one instance of the program. */
export class Guard {
  /** The instance's exports, wrapped by the guard. */
  readonly exports: WebAssembly.Exports;
  /** Resolves if the program crashes; usually never. */
  readonly crashed: Promise<CrashError>;
  #report: (crash: CrashError) => void = () => {};
  #crash: CrashError | undefined;
  #waiting = new Set<(crash: CrashError) => void>();

  constructor(exports: WebAssembly.Exports) {
    const guarded = ([name, value]: [string, WebAssembly.ExportValue]) => {
      return [name, typeof value === "function" ? this.#guarded(value as Call) : value] as const;
    };
    this.exports = Object.fromEntries(Object.entries(exports).map(guarded));
    this.crashed = new Promise((resolve) => {
      this.#report = resolve;
    });
  }

  /** The program's answer; rejects if it crashes first. */
  until<T>(answer: Promise<T>): Promise<T> {
    if (this.#crash !== undefined) return Promise.reject(this.#crash);
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      const answered = () => this.#waiting.delete(reject);
      answer.then(resolve, reject).finally(answered);
    });
  }

  /** Ends the program: it is not entered any more. The first reason is kept. */
  stop(crash: CrashError): CrashError {
    if (this.#crash !== undefined) return this.#crash;
    this.#crash = crash;
    this.#report(crash);
    for (const reject of this.#waiting) reject(crash);
    this.#waiting.clear();
    return crash;
  }

  #guarded(call: Call): Call {
    return (...given) => {
      // Its timers and connections still call it.
      if (this.#crash !== undefined) return undefined;
      try {
        return call(...given);
      } catch (cause) {
        // The program returns its errors as values. An exception means that it trapped and cannot be used any more.
        throw this.stop(new CrashError("the program of this tab stopped because of a fault in it", { cause }));
      }
    };
  }
}

const guards = new WeakMap<WebAssembly.Exports, Guard>();

/** The guard of a program, found by its script's exports. */
export function guardOf(exports: object): Guard {
  const guard = guards.get(exports as WebAssembly.Exports);
  if (guard === undefined) throw new Error("the program was started without a guard");
  return guard;
}

/** Replaces `WebAssembly.instantiate` in wasm-bindgen's script: see bundle.mjs. */
export async function instantiate(
  module: WebAssembly.Module,
  imports: WebAssembly.Imports,
): Promise<{ module: WebAssembly.Module; instance: WebAssembly.Instance }> {
  const { exports } = await WebAssembly.instantiate(module, imports);
  const guard = new Guard(exports);
  guards.set(guard.exports, guard);
  return { module, instance: { exports: guard.exports } };
}
