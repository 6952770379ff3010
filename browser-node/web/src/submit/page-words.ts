// Messages of the library with the page's names: options by the labels of their fields.

import { FIELDS, SETTINGS } from "./settings.js";

/** The label of the switch in index.html. */
const LABELS = new Map<string, string>([["wholeFiles", "Keep every file whole"]]);
for (const setting of SETTINGS) LABELS.set(FIELDS[setting].option, FIELDS[setting].label);

/** A message with the page's names for options. */
export function inPageWords(text: string): string {
  return text.replaceAll(/`(\w+)`/g, (whole, name: string) => {
    const label = LABELS.get(name);
    return label === undefined ? whole : `“${label}” (under Settings)`;
  });
}
