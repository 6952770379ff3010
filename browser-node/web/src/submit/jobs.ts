// The jobs of this tab, running or finished, and those stored by this browser.

import { authorsText, diagnosticsOf, sentenceOf } from "../clang.js";
import { holds } from "../holds.js";
import {
  CompileError,
  type Diagnostic,
  type Job,
  type Progress,
  type SubmitOptions,
  type TaskFailure,
} from "../job.js";
import { rememberRunning } from "../session.js";
import type { Chosen } from "./input-sets.js";
import { JobStore, KEPT_JOBS, type Kept, type State } from "./kept.js";
import { inPageWords } from "./page-words.js";
import type { Settings } from "./settings.js";

/** The methods of `Mesh` that a job needs. */
export interface Submits {
  submit(options: SubmitOptions): Job;
}

/** A job that is running, or ran, in this tab. */
export interface Live {
  job?: Job;
  /** Its progress; undefined while the tab joins. */
  progress?: Progress;
  blob?: Blob;
  diagnostics: Diagnostic[];
  failures: readonly TaskFailure[];
  /** Notes on its files. */
  notes: readonly string[];
  /** Whether it is being cancelled. */
  cancelled: boolean;
  /** Stops waiting for the mesh, before there is a job to cancel. */
  stop(): void;
  /** clang's text, if the source does not compile and no check of the SDK says why. */
  clang?: string;
}

/** A job's state in the list: one that no tab runs any more was interrupted. */
export type Shown = State | "interrupted";

export interface Submission {
  name: string;
  source: string;
  settings: Settings;
  options: SubmitOptions;
  inputs: Kept["inputs"];
}

/** Prefix of the name that a tab holds while it runs a job. */
const HOLD = "job-";
const holdOf = (key: string) => `${HOLD}${key}`;

export class Jobs {
  readonly #store = new JobStore();
  readonly #live = new Map<string, Live>();
  readonly #changed: (key: string) => void;
  #kept: Kept[] = [];
  /** Jobs that other tabs run. */
  #elsewhere = new Set<string>();
  /** Why jobs are not stored, if they are not. */
  trouble = "";

