// A client for the Worker that holds a result's lines.

import type { Line, Order } from "./lines.js";

/** Size limit of a result in a table, in bytes; the file has all lines. An index takes as much memory again. */
export const TABLE_BYTES = 64 << 20;
/** Maximum number of characters of a key and of a value in a row. */
export const ROW_CHARACTERS = 300;
/** Maximum number of them when a single line is shown. */
export const LINE_CHARACTERS = 20_000;
/** Number of bars in the chart. */
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
  /** Whether the result is larger than the table. */
  cut: boolean;
  /** The lines with the largest values, if these are numbers. */
  top: Line[];
}

export type Answer = Opened | { kind: "found"; count: number } | { kind: "rows"; rows: Line[] };

type Kind<K> = Extract<Answer, { kind: K }>;

export class Rows {
  readonly #worker = new Worker(new URL("./rows-worker.js", import.meta.url), { type: "module" });
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  #next = 0;
  /** Why the Worker no longer answers. */
  #failure: Error | undefined;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<{ id: number; answer?: Answer; why?: string }>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.answer !== undefined) waiting?.resolve(data.answer);
      else waiting?.reject(new Error(data.why));
    };
    this.#worker.onerror = (event) => {
      this.#failure = new Error(event.message || "its Worker did not start");
      for (const { reject } of this.#waiting.values()) reject(this.#failure);
      this.#waiting.clear();
    };
  }

  open(blob: Blob): Promise<Kind<"opened">> {
    return this.#ask({ kind: "open", blob });
  }

  /** Selects and sorts the lines that rows show; returns their number. */
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
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answer: Answer) => void, reject });
      this.#worker.postMessage({ id, request });
    });
  }
}
