// What a person is writing, kept over reloads.

import { read, type Settings } from "./settings.js";

const KEY = "draft";

export interface Draft {
  name: string;
  source: string;
  settings: Settings;
  /** The example whose own inputs are chosen; other files have to be chosen again. */
  example: string | undefined;
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
  return { name: draft.name, source: draft.source, settings: read(draft.settings), example: draft.example };
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
