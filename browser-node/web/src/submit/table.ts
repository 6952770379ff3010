// A result as a virtual table: of some hundred thousand lines, only the visible ones are elements.

import { button, make } from "../dom.js";
import type { Order } from "./lines.js";
import { LINE_CHARACTERS, type Opened, type Rows, TABLE_BYTES } from "./rows.js";
import { bytes, count, whole } from "./words.js";

/** Height of a row in pixels, as in style.css. */
const ROW = 32;
/** Number of extra rows above and below the visible ones, so that they exist before they become visible. */
const SPARE = 8;
/** Maximum height in pixels that browsers lay out; beyond it, each pixel of the scroll bar stands for more than one. */
const HIGHEST = 8_000_000;

let tables = 0;

export class Table {
  readonly element: HTMLElement;
  readonly #rows: Rows;
  readonly #grid: HTMLElement;
  readonly #body = make("div", { role: "rowgroup", class: "rows" });
  readonly #count = make("p", { role: "status", class: "hint" });
  readonly #line = make("dl", { class: "line" });
  readonly #search = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  readonly #heads: { by: "key" | "value"; head: HTMLElement }[] = [];
  readonly #id = `table-${tables++}`;
  readonly #all: number;
  #order: Order = "key";
  #shown: number;
  #active = 0;
  /** Scroll offset of the rows, in pixels of a body as high as all of them. */
  #top = 0;
  /** Scroll position set by this table; any other one was set by the user. */
  #put = 0;
  #drawing = false;
  #stale = false;

  constructor(rows: Rows, { count: all, numeric, cut }: Opened) {
    this.#rows = rows;
    this.#all = this.#shown = all;
    const heads = make("div", { role: "row", class: "head", "aria-rowindex": 1 });
    this.#grid = make("div", { role: "grid", class: "grid", tabindex: 0, "aria-label": "Result", "aria-colcount": 2 });
    for (const by of ["key", "value"] as const) {
      const title = by === "key" ? "Key" : "Value";
      const sortable = by === "key" || numeric;
      const sort = button(title, { class: "sort" }, () => this.#sort(by));
      const head = make("div", { role: "columnheader", class: by }, sortable ? sort : title);
      if (sortable) this.#heads.push({ by, head });
      heads.append(head);
    }
    this.#grid.append(heads, this.#body);
    this.#grid.classList.toggle("numeric", numeric);
    this.#grid.addEventListener("scroll", () => this.#scrolled());
    this.#grid.addEventListener("keydown", (event) => this.#key(event));
    this.#body.addEventListener("click", (event) => {
      const row = (event.target as Element).closest<HTMLElement>("[aria-rowindex]");
      if (row !== null) this.#activate(Number(row.getAttribute("aria-rowindex")) - 2);
    });
    this.#search.addEventListener("input", () => void this.#query());
    const part = `The table shows the first ${bytes(TABLE_BYTES)}; the file has all.`;
    this.element = make(
      "div",
      { class: "table" },
      make("label", { class: "search" }, "Search keys ", this.#search),
      this.#count,
      ...(cut ? [make("p", { class: "note" }, part)] : []),
      this.#grid,
      this.#line,
    );
    new ResizeObserver(() => this.#draw()).observe(this.#grid);
    this.#found();
  }

  #sort(by: "key" | "value"): void {
    // The first click on a column shows the largest values, or the first keys.
    if (by === "key") this.#order = this.#order === "key" ? "key-down" : "key";
    else this.#order = this.#order === "value-down" ? "value" : "value-down";
    void this.#query();
  }

