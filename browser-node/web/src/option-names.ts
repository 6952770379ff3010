// Messages shared by terminals and tabs name command-line options. A page has other names for them.

import type { SubmitOptions } from "./job.js";

export type OptionName = Exclude<keyof SubmitOptions, "source" | "name" | "inputs">;

/** The library's names for the options of `webmesh run` that say how a job runs (node/cli/src/args.rs). */
export const OPTION_NAMES: Record<string, OptionName> = {
  "--partitions": "partitions",
  "--replicas": "replicas",
  "--chunk": "chunk",
  "--whole-files": "wholeFiles",
  "--docs-per-task": "documentsPerTask",
  "--tasks": "tasks",
  "--task-timeout": "taskMillis",
  "--task-memory": "taskMemory",
  "--retries": "retries",
};

/** Options that only a node has: they are kept, with the command that has them. */
const NODE_OPTIONS = new Set(["--memory", "--data", "--roles", "--threads", "--bootstrap"]);

/** Advice to use an option that exists only in a terminal: "…, or leave it out with --skip-unreadable". */
const TERMINALS_ADVICE = /[;,] (?:or )?[^;,]*--(?:skip-unreadable|csv)\b[^;,]*/g;

/** A message with the library's names for options, in backticks. */
export function inLibraryWords(text: string): string {
  return text.replaceAll(TERMINALS_ADVICE, "").replaceAll(/(webmesh [a-z-]+ )?`?(--[a-z][a-z-]*)\b`?/g, (whole, command: string | undefined, option) => {
    if (command !== undefined) return whole;
    const name = OPTION_NAMES[option];
    if (name !== undefined) return `\`${name}\``;
    return NODE_OPTIONS.has(option) ? `webmesh node ${option}` : whole;
  });
}
