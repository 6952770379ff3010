// Settings of a job, and their validation.

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
  /** Default of an empty field, as text. */
  usual: string;
  least: number;
  most: number;
  /** Factor from the field's unit to the option's. */
  unit: number;
  /** The option that it sets. */
  option: Exclude<keyof SubmitOptions, "source" | "name" | "inputs" | "wholeFiles">;
}

/** The ranges and the defaults are those of a manifest (protocol/src/limits.rs) and of cutting (node/src/inputs). */
export const FIELDS: Record<Setting, Field> = {
  tasks: { label: "Numbers, if there are no files", usual: "64", least: 1, most: 1 << 21, unit: 1, option: "tasks" },
  chunk: { label: "Cut files every, KiB", usual: "512", least: 1, most: 32 << 10, unit: 1024, option: "chunk" },
  documentsPerTask: {
    label: "Documents per task",
    usual: "as fits",
    least: 1,
    most: 1 << 21,
    unit: 1,
    option: "documentsPerTask",
  },
  partitions: { label: "Partitions", usual: "as fits", least: 1, most: 256, unit: 1, option: "partitions" },
  replicas: { label: "Copies of each partition", usual: "2", least: 1, most: 5, unit: 1, option: "replicas" },
  retries: { label: "Retries of a failed task", usual: "3", least: 0, most: 255, unit: 1, option: "retries" },
  time: { label: "Time limit of a task, seconds", usual: "30", least: 1, most: 3600, unit: 1000, option: "taskMillis" },
  memory: { label: "Memory limit of a task, MiB", usual: "512", least: 1, most: 4096, unit: 1 << 20, option: "taskMemory" },
};
export const SETTINGS = Object.keys(FIELDS) as Setting[];

/** The user's settings: the text of the fields, and whether files stay whole. */
export interface Settings {
  wholeFiles: boolean;
  fields: Partial<Record<Setting, string>>;
}

export const NO_SETTINGS: Settings = { wholeFiles: false, fields: {} };

/** What is wrong with a field, as text; undefined if it is valid or empty. */
export function wrong(setting: Setting, text: string): string | undefined {
  const { label, least, most } = FIELDS[setting];
  const number = Number(text);
  if (text.trim() === "" || (Number.isInteger(number) && number >= least && number <= most)) return undefined;
  return `${label}: a whole number from ${least.toLocaleString("en")} to ${most.toLocaleString("en")}, or nothing`;
}

/** The job's options, or an error. */
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

/** Settings from stored data; invalid ones are left out. */
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
