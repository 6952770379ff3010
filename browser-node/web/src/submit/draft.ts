// What a person is writing, kept over reloads.

import type { Chosen } from "./input-sets.js";
import { read, type Settings } from "./settings.js";

const KEY = "draft";

export interface Draft {
  name: string;
  source: string;
  settings: Settings;
  /** The example whose own inputs are chosen. */
  example: string | undefined;
  /** The files that are chosen. */
  inputs: Chosen;
}

/** What was kept, if anything was. */
export function kept(): Draft | undefined {
  let draft: Partial<Draft> | null;
  try {
    draft = JSON.parse(localStorage.getItem(KEY) ?? "null");
  } catch {
    // Whatever stands there is no draft of ours.
    return undefined;
  }
  if (typeof draft?.source !== "string" || typeof draft.name !== "string") return undefined;
  const { name, source, example } = draft;
  return { name, source, settings: read(draft.settings), example, inputs: draft.inputs ?? { files: 0, bytes: 0 } };
}

/** Keeps a draft; says why it could not, if so. */
export function keep(draft: Draft): string | undefined {
  try {
    localStorage.setItem(KEY, JSON.stringify(draft));
    return undefined;
  } catch (error) {
    return `Your code is not kept over a reload: ${String(error)}`;
  }
}
