// Runs changes one after another, in the order of the requests.

export class Turns {
  #last: Promise<void> = Promise.resolve();
  readonly #failed: (error: unknown) => void;

  /** `failed` is called with the error of a change; the next one runs all the same. */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  /** Resolves when this change is over, even if it failed. */
  take(change: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(change).catch(this.#failed);
    return this.#last;
  }
}
