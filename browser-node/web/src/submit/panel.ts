// The selected job: its progress, or its result.

import { button, make } from "../dom.js";
import type { Jobs, Shown } from "./jobs.js";
import type { Kept } from "./kept.js";
import { ProgressView, showFailures } from "./progress.js";
import { ResultView } from "./result.js";
import { bytes, count, seconds } from "./words.js";

export const STATES: Record<Shown, string> = {
  running: "Running",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
  interrupted: "Interrupted",
};

const FORGOTTEN = "Its result is no longer stored. Run the job again to get it.";
const INTERRUPTED =
  "The tab was closed or reloaded while this job ran, and the job ended with it: a job lives as long as the tab that " +
  "submitted it.";

/** What is left of a job whose tab is gone. */
function interrupted({ inputs: { files, set } }: Kept): string {
  if (files === 0) return `${INTERRUPTED} Its source and settings are kept.`;
  if (set !== undefined) return `${INTERRUPTED} Its source, settings and files are kept.`;
  return `${INTERRUPTED} Its source and settings are kept; its ${count(files, "file")} must be chosen again.`;
}

/** A summary of a job in one line. */
export function summary(job: Kept, state: Shown): string {
  const parts: string[] = [STATES[state]];
  if (job.result !== undefined) parts.push(count(job.result.keys, "key"), bytes(job.result.bytes));
  if (job.seconds !== undefined) parts.push(seconds(job.seconds));
  return parts.join(" · ");
}

export interface PanelActions {
  edit(job: Kept): void;
  /** Runs the job again, unchanged. */
  again(job: Kept): void;
}

export class Panel {
  readonly #into: HTMLElement;
  readonly #jobs: Jobs;
  readonly #actions: PanelActions;
  readonly #title = make("h3", { tabindex: -1 });
  #key: string | undefined;
  #state: Shown | undefined;
  #progress: ProgressView | undefined;
  #result: ResultView | undefined;

  constructor(into: HTMLElement, jobs: Jobs, actions: PanelActions) {
    this.#into = into;
    this.#jobs = jobs;
    this.#actions = actions;
  }

  get key(): string | undefined {
    return this.#key;
  }

  /** Shows a job, and scrolls to it. */
  open(key: string): void {
    this.#key = key;
    this.#state = undefined;
    this.update();
    this.#title.focus({ preventScroll: true });
    this.#into.scrollIntoView({ block: "nearest" });
  }

  /** Updates the shown job. */
  update(): void {
    const job = this.#key === undefined ? undefined : this.#jobs.kept(this.#key);
    this.#into.hidden = job === undefined;
    const state = job === undefined ? undefined : this.#jobs.state(job);
    if (job === undefined || state === undefined) this.#clear();
    else if (state !== this.#state) this.#build(job, state);
    this.#state = state;
    const live = job === undefined ? undefined : this.#jobs.live(job.key);
    if (live !== undefined) this.#progress?.update(live);
  }

  #clear(): void {
    this.#progress = undefined;
    this.#result?.close();
    this.#result = undefined;
    this.#into.replaceChildren();
  }

  #build(job: Kept, state: Shown): void {
    // If the focus is on Cancel when the job ends, it must not jump to the top of the page.
    const focused = this.#into.contains(document.activeElement);
    this.#clear();
    this.#title.textContent = job.name;
    const head = make("div", { class: `head ${state}` }, this.#title, make("p", {}, summary(job, state)));
    this.#into.replaceChildren(head, ...this.#body(job, state));
    if (focused) this.#title.focus({ preventScroll: true });
    // A result is taller than progress.
    if (focused && state === "done") this.#into.scrollIntoView();
  }

  #body(job: Kept, state: Shown): Node[] {
    const live = this.#jobs.live(job.key);
    const edit = make(
      "div",
      { class: "actions" },
      button("Run again", {}, () => this.#actions.again(job)),
      button("Open in editor", { class: "plain" }, () => this.#actions.edit(job)),
    );
    if (state === "running") {
      if (live === undefined) return [make("p", {}, "It runs in another tab of this browser.")];
      this.#progress = new ProgressView(() => void this.#jobs.cancel(job.key));
      return [this.#progress.element];
    }
    const failed = make("details", { class: "failures" });
    showFailures(failed, live?.failures ?? []);
    if (state === "interrupted") return [make("p", {}, interrupted(job)), edit];
    if (state === "cancelled") return [make("p", {}, "This job was cancelled."), failed, edit];
    if (state === "failed") {
      const clang =
        live?.clang === undefined ? [] : [make("pre", { tabindex: 0, "aria-label": "Compiler output" }, live.clang)];
      return [make("p", { class: "trouble" }, job.why ?? ""), ...clang, failed, edit];
    }
    if (!this.#jobs.has(job)) return [make("p", {}, FORGOTTEN), edit];
    const body = make("div", {}, failed);
    void this.#open(job, body, edit);
    return [body];
  }

  async #open(job: Kept, into: HTMLElement, edit: HTMLElement): Promise<void> {
    // The browser may have dropped it meanwhile, or fail to read it.
    const blob = await this.#jobs.result(job.key).catch(() => undefined);
    // Another job may be selected by now.
    if (this.#key !== job.key || !into.isConnected) return;
    if (blob === undefined) {
      into.prepend(make("p", {}, FORGOTTEN), edit);
      return;
    }
    this.#result = new ResultView(job, blob);
    into.prepend(this.#result.element);
  }
}
