// A job that this tab submits, from the source and files to the result.

import type { Tab } from "../wasm/webmesh_browser_node.js";
import { diagnosticsOf } from "./clang.js";
import type { JobEvent } from "./events.js";
import {
  CompileError,
  type Job,
  JobError,
  type Progress,
  type Result,
  type SubmitOptions,
  type TaskFailure,
} from "./job.js";
import { inLibraryWords } from "./option-names.js";
import type { Plan, Storage } from "./storage.js";

/** Maximum number of failed attempts that are remembered. */
const FAILURES = 100;

/** A job submitted by this tab. */
export class OwnJob implements Job {
  #id = "";
  #warnings = "";
  #notes: readonly string[] = [];
  #failures: TaskFailure[] = [];
  /** Advice on the last failure, on a line of its own. */
  #help = "";
  #latest: Progress = { phase: "compiling", bytes: 0, of: 0 };
  /** Compiling and reading, which happen at the same time. */
  #preparing = { isCompiled: false, bytes: 0, of: 0, said: "" };
  /** What the running job waits for. */
  #waiting: { said?: string } = {};
  /** Number of finished tasks whose results were revoked. */
  #revoked = 0;
  #over = false;
  #listeners = new Set<() => void>();
  #result: Promise<Result>;
  #fail: (why: JobError) => void = () => {};
  #unwanted: Promise<void>;
  /** Settles the promise that stands for the job being cancelled or over. */
  #settle: () => void = () => {};
  #isCancelled = false;
  /** Resolves when the files of all failures are known. */
  #naming: Promise<unknown> = Promise.resolve();
  /** clang's text if the source does not compile. */
  #diagnostics = "";

