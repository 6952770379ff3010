// The progress of a running job, stage by stage.

import { button, make } from "../dom.js";
import type { Progress, StageProgress, TaskFailure } from "../job.js";
import type { Live } from "./jobs.js";
import { bytes, count, left, rate, whole } from "./words.js";

/** Maximum number of failures shown; the newest ones are enough. */
const FAILURES = 10;
/** Maximum length of a failure's reason. */
const WHY = 400;

/** A step of a job, with its bar. */
class Step {
  readonly element: HTMLElement;
  readonly #bar: HTMLProgressElement;
  readonly #said = make("span", { class: "said" });

  constructor(name: string) {
    this.#bar = make("progress", { "aria-label": name, max: 1, value: 0 });
    this.element = make("li", {}, make("span", { class: "step" }, name), this.#bar, this.#said);
  }

  /** If `done` is undefined, the step is in progress but its extent is not known. */
  set(done: number | undefined, said: string): void {
    if (done === undefined) this.#bar.removeAttribute("value");
    else this.#bar.value = done;
    this.element.className = done === undefined || (done > 0 && done < 1) ? "active" : done === 1 ? "done" : "";
    this.#said.textContent = said;
    this.#bar.setAttribute("aria-valuetext", said || (done === 1 ? "done" : "not begun"));
  }
}

export class ProgressView {
  readonly element: HTMLElement;
  readonly #steps = new Map<string, Step>();
  readonly #list = make("ol", { class: "steps" });
  readonly #who = make("p", { class: "hint" });
  readonly #failed = make("details", { class: "failures", hidden: true });
  readonly #cancel: HTMLButtonElement;

  constructor(cancel: () => void) {
    this.#cancel = button("Cancel", { class: "plain" }, cancel);
    this.element = make("div", {}, this.#list, this.#who, this.#failed, this.#cancel);
    for (const name of ["Compile", "Read", "Map", "Reduce", "Merge"]) this.#step(name).set(0, "");
  }

  update(live: Live): void {
    if (live.progress === undefined) this.#who.textContent = "Joining the mesh …";
    else this.#show(live.progress);
    if (live.cancelled) this.#who.textContent = "Cancelling …";
    this.#cancel.disabled = live.cancelled;
    showFailures(this.#failed, live.failures);
  }

  #show(progress: Progress): void {
    const [compile, read] = [this.#step("Compile"), this.#step("Read")];
    if (progress.phase === "compiling" || progress.phase === "reading") {
      const { phase, bytes: done, of, said = "" } = progress;
      compile.set(phase === "compiling" ? undefined : 1, phase === "compiling" ? "compiling" : "");
      // With numbers there is nothing to read, and file sizes are not known at first.
      read.set(of > 0 ? done / of : 0, of > 0 ? `${bytes(done)} of ${bytes(of)}` : "");
      this.#who.textContent = said;
      return;
    }
    compile.set(1, "");
    read.set(1, "");
    if (progress.phase === "running") {
      for (const stage of progress.stages) this.#stage(stage);
      const who = [count(progress.workers, "worker"), count(progress.shufflers, "shuffler")];
      if (progress.failures > 0) who.push(count(progress.failures, "failed attempt"));
      if (progress.revoked > 0) who.push(`${count(progress.revoked, "finished task")} lost and run again`);
      const waits = progress.said === undefined ? [] : [`Waiting: ${progress.said}`];
      this.#who.textContent =
        progress.workers === 0 && waits.length === 0 ? "Waiting for workers …" : [...waits, ...who].join(" · ");
      return;
    }
    for (const [name, step] of this.#steps) if (name !== "Merge") step.set(1, "");
    this.#step("Merge").set(progress.phase === "done" ? 1 : undefined, progress.phase === "done" ? "" : "merging");
  }

  #stage({ name, done, tasks, perSecond, secondsLeft }: StageProgress): void {
    const said = [`${whole(done)} of ${count(tasks, "task")}`];
    if (done > 0 && done < tasks && perSecond > 0) said.push(`${rate(perSecond)} a second`);
    if (secondsLeft !== null && done < tasks) said.push(`about ${left(secondsLeft)} left`);
    this.#step(name.slice(0, 1).toUpperCase() + name.slice(1)).set(tasks === 0 ? 0 : done / tasks, said.join(" · "));
  }

  /** A job's stages have names of their own; they come before the merge. */
  #step(name: string): Step {
    const known = this.#steps.get(name);
    if (known !== undefined) return known;
    const step = new Step(name);
    const merge = this.#steps.get("Merge");
    this.#list.insertBefore(step.element, merge?.element ?? null);
    this.#steps.set(name, step);
    return step;
  }
}

/** Shows the failed attempts; hidden while there are none. */
export function showFailures(into: HTMLDetailsElement, failures: readonly TaskFailure[]): void {
  into.hidden = failures.length === 0;
  const last = failures.slice(-FAILURES).reverse();
  const lines = last.map(({ stage, task, input, why, worker, retriesLeft }) => {
    const of = input === undefined ? "" : ` (${input})`;
    const left = retriesLeft === 0 ? "no retry left" : count(retriesLeft, "retry left", "retries left");
    const short = why.length > WHY ? `${why.slice(0, WHY)}…` : why;
    return make("li", {}, `${stage} ${task}${of} at ${worker.slice(-8)}, ${left}: ${short}`);
  });
  const more = failures.length > FAILURES ? `, the last ${FAILURES}` : "";
  into.replaceChildren(make("summary", {}, `Failed attempts${more}`), make("ol", {}, ...lines));
}
