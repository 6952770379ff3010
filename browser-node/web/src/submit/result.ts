// A job's result: its file, a chart of the largest values, and a table of all lines.

import { make } from "../dom.js";
import { chart } from "./chart.js";
import type { Kept } from "./kept.js";
import { Rows, TABLE_BYTES } from "./rows.js";
import { Table } from "./table.js";
import { bytes, count } from "./words.js";

/** A job's name without its extension, as a file name. */
export function fileName(name: string): string {
  const stem = name.replace(/\.[a-z+]{1,3}$/i, "").replaceAll(/[\\/:*?"<>|\p{Cc}]/gu, "_");
  return `${stem === "" ? "result" : stem}.tsv`;
}

export class ResultView {
  readonly element: HTMLElement;
  readonly #url: string;
  readonly #rows = new Rows();

  constructor(kept: Kept, blob: Blob) {
    this.#url = URL.createObjectURL(blob);
    const name = fileName(kept.name);
    const load = make("a", { class: "button", href: this.#url, download: name }, `Download ${name}`);
    load.append(make("span", {}, ` (${bytes(blob.size)})`));
    const body = make("div", { class: "result" }, make("p", { role: "status" }, "Reading the result …"));
    this.element = make("div", {}, make("div", { class: "actions" }, load), body);
    void this.#fill(body, blob);
  }

  /** Frees the memory. */
  close(): void {
    this.#rows.close();
    URL.revokeObjectURL(this.#url);
  }

  async #fill(into: HTMLElement, blob: Blob): Promise<void> {
    if (blob.size === 0) {
      into.replaceChildren(make("p", {}, "The result has no lines: no pair was emitted."));
      return;
    }
    try {
      const opened = await this.#rows.open(blob);
      const parts: HTMLElement[] = [new Table(this.#rows, opened).element];
      const bars = chart(opened.top);
      if (bars !== undefined) {
        const of = opened.cut ? ` of the first ${bytes(TABLE_BYTES)}` : "";
        const caption = `${count(bars.querySelectorAll("rect").length, "largest value")}${of}`;
        parts.push(make("figure", {}, make("figcaption", {}, caption), bars));
      }
      into.replaceChildren(...parts);
    } catch (error) {
      const why = `The table cannot be shown: ${String(error)}. The file can still be downloaded.`;
      into.replaceChildren(make("p", { class: "trouble", role: "alert" }, why));
    }
  }
}