  async #query(): Promise<void> {
    const [text, order] = [this.#search.value, this.#order];
    this.#grid.setAttribute("aria-busy", "true");
    const shown = await this.#rows.query(text, order);
    // Another query was made meanwhile, and its answer follows.
    if (text !== this.#search.value || order !== this.#order) return;
    this.#shown = shown;
    this.#active = 0;
    this.#found();
  }

  /** Shows a new set of lines, from the first. */
  #found(): void {
    for (const { by, head } of this.#heads) {
      const sorted = this.#order.startsWith(by);
      const way = this.#order.endsWith("-down") ? "descending" : "ascending";
      head.setAttribute("aria-sort", sorted ? way : "none");
    }
    const all = count(this.#all, "line");
    this.#count.textContent = this.#shown === this.#all ? all : `${whole(this.#shown)} of ${all}`;
    this.#grid.removeAttribute("aria-busy");
    this.#grid.setAttribute("aria-rowcount", String(this.#shown + 1));
    this.#body.style.height = `${Math.min(this.#height, HIGHEST)}px`;
    this.#scrollTo(0);
    void this.#describe();
  }

  get #height(): number {
    return this.#shown * ROW;
  }

  get #viewHeight(): number {
    return Math.max(ROW, this.#grid.clientHeight - ROW);
  }

  /** Pixels of all rows for each pixel of the scroll bar. */
  get #scale(): number {
    return this.#height <= HIGHEST ? 1 : (this.#height - this.#viewHeight) / (HIGHEST - this.#viewHeight);
  }

  #scrollTo(top: number): void {
    this.#top = Math.max(0, Math.min(top, this.#height - this.#viewHeight));
    this.#grid.scrollTop = this.#top / this.#scale;
    this.#put = this.#grid.scrollTop;
    this.#draw();
  }

  #scrolled(): void {
    if (this.#grid.scrollTop === this.#put) return;
    this.#put = this.#grid.scrollTop;
    this.#top = this.#put * this.#scale;
    this.#draw();
  }

  #key(event: KeyboardEvent): void {
    if (event.target !== this.#grid || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.#viewHeight / ROW) - 1);
    const steps: Record<string, number> = {
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: -page,
      PageDown: page,
      Home: -this.#shown,
      End: this.#shown,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.#activate(this.#active + step);
  }

  #activate(index: number): void {
    this.#active = Math.max(0, Math.min(index, this.#shown - 1));
    const top = this.#active * ROW;
    const least = top + ROW - this.#viewHeight;
    this.#scrollTo(Math.min(top, Math.max(least, this.#top)));
    void this.#describe();
  }

  /** Shows the complete active line, which may be too long for its row. */
  async #describe(): Promise<void> {
    const index = this.#active;
    const [line] = await this.#rows.rows(index, index + 1, LINE_CHARACTERS);
    if (index !== this.#active) return;
    const parts = line === undefined ? [] : [make("dt", {}, line.key), make("dd", {}, line.value)];
    this.#line.replaceChildren(...parts);
    this.#line.hidden = line === undefined;
  }

  /** Renders the visible rows, one time after another. */
  #draw(): void {
    this.#stale = true;
    if (this.#drawing) return;
    this.#drawing = true;
    void (async () => {
      try {
        while (this.#stale) {
          this.#stale = false;
          await this.#drawOnce();
        }
      } finally {
        this.#drawing = false;
      }
    })();
  }

  async #drawOnce(): Promise<void> {
    const from = Math.max(0, Math.floor(this.#top / ROW) - SPARE);
    const to = Math.min(this.#shown, Math.ceil((this.#top + this.#viewHeight) / ROW) + SPARE);
    const lines = await this.#rows.rows(from, to);
    // Rows are placed where they are visible, whatever the scale of the scroll bar.
    const shift = this.#put - this.#top;
    const rows = lines.map(({ key, value }, i) => {
      const index = from + i;
      const row = make(
        "div",
        {
          role: "row",
          id: `${this.#id}-${index}`,
          class: index === this.#active ? "active" : undefined,
          "aria-rowindex": index + 2,
          "aria-selected": String(index === this.#active),
        },
        make("div", { role: "gridcell", class: "key" }, key),
        make("div", { role: "gridcell", class: "value" }, value),
      );
      row.style.transform = `translateY(${index * ROW + shift}px)`;
      return row;
    });
    this.#body.replaceChildren(...rows);
    const active = this.#active >= from && this.#active < to;
    if (active) this.#grid.setAttribute("aria-activedescendant", `${this.#id}-${this.#active}`);
    else this.#grid.removeAttribute("aria-activedescendant");
  }
}
