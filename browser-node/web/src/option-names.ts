// Messages that terminals and tabs share name the options of the command line. A page has others.

import type { SubmitOptions } from "./job.js";

export type OptionName = Exclude<keyof SubmitOptions, "source" | "name" | "inputs">;

/** What the library calls the options of `webmesh run` that say how a job runs (node/cli/src/args.rs). */
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

/** Options that only a node has: they stay what they are, with the command that has them. */
const NODE_OPTIONS = new Set(["--memory", "--data", "--roles", "--threads", "--bootstrap"]);

/** Advice to use an option that only a terminal has: "…, or leave it out with --skip-unreadable". */
const TERMINALS_ADVICE = /[;,] (?:or )?[^;,]*--(?:skip-unreadable|csv)\b[^;,]*/g;

/** A message in which options are called what the library calls them, between backticks. */
export function inLibraryWords(text: string): string {
  return text.replaceAll(TERMINALS_ADVICE, "").replaceAll(/(webmesh [a-z-]+ )?`?(--[a-z][a-z-]*)\b`?/g, (whole, command: string | undefined, option) => {
    if (command !== undefined) return whole;
    const name = OPTION_NAMES[option];
    if (name !== undefined) return `\`${name}\``;
    return NODE_OPTIONS.has(option) ? `webmesh node ${option}` : whole;
  });
}
