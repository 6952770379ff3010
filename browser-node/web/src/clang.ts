// What clang wrote, read.

import type { Diagnostic } from "./job.js";

/** A source with more errors than that has one that causes the others. */
const MOST = 100;
/** `job.cpp:3:7: error: …`. */
const LINE = /^(?:[^\n:]+):(\d+):(\d+): (fatal error|error|warning|note): (.+)$/gm;

/** The diagnostics in clang's text, a hundred of them at most. */
export function diagnosticsOf(text: string): Diagnostic[] {
  return [...text.matchAll(LINE)].slice(0, MOST).map(([, line, column, kind, said]) => ({
    line: Number(line),
    column: Number(column),
    severity: kind === "warning" || kind === "note" ? kind : "error",
    text: said ?? "",
  }));
}
