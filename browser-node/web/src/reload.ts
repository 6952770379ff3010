// The notice after a reload that ended jobs, with a button that runs the newest one again.

import { element, leaveWithFocus } from "./dom.js";
import type { RanBefore } from "./session.js";

export class ReloadNotice {
  /** Shown if there were jobs; `again` is called with the newest, if the user wants that. */
  constructor(jobs: readonly RanBefore[], again: (job: RanBefore) => void) {
    const [job] = jobs;
    if (job === undefined) return;
    const box = element("reloaded");
    const names = jobs.map(({ name }) => name).join(", ");
    const what = jobs.length === 1 ? `The job ${names} ended` : `The jobs ${names} ended`;
    element("reloaded-text").textContent =
      `${what} when this tab was reloaded: a job lives as long as the tab that submitted it. Its source and its ` +
      "settings are kept.";
    const close = () => {
      leaveWithFocus(box);
      box.hidden = true;
    };
    element("reloaded-again").textContent = jobs.length === 1 ? "Run it again" : `Run ${job.name} again`;
    element("reloaded-again").addEventListener("click", () => {
      close();
      again(job);
    });
    element("reloaded-close").addEventListener("click", close);
    box.hidden = false;
  }
}
