// The compiler's diagnostics as a list below the editor, linked to the lines.

import { button, make } from "../dom.js";
import type { Mark } from "./diagnostics.js";
import { count } from "./words.js";

/** Shows marks; `show` scrolls to one's position. Hidden if there are none. */
export function showFindings(into: HTMLElement, marks: readonly Mark[], show: (mark: Mark) => void): void {
  into.hidden = marks.length === 0;
  const of = (kind: Mark["severity"]) => marks.filter(({ severity }) => severity === kind).length;
  const kinds = [
    [of("error"), "error"],
    [of("warning"), "warning"],
  ] as const;
  const summary = kinds.filter(([number]) => number > 0).map(([number, kind]) => count(number, kind));
  const rows = marks.map((mark) => {
    const at = button(`Line ${mark.line}`, { class: "link" }, () => show(mark));
    return make("li", { class: mark.severity }, at, make("span", {}, `${mark.severity}: ${mark.text}`));
  });
  into.replaceChildren(make("h3", {}, summary.join(", ") || "Notes"), make("ul", {}, ...rows));
}
