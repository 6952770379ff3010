// Parses clang's output, and shows what concerns the author at the author's own lines.

import type { Diagnostic } from "./job.js";

/** Maximum number of diagnostics: with more errors, one causes the others. */
const MAX_DIAGNOSTICS = 100;
/** `job.cpp:3:7: error: …`. */
const HEAD = /^([^\n:]+):(\d+):(\d+): (fatal error|error|warning|note): (.+)$/;
/** `In file included from job.cpp:3:`, also in the indented lines after the first of these. */
const INCLUDED = /^(?:In file included from| +from) ([^\n:]+):(\d+)/;
/** Prefix of the SDK's own checks, after clang's text for a failed assertion. */
const OURS = /^(?:static assertion failed(?: due to requirement '.*')?: )?(WebMesh: .*)$/;
/** The SDK's headers, by their names in the compiler's sandbox. */
const SDK = /(^|\/)webmesh(\.hpp$|\/)/;

/** A message of clang with the lines that belong to it: the source line, the caret, the notes. */
interface Message {
  file: string;
  at: Diagnostic;
  /** Positions in the author's file that led to it. */
  through: { line: number; column: number }[];
  notes: { file: string; at: Diagnostic }[];
  lines: string[];
}

/** The author's file has a name without a folder; the compiler removes every folder from it. */
function isAuthors(file: string): boolean {
  return !file.includes("/");
}

function messagesOf(text: string): { messages: Message[]; rest: string[] } {
  const messages: Message[] = [];
  const rest: string[] = [];
  let included: Message["through"] = [];
  let before: string[] = [];
  let last: Message | undefined;
  for (const line of text.split("\n")) {
    const [, from, fromLine] = INCLUDED.exec(line) ?? [];
    if (from !== undefined) {
      before.push(line);
      if (isAuthors(from)) included.push({ line: Number(fromLine), column: 1 });
      continue;
    }
    const [, file, row, column, kind, said] = HEAD.exec(line) ?? [];
    if (file === undefined || said === undefined) {
      (last?.lines ?? rest).push(line);
      continue;
    }
    const severity = kind === "warning" || kind === "note" ? kind : "error";
    const at: Diagnostic = { line: Number(row), column: Number(column), severity, text: said };
    if (severity === "note" && last !== undefined) {
      last.notes.push({ file, at });
      last.lines.push(...before, line);
      if (isAuthors(file)) last.through.push(at);
    } else {
      last = { file, at, through: included, notes: [], lines: [...before, line] };
      messages.push(last);
    }
    included = [];
    before = [];
  }
  return { messages, rest: [...rest, ...before] };
}

/** The position at which a message is shown: its own, the one in the author's file that led to it, or the beginning. */
function placed({ file, at, through }: Message): Diagnostic {
  if (isAuthors(file)) return at;
  const { line, column } = through[0] ?? { line: 1, column: 1 };
  return { ...at, line, column };
}

/**
 * The diagnostics in clang's text, at most a hundred. All are at lines of the author's file: a message for a header is
 * shown at the line that led there, and only if there are no errors in the author's file itself. Errors in headers
 * follow from a failed check of the SDK, which therefore comes first and replaces them.
 */
export function diagnosticsOf(text: string): Diagnostic[] {
  const { messages } = messagesOf(text);
  const checks = messages.filter(({ at }) => at.severity === "error" && OURS.test(at.text));
  const check = checks.find(({ file }) => isAuthors(file)) ?? checks[0];
  const own = messages.filter((message) => message !== check && isAuthors(message.file));
  const isFailed = check !== undefined || own.some(({ at }) => at.severity === "error");
  const foreign = isFailed ? [] : messages.filter(({ file, at }) => !isAuthors(file) && at.severity === "error");
  const found: Diagnostic[] = [];
  for (const message of [...(check === undefined ? [] : [check]), ...own, ...foreign]) {
    const at = placed(message);
    found.push({ ...at, text: OURS.exec(at.text)?.[1] ?? at.text });
    if (isAuthors(message.file)) found.push(...message.notes.filter(({ file }) => isAuthors(file)).map(({ at }) => at));
  }
  return found.slice(0, MAX_DIAGNOSTICS);
}

/** The message of the SDK's first failed check, if there is one. */
export function sentenceOf(diagnostics: readonly Diagnostic[]): Diagnostic | undefined {
  return diagnostics.find(({ severity, text }) => severity === "error" && text.startsWith("WebMesh: "));
}

/** clang's text without its messages about the SDK's headers, which the author has not written and cannot change. */
export function authorsText(text: string): string {
  const { messages, rest } = messagesOf(text);
  const kept = messages.filter(({ file, through }) => !SDK.test(file) || through.length > 0);
  const shown = kept.flatMap(({ lines }) => {
    let hidden = false;
    return lines.filter((line) => {
      const file = (HEAD.exec(line) ?? INCLUDED.exec(line))?.[1];
      if (file !== undefined) hidden = SDK.test(file);
      return !hidden;
    });
  });
  return [...rest, ...shown].join("\n").trim();
}
