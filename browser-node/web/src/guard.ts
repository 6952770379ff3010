// The border to the program: whoever calls it, or waits for it, learns that it crashed.
//
// A panic in Rust ends as a trap, and no call that was under way is ever finished: what the program holds is as it
// happened to be. Left to itself, it would go on with whatever timer or message comes next.

/** The program of this tab crashed; {@link Error.cause} is what for. The mesh goes on without this tab. */
export class CrashError extends Error {
  override name = "CrashError";
}

type Call = (...given: unknown[]) => unknown;

/** Stands before one instance of the program. */
export class Guard {
  /** The instance's exports, to be used in their place. */
  readonly exports: WebAssembly.Exports;
  /** Ready when the program has crashed, which most never do. */
  readonly crashed: Promise<CrashError>;
  #tell: (crash: CrashError) => void = () => {};
  #crash: CrashError | undefined;
  #waiting = new Set<(crash: CrashError) => void>();

  constructor(exports: WebAssembly.Exports) {
    const guarded = ([name, value]: [string, WebAssembly.ExportValue]) => {
      return [name, typeof value === "function" ? this.#guarded(value as Call) : value] as const;
    };
    this.exports = Object.fromEntries(Object.entries(exports).map(guarded));
    this.crashed = new Promise((resolve) => {
      this.#tell = resolve;
    });
  }

  /** What the program answers; rejects if it crashes before. */
  until<T>(answer: Promise<T>): Promise<T> {
    if (this.#crash !== undefined) return Promise.reject(this.#crash);
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      const answered = () => this.#waiting.delete(reject);
      answer.then(resolve, reject).finally(answered);
    });
  }

  /** Ends the program: nobody enters it any more. The first reason stays. */
  stop(crash: CrashError): CrashError {
    if (this.#crash !== undefined) return this.#crash;
    this.#crash = crash;
    this.#tell(crash);
    for (const reject of this.#waiting) reject(crash);
    this.#waiting.clear();
    return crash;
  }

  #guarded(call: Call): Call {
    return (...given) => {
      // Its timers and connections still call.
      if (this.#crash !== undefined) return undefined;
      try {
        return call(...given);
      } catch (cause) {
        // Errors that the program means to tell come as values: what is thrown out of it has torn it down.
        throw this.stop(new CrashError("the program of this tab stopped because of a fault in it", { cause }));
      }
    };
  }
}

const guards = new WeakMap<WebAssembly.Exports, Guard>();

/** The guard of a program, by the exports that its script has. */
export function guardOf(exports: object): Guard {
  const guard = guards.get(exports as WebAssembly.Exports);
  if (guard === undefined) throw new Error("the program was started without a guard");
  return guard;
}

/** Takes the place of `WebAssembly.instantiate` in wasm-bindgen's script: bundle.mjs sees to it. */
export async function instantiate(
  module: WebAssembly.Module,
  imports: WebAssembly.Imports,
): Promise<{ module: WebAssembly.Module; instance: WebAssembly.Instance }> {
  const { exports } = await WebAssembly.instantiate(module, imports);
  const guard = new Guard(exports);
  guards.set(guard.exports, guard);
  return { module, instance: { exports: guard.exports } };
}
