// Indexes a result's bytes as lines of `key TAB value`, searches and sorts them.

const NEWLINE = 10;
const TAB = 9;

/** Number values that JSON lacks, as results write them. */
const SPECIAL: Record<string, number> = {
  '"NaN"': Number.NaN,
  '"Infinity"': Number.POSITIVE_INFINITY,
  '"-Infinity"': Number.NEGATIVE_INFINITY,
};
const NUMBER = /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/;
/** Maximum length of a number in a result. */
const NUMBER_BYTES = 32;

export type Order = "key" | "key-down" | "value" | "value-down";

export interface Line {
  key: string;
  value: string;
}

/** The lines in some bytes. A last line without a line end counts too. */
export class Lines {
  readonly count: number;
  readonly #bytes: Uint8Array;
  /** Offset of each line, and of the end. */
  readonly #starts: Uint32Array;
  readonly #text = new TextDecoder();
  #numbers: Float64Array | null | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    let count = 0;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count += 1;
    const open = bytes.length > 0 && bytes.at(-1) !== NEWLINE;
    this.count = count + Number(open);
    this.#starts = new Uint32Array(this.count + 1);
    let line = 0;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) {
      line += 1;
      this.#starts[line] = at + 1;
    }
    // Counted as if it had a line end.
    if (open) this.#starts[this.count] = bytes.length + 1;
  }

  /** A line as text; bytes that are not UTF-8 are replaced. */
  line(index: number): Line {
    const [start, tab, end] = this.#places(index);
    return { key: this.#decode(start, tab), value: this.#decode(tab + 1, end) };
  }

  /** The values as numbers; undefined if one of them is not a number. */
  numbers(): Float64Array | undefined {
    if (this.#numbers === undefined) this.#numbers = this.#readNumbers() ?? null;
    return this.#numbers ?? undefined;
  }

  /** The lines whose key contains a text, ignoring the case of ASCII letters; all lines for an empty text. */
  search(text: string): Uint32Array {
    const needle = new TextEncoder().encode(text).map(small);
    const found = new Uint32Array(this.count);
    let count = 0;
    for (let index = 0; index < this.count; index++) {
      const [start, tab] = this.#places(index);
      if (holds(this.#bytes, start, tab, needle)) found[count++] = index;
    }
    return found.slice(0, count);
  }

  /** Sorts lines, given in ascending order, in place. If values are not numbers, only the order of keys is
   * available. */
  sort(lines: Uint32Array, order: Order): void {
    const numbers = order.startsWith("value") ? this.numbers() : undefined;
    if (numbers === undefined) {
      if (order === "key-down") lines.reverse();
      return;
    }
    const way = order === "value" ? 1 : -1;
    // NaN comes last in both directions.
    const ranks = numbers.map((number) => (Number.isNaN(number) ? Number.POSITIVE_INFINITY : way * number));
    lines.sort((a, b) => {
      const [x, y] = [ranks[a] as number, ranks[b] as number];
      return x < y ? -1 : x > y ? 1 : a - b;
    });
  }

  /** The lines with the largest values, the largest first; empty if values are not numbers. */
  largest(most: number): number[] {
    const numbers = this.numbers() ?? new Float64Array();
    const of = (line: number | undefined) => (line === undefined ? Number.NaN : (numbers[line] as number));
    const best: number[] = [];
    for (let line = 0; line < numbers.length; line++) {
      const number = of(line);
      if (Number.isNaN(number) || (best.length === most && number <= of(best.at(-1)))) continue;
      // Of equal values, the first key stays first.
      let at = best.length;
      while (at > 0 && of(best[at - 1]) < number) at -= 1;
      best.splice(at, 0, line);
      if (best.length > most) best.pop();
    }
    return best;
  }

  /** The offsets of a line's beginning, of its value's tab, and of its end. JSON contains no tab, so the last one is
   * it. */
  #places(index: number): [start: number, tab: number, end: number] {
    const start = this.#starts[index] ?? 0;
    const end = (this.#starts[index + 1] ?? 1) - 1;
    let tab = end - 1;
    while (tab >= start && this.#bytes[tab] !== TAB) tab -= 1;
    return [start, tab < start ? end : tab, end];
  }

  #decode(start: number, end: number): string {
    return this.#text.decode(this.#bytes.subarray(start, Math.max(start, end)));
  }

  #readNumbers(): Float64Array | undefined {
    if (this.count === 0) return undefined;
    const numbers = new Float64Array(this.count);
    for (let index = 0; index < this.count; index++) {
      const [, tab, end] = this.#places(index);
      if (end - tab - 1 > NUMBER_BYTES) return undefined;
      const number = this.#number(tab + 1, end);
      if (number === undefined) return undefined;
      numbers[index] = number;
    }
    return numbers;
  }

  #number(start: number, end: number): number | undefined {
    // A fast path for counts, the most common values.
    let number = 0;
    let at = start;
    for (; at < end && at < start + 15; at++) {
      const digit = (this.#bytes[at] ?? 0) - 48;
      if (digit < 0 || digit > 9) break;
      number = number * 10 + digit;
    }
    if (at === end && at > start) return number;
    const text = this.#decode(start, end);
    return NUMBER.test(text) ? Number(text) : SPECIAL[text];
  }
}

function small(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte + 32 : byte;
}

/** Whether the bytes between two offsets contain a lower-case text, ignoring case. */
function holds(bytes: Uint8Array, start: number, end: number, needle: Uint8Array): boolean {
  const last = end - needle.length;
  for (let at = start; at <= last; at++) {
    let same = 0;
    while (same < needle.length && small(bytes[at + same] ?? 0) === needle[same]) same += 1;
    if (same === needle.length) return true;
  }
  return false;
}
