// The examples that come with the page.

import type { Settings } from "./settings.js";
import type { Found } from "./walk.js";

/** An example, as build.mjs writes it to examples.json. */
export interface Example {
  title: string;
  /** A sentence that says what it does. */
  about: string;
  /** The name of its source file. */
  name: string;
  source: string;
  settings: Settings;
  /** Its own small inputs; empty if its documents are numbers. */
  inputs: { path: string; text: string }[];
}

export async function loadExamples(): Promise<Example[]> {
  const answer = await fetch(new URL("./examples.json", import.meta.url));
  if (!answer.ok) throw new Error(`cannot load the examples: ${answer.status}`);
  return (await answer.json()) as Example[];
}

/** An example's own inputs. */
export function inputsOf(example: Example): Found[] {
  return example.inputs.map(({ path, text }) => ({ path, file: new File([text], path.split("/").at(-1) ?? path) }));
}