  /** @internal */
  constructor(tab: Tab, storage: Storage, options: SubmitOptions) {
    this.#unwanted = new Promise((resolve) => {
      this.#settle = resolve;
    });
    const failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    this.#result = Promise.race([this.#run(tab, storage, options), failed]).finally(() => {
      this.#over = true;
      this.#wake();
    });
    // Callers learn of a failure from the result; nobody has to ask for it.
    this.#result.catch(() => {});
  }

  get id(): string {
    return this.#id;
  }

  get warnings(): string {
    return this.#warnings;
  }

  get notes(): readonly string[] {
    return this.#notes;
  }

  get failures(): readonly TaskFailure[] {
    return this.#failures;
  }

  async *progress(): AsyncGenerator<Progress, void> {
    let shown: Progress | undefined;
    for (;;) {
      if (shown !== this.#latest) {
        shown = this.#latest;
        yield shown;
      } else if (this.#over) {
        return;
      } else {
        await new Promise<void>((resolve) => this.#listeners.add(resolve));
      }
    }
  }

  result(): Promise<Result> {
    return this.#result;
  }

  async cancel(): Promise<void> {
    this.#isCancelled = true;
    this.#settle();
    await this.#result.catch(() => {});
  }

  /** Ends the job for a reason that the engine can no longer report. */
  fail(why: JobError): void {
    this.#fail(why);
  }

  async #run(tab: Tab, storage: Storage, options: SubmitOptions): Promise<Result> {
    const started = performance.now();
    const name = options.name ?? "job.cpp";
    const { inputs = [], chunk, wholeFiles, documentsPerTask, tasks } = options;
    const reading = (bytes: number, of: number) => this.#prepare({ bytes, of });
    const cut = { chunk, wholeFiles, documentsPerTask, tasks };
    const planning = storage.plan(inputs, cut, reading, this.#unwanted);
    planning.then(
      ({ notes }) => {
        this.#notes = notes;
        this.#prepare({});
      },
      // Reported below.
      () => {},
    );
    let plan: Plan | undefined;
    const report = (line: string) => this.#onEvent(JSON.parse(line) as JobEvent, storage, plan);
    const compiling = tab.compile(name, options.source, report);
    compiling.then(
      () => this.#prepare({ isCompiled: true, said: "" }),
      // Reported below.
      () => {},
    );
    try {
      // The first failure gives the reason, and cancelling waits for neither.
      const ready = Promise.all([
        planning.catch((error: unknown) => Promise.reject(new JobError(wordsOf(error)))),
        compiling.catch((error: unknown) => {
          const said = this.#diagnostics;
          throw said === "" ? new JobError(wordsOf(error)) : new CompileError(said, diagnosticsOf(said));
        }),
      ]);
      const both = await Promise.race([ready, this.#unwanted]);
      this.#stopIfCancelled();
      if (both === undefined) throw new JobError("the job was cancelled");
      const [planned, compiled] = both;
      plan = planned;
      const { partitions, replicas, retries, taskMillis, taskMemory } = options;
      const spec = JSON.stringify({ name, partitions, replicas, retries, taskMillis, taskMemory, plan });
      const id = await tab.submit(compiled, spec, this.#unwanted, report).catch(async (error: unknown) => {
        this.#stopIfCancelled();
        await this.#naming;
        throw new JobError(this.#lastFailure() ?? wordsOf(error));
      });
      this.#show({ phase: "merging" });
      const merged = await storage.merge(id).catch((error: unknown) => {
        throw new JobError(wordsOf(error));
      });
      const result = { ...merged, seconds: (performance.now() - started) / 1000 };
      this.#show({ phase: "done", result });
      return result;
    } finally {
      // Releases everything that was started for it, however far it got.
      this.#settle();
      compiling.then((compiled) => compiled.free()).catch(() => {});
      planning.then((plan) => storage.forget(plan.inputs, this.#id)).catch(() => {});
    }
  }

  #stopIfCancelled(): void {
    if (!this.#isCancelled) return;
    const error = new JobError("the job was cancelled");
    error.name = "JobCancelled";
    throw error;
  }

  /** The failure that ended the job, with the name of the file that caused it. */
  #lastFailure(): string | undefined {
    const last = this.#failures.at(-1);
    if (last?.retriesLeft !== 0 || last.input === undefined) return undefined;
    return `the job failed: ${last.stage} of ${last.input}: ${last.why}${this.#help}`;
  }

  #onEvent(event: JobEvent, storage: Storage, plan: Plan | undefined): void {
    switch (event.event) {
      case "phase":
        this.#prepare({ said: event.text });
        break;
      case "warnings":
        this.#warnings = event.text;
        break;
      case "diagnostics":
        this.#diagnostics = event.text;
        break;
      case "submitted":
        this.#id = event.job;
        break;
      case "progress": {
        const stages = event.stages.map(({ name, done, tasks, per_second, seconds_left }) => {
          return { name, done, tasks, perSecond: per_second ?? 0, secondsLeft: seconds_left };
        });
        const { workers, shufflers, failures } = event;
        this.#show({ phase: "running", stages, workers, shufflers, failures, revoked: this.#revoked, ...this.#waiting });
        break;
      }
      // Reported with the next progress, a moment later.
      case "waiting":
        this.#waiting = { said: event.why };
        break;
      case "waiting_over":
        this.#waiting = {};
        break;
      // As with waiting.
      case "revoked":
        this.#revoked += event.tasks;
        break;
      case "task_failed": {
        const { stage, task, document, worker, retries_left } = event;
        const why = inLibraryWords(event.why);
        const failure: TaskFailure = { stage, task, input: undefined, why, worker, retriesLeft: retries_left };
        this.#help = event.help === null ? "" : `\nhelp: ${inLibraryWords(event.help)}`;
        this.#failures = [...this.#failures.slice(1 - FAILURES), failure];
        if (plan !== undefined && stage === "map") {
          const naming = storage.nameOf(plan.inputs, task, document ?? undefined).then((input) => {
            failure.input = input;
          });
          this.#naming = Promise.allSettled([this.#naming, naming]);
        }
        break;
      }
    }
  }

  #prepare(news: Partial<{ isCompiled: boolean; bytes: number; of: number; said: string }>): void {
    Object.assign(this.#preparing, news);
    const { isCompiled, bytes, of, said } = this.#preparing;
    // Late progress of a job that already runs or has ended is ignored.
    if (this.#over || (this.#latest.phase !== "compiling" && this.#latest.phase !== "reading")) return;
    this.#show({ phase: isCompiled ? "reading" : "compiling", bytes, of, said });
  }

  #show(progress: Progress): void {
    this.#latest = progress;
    this.#wake();
  }

  #wake(): void {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener();
  }
}

function wordsOf(error: unknown): string {
  return inLibraryWords(error instanceof Error ? error.message : String(error));
}
