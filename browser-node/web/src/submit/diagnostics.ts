// Maps the compiler's diagnostics to positions in the editor's text.

import type { Diagnostic } from "../job.js";

/** A diagnostic at its position in a text, in UTF-16 units. */
export interface Mark extends Diagnostic {
  from: number;
  to: number;
}

/** The ranges of diagnostics: from their column to the end of the word there. Lines and columns count from 1. */
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
    // A position after the line's last character is shown at that character.
    return { ...diagnostic, from: word === 0 && column > 0 ? from - 1 : from, to: from + word };
  });
}

/** clang counts columns in bytes of UTF-8, an editor in UTF-16 units. */
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
