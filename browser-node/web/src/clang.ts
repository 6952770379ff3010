// What clang wrote, read: what concerns the author, at the author's own lines.

import type { Diagnostic } from "./job.js";

/** A source with more errors than that has one that causes the others. */
const MOST = 100;
/** `job.cpp:3:7: error: …`. */
const HEAD = /^([^\n:]+):(\d+):(\d+): (fatal error|error|warning|note): (.+)$/;
/** `In file included from job.cpp:3:`, also in the indented lines that follow the first of these. */
const INCLUDED = /^(?:In file included from| +from) ([^\n:]+):(\d+)/;
/** How the SDK's own checks begin, behind what clang puts in front of a failed assertion. */
const OURS = /^(?:static assertion failed(?: due to requirement '.*')?: )?(WebMesh: .*)$/;
/** The SDK's headers, by the names that they have in the compiler's sandbox. */
const SDK = /(^|\/)webmesh(\.hpp$|\/)/;

/** A message of clang with the lines that belong to it: the source line, the caret, the notes. */
interface Message {
  file: string;
  at: Diagnostic;
  /** Places of the author's file that led to it. */
  through: { line: number; column: number }[];
  notes: { file: string; at: Diagnostic }[];
  lines: string[];
}

/** The author's file has a bare name; the compiler takes every folder away from it. */
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

/** Where a message is shown: at its own place, at the place of the author's that led to it, or at the beginning. */
function placed({ file, at, through }: Message): Diagnostic {
  if (isAuthors(file)) return at;
  const { line, column } = through[0] ?? { line: 1, column: 1 };
  return { ...at, line, column };
}

/**
 * The diagnostics in clang's text, a hundred of them at most. All are at lines of the author's file: what clang found in
 * a header is shown at the line that led there, and only if nothing is wrong in the author's file itself. Errors in
 * headers follow from a failed check of the SDK, which therefore comes first and stands for them.
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
  return found.slice(0, MOST);
}

/** The sentence of the SDK's first check that failed, if one did. */
export function sentenceOf(diagnostics: readonly Diagnostic[]): Diagnostic | undefined {
  return diagnostics.find(({ severity, text }) => severity === "error" && text.startsWith("WebMesh: "));
}

/** clang's text without what it says of the SDK's headers, which the author has not written and cannot change. */
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
