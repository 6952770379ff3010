// Names that only one tab of a browser holds at a time: its identity, and the jobs that it runs.
//
// They are Web Locks, which are released when a tab crashes. Browsers have none over plain HTTP from another machine.
// There, tabs ask each other by messages; a tab that does not answer in time is gone, or frozen and runs nothing.

/** Timeout for other tabs' answers: they take milliseconds, unless the main thread is busy. */
const ANSWER_MILLIS = 500;
const CHANNEL = "webmesh holds";
/** Prefix of the names: locks of other pages of the origin are not ours. */
const PREFIX = "webmesh-";

type Message =
  /** Asks which of these names are held; `by` is the tab that asks, and `wants` says that it wants to take them. */
  | { kind: "ask"; names: string[]; by: string; wants: boolean }
  | { kind: "held"; name: string }
  /** A name was taken or released. */
  | { kind: "changed"; name: string };

export class Holds {
  readonly #id = crypto.getRandomValues(new Uint32Array(2)).join("-");
  readonly #channel = new BroadcastChannel(CHANNEL);
  readonly #locks = navigator.locks as LockManager | undefined;
  /** Names held by this tab, each with the function that releases it. */
  readonly #own = new Map<string, () => void>();
  /** Names that this tab is asking for in order to take them. */
  readonly #wanted = new Set<string>();
  /** Locks of other tabs whose release is awaited. */
  readonly #watched = new Set<string>();
  readonly #answers = new Set<(name: string) => void>();
  readonly #listeners = new Set<(name: string) => void>();

  constructor() {
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#onMessage(data);
    // A closing tab tells the others; if it cannot, as after a crash, they find out by themselves.
    addEventListener("pagehide", () => {
      for (const name of this.#own.keys()) this.#post({ kind: "changed", name });
    });
  }

  /** Takes a name until `release`, or for as long as this tab exists; false if another tab has it. */
  async take(name: string): Promise<boolean> {
    if (this.#own.has(name)) return true;
    if (this.#locks === undefined && !(await this.#isFree(name))) return false;
    return this.takeNew(name);
  }

  /** The same for a name that no other tab knows yet: there is nobody to ask. */
  async takeNew(name: string): Promise<boolean> {
    const release = this.#locks === undefined ? () => {} : await lock(this.#locks, name);
    if (release === undefined) return false;
    this.#own.set(name, release);
    this.#post({ kind: "changed", name });
    return true;
  }

  /** Releases a name. */
  release(name: string): void {
    this.#own.get(name)?.();
    if (this.#own.delete(name)) this.#post({ kind: "changed", name });
  }

  /** Which of these names other tabs hold. */
  async elsewhere(names: readonly string[]): Promise<Set<string>> {
    const asked = names.filter((name) => !this.#own.has(name));
    if (asked.length === 0) return new Set();
    if (this.#locks === undefined) return this.#ask(asked, false);
    const { held = [] } = await this.#locks.query();
    const all = new Set(held.map(({ name }) => name));
    const found = asked.filter((name) => all.has(PREFIX + name));
    for (const name of found) this.#watch(this.#locks, name);
    return new Set(found);
  }

  /** Calls back when another tab may have taken or released a name. */
  listen(changed: (name: string) => void): void {
    this.#listeners.add(changed);
  }

  /** Notices every release of a lock, by queueing for it. */
  #watch(locks: LockManager, name: string): void {
    if (this.#watched.has(name)) return;
    this.#watched.add(name);
    void locks.request(PREFIX + name, { mode: "shared" }, () => {
      this.#watched.delete(name);
      this.#notify(name);
    });
  }

  async #isFree(name: string): Promise<boolean> {
    this.#wanted.add(name);
    const held = await this.#ask([name], true);
    this.#wanted.delete(name);
    return !held.has(name);
  }

  async #ask(names: string[], wants: boolean): Promise<Set<string>> {
    const held = new Set<string>();
    let enough: () => void = () => {};
    const answered = (name: string) => {
      if (names.includes(name)) held.add(name);
      if (held.size === names.length) enough();
    };
    await new Promise<void>((resolve) => {
      enough = resolve;
      setTimeout(resolve, ANSWER_MILLIS);
      this.#answers.add(answered);
      this.#post({ kind: "ask", names, by: this.#id, wants });
    }).finally(() => this.#answers.delete(answered));
    return held;
  }

  #onMessage(message: Message): void {
    switch (message.kind) {
      case "ask":
        for (const name of message.names) {
          // If two tabs ask for the same name at once, one gets it.
          const isOurs = this.#own.has(name) || (message.wants && this.#wanted.has(name) && this.#id < message.by);
          if (isOurs) this.#post({ kind: "held", name });
        }
        break;
      case "held":
        for (const answered of this.#answers) answered(message.name);
        // An answer may come after the timeout: listeners then correct what they show.
        this.#notify(message.name);
        break;
      case "changed":
        this.#notify(message.name);
        break;
    }
  }

  #notify(name: string): void {
    for (const changed of this.#listeners) changed(name);
  }

  #post(message: Message): void {
    this.#channel.postMessage(message);
  }
}

/** Takes a lock if it is free; returns the function that releases it. */
function lock(locks: LockManager, name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve) => {
    void locks.request(PREFIX + name, { ifAvailable: true }, (got) => {
      if (got === null) return resolve(undefined);
      return new Promise<void>((release) => resolve(release));
    });
  });
}

/** The names held by this tab. */
export const holds = new Holds();
