// The user's draft, kept over reloads.

import type { Chosen } from "./input-sets.js";
import { read, type Settings } from "./settings.js";

const KEY = "draft";

export interface Draft {
  name: string;
  source: string;
  settings: Settings;
  /** The example whose own inputs are chosen. */
  example: string | undefined;
  /** The chosen files. */
  inputs: Chosen;
}

/** The stored draft, if there is one. */
export function kept(): Draft | undefined {
  let draft: Partial<Draft> | null;
  try {
    draft = JSON.parse(localStorage.getItem(KEY) ?? "null");
  } catch {
    // Not a draft of ours.
    return undefined;
  }
  if (typeof draft?.source !== "string" || typeof draft.name !== "string") return undefined;
  const { name, source, example } = draft;
  return { name, source, settings: read(draft.settings), example, inputs: draft.inputs ?? { files: 0, bytes: 0 } };
}

/** Stores a draft; returns the reason if that fails. */
export function keep(draft: Draft): string | undefined {
  try {
    localStorage.setItem(KEY, JSON.stringify(draft));
    return undefined;
  } catch (error) {
    return `Your code will not be kept over a reload: ${String(error)}`;
  }
}
