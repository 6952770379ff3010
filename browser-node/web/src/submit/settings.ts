// How a job is to run: what a person can set, and what is wrong with it.

import type { SubmitOptions } from "../job.js";

export type Setting =
  | "tasks"
  | "chunk"
  | "documentsPerTask"
  | "partitions"
  | "replicas"
  | "retries"
  | "time"
  | "memory";

interface Field {
  label: string;
  /** What an empty field stands for. */
  usual: string;
  least: number;
  most: number;
  /** What the number is multiplied by to be what a job has. */
  unit: number;
  /** The job's option. */
  option: Exclude<keyof SubmitOptions, "source" | "name" | "inputs" | "wholeFiles">;
}

/** The bounds are those of a manifest (protocol/src/limits.rs) and of cutting (node/src/inputs), as are the defaults. */
export const FIELDS: Record<Setting, Field> = {
  tasks: { label: "Numbers, where there are no files", usual: "64", least: 1, most: 1 << 21, unit: 1, option: "tasks" },
  chunk: { label: "Cut files every, KiB", usual: "512", least: 1, most: 32 << 10, unit: 1024, option: "chunk" },
  documentsPerTask: {
    label: "Documents a task",
    usual: "as fits",
    least: 1,
    most: 1 << 21,
    unit: 1,
    option: "documentsPerTask",
  },
  partitions: { label: "Partitions", usual: "as fits", least: 1, most: 256, unit: 1, option: "partitions" },
  replicas: { label: "Copies of each partition", usual: "2", least: 1, most: 5, unit: 1, option: "replicas" },
  retries: { label: "Retries of a failed task", usual: "3", least: 0, most: 255, unit: 1, option: "retries" },
  time: { label: "Time of a task, seconds", usual: "30", least: 1, most: 3600, unit: 1000, option: "taskMillis" },
  memory: { label: "Memory of a task, MiB", usual: "512", least: 1, most: 4096, unit: 1 << 20, option: "taskMemory" },
};
export const SETTINGS = Object.keys(FIELDS) as Setting[];

/** What a person set: fields as they were written, and whether files stay whole. */
export interface Settings {
  wholeFiles: boolean;
  fields: Partial<Record<Setting, string>>;
}

export const NO_SETTINGS: Settings = { wholeFiles: false, fields: {} };

/** What is wrong with a field, in words; nothing if it is right or empty. */
export function wrong(setting: Setting, text: string): string | undefined {
  const { label, least, most } = FIELDS[setting];
  const number = Number(text);
  if (text.trim() === "" || (Number.isInteger(number) && number >= least && number <= most)) return undefined;
  return `${label}: a whole number from ${least.toLocaleString("en")} to ${most.toLocaleString("en")}, or nothing`;
}

/** The job's options, or what is wrong. */
export function options(settings: Settings): Omit<SubmitOptions, "source"> | string[] {
  const troubles: string[] = [];
  const chosen: Omit<SubmitOptions, "source"> = {};
  if (settings.wholeFiles) chosen.wholeFiles = true;
  for (const setting of SETTINGS) {
    const text = settings.fields[setting] ?? "";
    const trouble = wrong(setting, text);
    if (trouble !== undefined) troubles.push(trouble);
    else if (text.trim() !== "") chosen[FIELDS[setting].option] = Number(text) * FIELDS[setting].unit;
  }
  return troubles.length > 0 ? troubles : chosen;
}

/** Settings from what was kept; what does not fit is left out. */
export function read(kept: unknown): Settings {
  if (typeof kept !== "object" || kept === null) return NO_SETTINGS;
  const { wholeFiles, fields } = kept as Partial<Settings>;
  const texts: Settings["fields"] = {};
  for (const setting of SETTINGS) {
    const text = fields?.[setting];
    if (typeof text === "string") texts[setting] = text;
  }
  return { wholeFiles: wholeFiles === true, fields: texts };
}
