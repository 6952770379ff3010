// A result's lines, asked of the Worker that holds them.

import type { Line, Order } from "./lines.js";

/** A table shows so much of a result; its file has all. An index of it takes as much memory again. */
export const TABLE_BYTES = 64 << 20;
/** What a row shows of a key and a value each. */
export const ROW_CHARACTERS = 300;
/** What is shown of them where a line is looked at alone. */
export const LINE_CHARACTERS = 20_000;
/** Bars of the chart. */
export const TOP = 20;

export type Request =
  | { kind: "open"; blob: Blob }
  | { kind: "query"; text: string; order: Order }
  | { kind: "rows"; from: number; to: number; characters: number };

export interface Opened {
  kind: "opened";
  count: number;
  /** Whether all values are numbers. */
  numeric: boolean;
  /** Whether there is more than a table shows. */
  cut: boolean;
  /** The lines of the largest values, where they are numbers. */
  top: Line[];
}

export type Answer = Opened | { kind: "found"; count: number } | { kind: "rows"; rows: Line[] };

type Kind<K> = Extract<Answer, { kind: K }>;

export class Rows {
  readonly #worker = new Worker(new URL("./rows-worker.js", import.meta.url), { type: "module" });
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  #next = 0;
  /** Why the Worker answers no more. */
  #dead: Error | undefined;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<{ id: number; answer?: Answer; why?: string }>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.answer !== undefined) waiting?.resolve(data.answer);
      else waiting?.reject(new Error(data.why));
    };
    this.#worker.onerror = (event) => {
      this.#dead = new Error(event.message || "its Worker did not start");
      for (const { reject } of this.#waiting.values()) reject(this.#dead);
      this.#waiting.clear();
    };
  }

  open(blob: Blob): Promise<Kind<"opened">> {
    return this.#ask({ kind: "open", blob });
  }

  /** Chooses and orders the lines that rows are of; gives their number. */
  async query(text: string, order: Order): Promise<number> {
    return (await this.#ask<Kind<"found">>({ kind: "query", text, order })).count;
  }

  async rows(from: number, to: number, characters = ROW_CHARACTERS): Promise<Line[]> {
    return (await this.#ask<Kind<"rows">>({ kind: "rows", from, to, characters })).rows;
  }

  close(): void {
    this.#worker.terminate();
    this.#waiting.clear();
  }

  #ask<A extends Answer>(request: Request): Promise<A> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answer: Answer) => void, reject });
      this.#worker.postMessage({ id, request });
    });
  }
}
