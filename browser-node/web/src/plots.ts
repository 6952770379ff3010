// Plots of the last two minutes.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import type { Status } from "./mesh.js";

/** Number of points: two minutes of half-seconds. */
const POINTS = 240;
const SECONDS = 120;
const HEIGHT = 140;
/** A colour that is visible on light and on dark backgrounds. */
const INK = "#808890";
const LINE = "#1f9b88";

interface Series {
  title: string;
  /** A monotonic counter. */
  total(status: Status): number;
  plot: uPlot;
  resizes: ResizeObserver;
  values: number[];
  last: number;
}

const SERIES: [string, Series["total"]][] = [
  ["Tasks a second", ({ given }) => given.tasks],
  ["Kilobytes a second", ({ counters }) => ((counters["bytes_in"] ?? 0) + (counters["bytes_out"] ?? 0)) / 1000],
  ["Processor cores given", ({ given }) => given.millis / 1000],
];

/** The plots and their data. */
export class History {
  #times: number[] = [];
  #series: Series[];

  constructor(into: Element) {
    into.replaceChildren();
    this.#series = SERIES.map(([title, total]) => {
      const place = into.appendChild(document.createElement("div"));
      const axis = { stroke: INK, grid: { stroke: "#8884" }, ticks: { stroke: "#8884" } };
      const plot = new uPlot(
        {
          title,
          width: 1,
          height: HEIGHT,
          cursor: { show: false },
          legend: { show: false },
          scales: {
            x: { time: false, range: [-SECONDS, 0] },
            y: { range: (_, __, most) => [0, Math.max(most, 1)] },
          },
          axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "now" : `${-tick} s ago`)) }, axis],
          series: [{}, { stroke: LINE, width: 2, points: { show: false } }],
        },
        [[], []],
        place,
      );
      // As wide as there is room; nothing while the view is hidden.
      const resizes = new ResizeObserver(() => {
        if (place.clientWidth > 0) plot.setSize({ width: place.clientWidth, height: HEIGHT });
      });
      resizes.observe(place);
      return { title, total, plot, resizes, values: [], last: Number.NaN };
    });
  }

  /** Removes the plots, which otherwise keep listening to the window. */
  end(): void {
    for (const { plot, resizes } of this.#series) {
      resizes.disconnect();
      plot.destroy();
    }
  }

  /** Adds the current counters. */
  add(status: Status): void {
    const now = Date.now() / 1000;
    const passed = now - (this.#times.at(-1) ?? Number.NaN);
    this.#times = [...this.#times, now].slice(-POINTS);
    for (const series of this.#series) {
      const total = series.total(status);
      const rate = (total - series.last) / passed;
      series.last = total;
      series.values = [...series.values, Number.isFinite(rate) ? rate : 0].slice(-POINTS);
      if (!document.hidden) series.plot.setData([this.#times.map((time) => time - now), series.values]);
    }
  }
}