  constructor(changed: (key: string) => void) {
    this.#changed = changed;
    // Other tabs start and end jobs too, and are closed.
    holds.listen((name) => {
      const key = name.startsWith(HOLD) ? name.slice(HOLD.length) : undefined;
      if (key !== undefined && !this.#live.has(key)) void this.load().then(() => changed(key));
    });
  }

  /** All jobs, newest first. */
  get all(): readonly Kept[] {
    return this.#kept;
  }

  get running(): boolean {
    return this.#kept.some(({ key, state }) => state === "running" && this.#live.has(key));
  }

  live(key: string): Live | undefined {
    return this.#live.get(key);
  }

  kept(key: string): Kept | undefined {
    return this.#kept.find((job) => job.key === key);
  }

  state({ key, state }: Kept): Shown {
    return state === "running" && !this.#live.has(key) && !this.#elsewhere.has(key) ? "interrupted" : state;
  }

  /** Loads the stored jobs; jobs of this tab are unchanged. */
  async load(): Promise<void> {
    try {
      const kept = await this.#store.list();
      const running = kept.filter(({ key, state }) => state === "running" && !this.#live.has(key));
      const held = await holds.elsewhere(running.map(({ key }) => holdOf(key)));
      this.#elsewhere = new Set(kept.filter(({ key }) => held.has(holdOf(key))).map(({ key }) => key));
      const here = this.#kept.filter(({ key }) => this.#live.has(key));
      const others = kept.filter(({ key }) => !this.#live.has(key));
      this.#kept = [...here, ...others].sort((a, b) => b.started - a.started);
    } catch (error) {
      this.trouble = `This browser cannot keep the list of jobs over a reload: ${String(error)}`;
    }
  }

  /** Starts a job, as soon as `mesh` resolves; it is listed at once. */
  start({ name, source, settings, options, inputs }: Submission, mesh: Promise<Submits>): Kept {
    const key = [...crypto.getRandomValues(new Uint32Array(4))].map((word) => word.toString(36)).join("");
    const started = Date.now();
    const kept: Kept = { key, id: "", name, source, settings, inputs, state: "running", started, whole: false };
    const live: Live = { diagnostics: [], failures: [], notes: [], cancelled: false, stop() {} };
    const stopped = new Promise<undefined>((resolve) => {
      live.stop = () => resolve(undefined);
    });
    this.#kept = [kept, ...this.#kept].filter((job, i) => i < KEPT_JOBS || job.state === "running");
    this.#live.set(key, live);
    for (const old of this.#live.keys()) if (this.kept(old) === undefined) this.#live.delete(old);
    // A job shown as running must still be listed after a reload.
    const inList = this.#keep(kept);
    void Promise.all([inList, holds.takeNew(holdOf(key))])
      .then(() => this.#follow(kept, live, options, Promise.race([mesh, stopped])))
      .finally(() => holds.release(holdOf(key)));
    this.#rememberRunning();
    return kept;
  }

  /** Records the key under which a job's files are stored. */
  async keepInputs(key: string, inputs: Chosen): Promise<void> {
    const kept = this.kept(key);
    if (kept === undefined) return;
    kept.inputs = inputs;
    await this.#keep(kept);
  }

  async cancel(key: string): Promise<void> {
    const live = this.#live.get(key);
    if (live === undefined) return;
    live.cancelled = true;
    live.stop();
    this.#changed(key);
    await live.job?.cancel();
  }

  /** A job's result, if it is stored. */
  async result(key: string): Promise<Blob | undefined> {
    return this.#live.get(key)?.blob ?? (await this.#store.result(key));
  }

  /** Whether a job's result is available. */
  has({ key, whole }: Kept): boolean {
    return whole || this.#live.get(key)?.blob !== undefined;
  }

  async remove(key: string): Promise<void> {
    this.#live.delete(key);
    this.#kept = this.#kept.filter((job) => job.key !== key);
    this.#changed(key);
    await this.#store.remove(key);
  }

  async #follow(kept: Kept, live: Live, options: SubmitOptions, mesh: Promise<Submits | undefined>): Promise<void> {
    try {
      const submits = await mesh;
      if (submits === undefined || live.cancelled) return await this.#end(kept, { state: "cancelled" });
      live.job = submits.submit(options);
      const result = live.job.result();
      // It is awaited below, when there is no more progress.
      result.catch(() => {});
      for await (const progress of live.job.progress()) {
        live.progress = progress;
        live.failures = live.job.failures.map(inOurWords);
        live.notes = live.job.notes;
        if (kept.id !== live.job.id) {
          kept.id = live.job.id;
          void this.#keep(kept);
        }
        this.#changed(kept.key);
      }
      const { blob, lines, keys, bytes, seconds } = await result;
      live.blob = blob;
      live.diagnostics = diagnosticsOf(live.job.warnings);
      await this.#end(kept, { state: "done", seconds, result: { lines, keys, bytes } }, blob);
    } catch (error) {
      const why = inPageWords(error instanceof Error ? error.message : String(error));
      live.failures = (live.job?.failures ?? []).map(inOurWords);
      if (error instanceof CompileError) {
        live.diagnostics = error.diagnostics;
        const sentence = sentenceOf(error.diagnostics);
        if (sentence === undefined) live.clang = authorsText(error.message);
        const said = sentence === undefined ? "The source does not compile." : `Line ${sentence.line}: ${sentence.text}`;
        await this.#end(kept, { state: "failed", why: said });
      } else {
        const cancelled = error instanceof Error && error.name === "JobCancelled";
        await this.#end(kept, cancelled ? { state: "cancelled" } : { state: "failed", why });
      }
    }
  }

  async #end(kept: Kept, how: Pick<Kept, "state" | "seconds" | "why" | "result">, blob?: Blob): Promise<void> {
    Object.assign(kept, { seconds: (Date.now() - kept.started) / 1000 }, how);
    this.#rememberRunning();
    this.#changed(kept.key);
    // A job that was removed from the list must not reappear.
    if (this.#live.has(kept.key)) await this.#keep(kept, blob);
  }

  /** Records the running jobs, so that a reload, which ends them, can report them. */
  #rememberRunning(): void {
    rememberRunning(this.#kept.filter(({ key, state }) => state === "running" && this.#live.has(key)));
  }

  async #keep(kept: Kept, blob?: Blob): Promise<void> {
    try {
      await this.#store.put(kept, blob);
    } catch (error) {
      this.trouble = `This job will not be kept over a reload: ${String(error)}`;
      this.#changed(kept.key);
    }
  }
}

function inOurWords(failure: TaskFailure): TaskFailure {
  return { ...failure, why: inPageWords(failure.why) };
}
