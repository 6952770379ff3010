// The list of jobs: each with its state, its time, and its actions.

import { button, make } from "../dom.js";
import type { Jobs } from "./jobs.js";
import type { Kept } from "./kept.js";
import { STATES, summary } from "./panel.js";
import { bytes, count, moment } from "./words.js";

export interface ListActions {
  open(job: Kept): void;
  edit(job: Kept): void;
  remove(job: Kept): void;
}

/** Renders the list; the row of `shown` is marked. */
export function draw(into: HTMLElement, jobs: Jobs, shown: string | undefined, actions: ListActions): void {
  // Rows are replaced: keep the focus on the same button.
  const focused = into.contains(document.activeElement) ? document.activeElement?.id : undefined;
  into.replaceChildren(...jobs.all.map((job) => row(job, jobs, job.key === shown, actions)));
  if (focused) document.getElementById(focused)?.focus();
}

function row(job: Kept, jobs: Jobs, shown: boolean, actions: ListActions): HTMLElement {
  const state = jobs.state(job);
  const id = (name: string) => `${name}-${job.key}`;
  const files = job.inputs.files === 0 ? "numbers" : `${count(job.inputs.files, "file")}, ${bytes(job.inputs.bytes)}`;
  const attributes = { class: "name link", id: id("open"), "aria-current": shown ? "true" : undefined };
  const edit = { class: "plain small", id: id("edit"), "aria-label": `Open in editor: ${job.name}` };
  const remove = { class: "link", id: id("remove"), "aria-label": `Remove ${job.name} from the list` };
  return make(
    "li",
    { class: `job ${state}` },
    make("span", { class: "state", title: STATES[state], "aria-hidden": "true" }),
    button(job.name, attributes, () => actions.open(job)),
    make("span", { class: "said" }, `${summary(job, state)} · ${files} · ${moment(job.started)}`),
    button("Open in editor", edit, () => actions.edit(job)),
    ...(state === "running" ? [] : [button("Remove", remove, () => actions.remove(job))]),
  );
}
