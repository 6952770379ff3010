// What the compiler said, brought to the places in the editor's text that it means.

import type { Diagnostic } from "../job.js";

/** A diagnostic at its place in a text, in UTF-16 units. */
export interface Mark extends Diagnostic {
  from: number;
  to: number;
}

/** Finds the places of diagnostics: from their column to the end of the word there. Lines count from 1, as columns do. */
export function marks(source: string, diagnostics: readonly Diagnostic[]): Mark[] {
  const lines = source.split("\n");
  const starts = [0];
  for (const line of lines) starts.push((starts.at(-1) ?? 0) + line.length + 1);
  return diagnostics.map((diagnostic) => {
    const index = Math.min(Math.max(diagnostic.line, 1), lines.length) - 1;
    const text = lines[index] ?? "";
    const column = Math.min(units(text, diagnostic.column - 1), text.length);
    const word = /^(\w+|\S)/.exec(text.slice(column))?.[0].length ?? 0;
    const from = (starts[index] ?? 0) + column;
    // A place behind the line's last letter is shown at that letter.
    return { ...diagnostic, from: word === 0 && column > 0 ? from - 1 : from, to: from + word };
  });
}

/** Clang counts columns in bytes of UTF-8, an editor in UTF-16 units. */
function units(line: string, bytes: number): number {
  let seen = 0;
  let count = 0;
  for (const letter of line) {
    if (seen >= bytes) return count;
    const code = letter.codePointAt(0) ?? 0;
    seen += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    count += letter.length;
  }
  return count;
}
