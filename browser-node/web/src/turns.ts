// Changes that happen one after another, in the order in which they were asked for.

export class Turns {
  #last: Promise<void> = Promise.resolve();
  readonly #failed: (error: unknown) => void;

  /** `failed` is told of a change that fails; the next has its turn all the same. */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  /** Ready when this change is over, however it ended. */
  take(change: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(change).catch(this.#failed);
    return this.#last;
  }
}
