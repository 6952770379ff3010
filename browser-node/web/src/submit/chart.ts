// A bar chart of the largest values.

import { shape } from "../dom.js";
import type { Line } from "./lines.js";

const ROW = 26;
const BAR = 16;
/** Start of the bars and width of the longest, in percent of the width. */
const LEFT = 36;
const WIDEST = 42;
/** Maximum length of a label before the bars. */
const LETTERS = 22;

const figure = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

/** Draws lines whose values are numbers; nothing if there are too few to compare. */
export function chart(lines: readonly Line[]): SVGSVGElement | undefined {
  const bars = lines
    .map(({ key, value }) => ({ key, value: Number(value) }))
    .filter(({ value }) => Number.isFinite(value));
  if (bars.length < 2) return undefined;
  const most = Math.max(...bars.map(({ value }) => Math.abs(value))) || 1;
  const summary = bars.map(({ key, value }) => `${key} ${figure.format(value)}`).join("; ");
  const height = bars.length * ROW;
  const drawing = shape("svg", { class: "chart", role: "img", "aria-label": `The largest values: ${summary}`, height });
  bars.forEach(({ key, value }, i) => {
    const y = i * ROW;
    const middle = y + ROW / 2;
    const width = (WIDEST * Math.abs(value)) / most;
    const label = [...key].length > LETTERS ? `${[...key].slice(0, LETTERS).join("")}…` : key;
    // A label that is still too wide is clipped there.
    const part = shape("svg", { y, width: `${LEFT - 1}%`, height: ROW }, shape("text", { y: ROW / 2 }, label));
    const bar = shape("rect", {
      x: `${LEFT}%`,
      y: y + (ROW - BAR) / 2,
      width: `${width}%`,
      height: BAR,
      rx: 3,
      class: value < 0 ? "below" : undefined,
    });
    bar.append(shape("title", {}, `${key}: ${value}`));
    drawing.append(part, bar, shape("text", { x: `${LEFT + width + 1}%`, y: middle }, figure.format(value)));
  });
  return drawing;
}
