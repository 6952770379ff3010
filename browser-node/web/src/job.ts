// Jobs that this tab submits: from a source and files to a result.

import type { CompiledJob, Tab } from "../wasm/webmesh_browser_node.js";
import type { Plan, Storage } from "./storage.js";

export interface SubmitOptions {
  /** C++, as docs/writing-jobs.md says. */
  source: string;
  /** What peers call the job, and diagnostics its source. Default: "job.cpp". */
  name?: string;
  /** Files, read a piece at a time when a worker wants it. None: the job's documents are numbers. */
  inputs?: readonly File[];
  /** How many numbers, where there are no inputs. Default: 64. */
  tasks?: number;
  /** Bytes of the documents into which large files are cut, at line ends. Default: 512 KiB. */
  chunk?: number;
  /** Whether no file is cut. */
  wholeFiles?: boolean;
  /** Documents that one task is given. Default: some 512 KiB of them. */
  documentsPerTask?: number;
  /** Parts in which intermediate data lie. Default: by the size of the inputs. */
  partitions?: number;
  /** Copies of intermediate data, each on a peer of its own. Default: 1. */
  replicas?: number;
  /** How often a task that failed is tried again. Default: 3. */
  retries?: number;
  /** Milliseconds that a task may take. Default: a minute. */
  taskMillis?: number;
  /** Bytes of memory that a task may take. Default: 512 MiB. */
  taskMemory?: number;
}

export interface StageProgress {
  /** "map" or "reduce". */
  name: string;
  done: number;
  tasks: number;
  /** Tasks a second, once that is known; 0 before. */
  perSecond: number;
  secondsLeft: number | null;
}

export type Progress =
  | { phase: "compiling" | "reading"; bytes: number; of: number }
  | { phase: "running"; stages: StageProgress[]; workers: number; shufflers: number; failures: number }
  | { phase: "merging" }
  | { phase: "done"; result: Result };

export interface Result {
  /** Lines of `key TAB value` in ascending order of key (bytes); value is JSON. */
  blob: Blob;
  lines: number;
  keys: number;
  bytes: number;
  /** From the submission to the result. */
  seconds: number;
}

/** An attempt that failed. */
export interface TaskFailure {
  stage: string;
  task: number;
  /** The file, where one is to blame. */
  input: string | undefined;
  why: string;
  /** The beginning of the worker's key. */
  worker: string;
  retriesLeft: number;
}

export interface Diagnostic {
  /** Counted from 1. */
  line: number;
  column: number;
  severity: "error" | "warning" | "note";
  text: string;
}

/** The source does not compile; the message is what clang wrote. */
export class CompileError extends Error {
  override name = "CompileError";
  readonly diagnostics: Diagnostic[];

  constructor(text: string) {
    super(text);
    this.diagnostics = diagnosticsOf(text);
  }
}

/** A job that gave no result; named "JobCancelled" if it was cancelled. */
export class JobError extends Error {
  override name = "JobError";
}

/** Failed attempts that are remembered. */
const FAILURES = 100;

/** clang's words by line: `job.cpp:3:7: error: …`. */
export function diagnosticsOf(text: string): Diagnostic[] {
  const found = text.matchAll(/^[^\n:]*:(\d+):(\d+): (?:fatal )?(error|warning|note): (.*)$/gm);
  return Array.from(found, ([, line, column, severity, what]) => ({
    line: Number(line),
    column: Number(column),
    severity: severity as Diagnostic["severity"],
    text: what ?? "",
  }));
}

/** What the engine's side tells, as `webmesh run --json` does. */
type Told =
  | { event: "phase"; text: string }
  | { event: "warnings" | "diagnostics"; text: string }
  | { event: "submitted"; job: string }
  | {
      event: "progress";
      stages: { name: string; done: number; tasks: number; per_second: number | null; seconds_left: number | null }[];
      workers: number;
      shufflers: number;
      failures: number;
    }
  | {
      event: "task_failed";
      stage: string;
      task: number;
      document: number | null;
      why: string;
      worker: string;
      retries_left: number;
    }
  | { event: "ended"; outcome: "done" | "cancelled" | "failed"; why: string | null };

/** A job of this tab's own. */
export class Job {
  #id = "";
  #warnings = "";
  #failures: TaskFailure[] = [];
  #latest: Progress = { phase: "compiling", bytes: 0, of: 0 };
  #over = false;
  #listeners = new Set<() => void>();
  #result: Promise<Result>;
  #unwanted: Promise<void>;
  #cancel: () => void = () => {};
  #isCancelled = false;
  /** Ready when the files of all failures are known. */
  #naming: Promise<unknown> = Promise.resolve();
  /** What clang said of a source that does not compile. */
  #diagnostics = "";

  /** @internal */
  constructor(tab: Tab, storage: Storage, options: SubmitOptions) {
    this.#unwanted = new Promise((resolve) => {
      this.#cancel = () => {
        this.#isCancelled = true;
        resolve();
      };
    });
    this.#result = this.#run(tab, storage, options).finally(() => {
      this.#over = true;
      this.#wake();
    });
    // Whoever wants to know asks for the result; nobody has to.
    this.#result.catch(() => {});
  }

  /** Known once it was announced; "" before. 64 hex digits. */
  get id(): string {
    return this.#id;
  }

  /** What clang had to say of a job that it compiled. */
  get warnings(): string {
    return this.#warnings;
  }

  /** Failed attempts, the newest last; beyond a hundred, the oldest are forgotten. */
  get failures(): readonly TaskFailure[] {
    return this.#failures;
  }

  /** How far it is, each time it goes on; ends with the job. A slow reader misses what is old. */
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

  /** The result, or why there is none: a {@link CompileError} or a {@link JobError}. */
  result(): Promise<Result> {
    return this.#result;
  }

  /** Takes it back. Ready when it has ended, which it may have done before. */
  async cancel(): Promise<void> {
    this.#cancel();
    await this.#result.catch(() => {});
  }

  async #run(tab: Tab, storage: Storage, options: SubmitOptions): Promise<Result> {
    const started = performance.now();
    const name = options.name ?? "job.cpp";
    const { inputs = [], chunk, wholeFiles, documentsPerTask, tasks } = options;
    const planning = storage.plan(inputs, { chunk, wholeFiles, documentsPerTask, tasks }, (bytes, of) => {
      this.#show({ phase: "reading", bytes, of });
    });
    let plan: Plan | undefined;
    let compiled: CompiledJob | undefined;
    try {
      const tell = (line: string) => this.#told(JSON.parse(line) as Told, storage, plan);
      const compiling = tab.compile(name, options.source, tell).catch((error: unknown) => {
        throw this.#diagnostics === "" ? new JobError(wordsOf(error)) : new CompileError(this.#diagnostics);
      });
      // The one that fails first says why; the other's end is waited for, so that nothing is left of it.
      const [compile, read] = await Promise.allSettled([compiling, planning]);
      if (compile.status === "fulfilled") compiled = compile.value;
      if (read.status === "fulfilled") plan = read.value;
      if (compile.status === "rejected") throw compile.reason;
      if (plan === undefined || compiled === undefined) throw new JobError(wordsOf((read as PromiseRejectedResult).reason));
      this.#stopIfCancelled();
      const { partitions, replicas, retries, taskMillis, taskMemory } = options;
      const spec = JSON.stringify({ name, partitions, replicas, retries, taskMillis, taskMemory, plan });
      const id = await tab.submit(compiled, spec, this.#unwanted, tell).catch(async (error: unknown) => {
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
      compiled?.free();
      if (plan !== undefined) void storage.dropInputs(plan.inputs).catch(() => {});
    }
  }

  #stopIfCancelled(): void {
    if (!this.#isCancelled) return;
    const error = new JobError("the job was cancelled");
    error.name = "JobCancelled";
    throw error;
  }

  /** What ended the job, with the name of the file that did. */
  #lastFailure(): string | undefined {
    const last = this.#failures.at(-1);
    if (last?.retriesLeft !== 0 || last.input === undefined) return undefined;
    return `the job failed: ${last.stage} of ${last.input}: ${last.why}`;
  }

  #told(told: Told, storage: Storage, plan: Plan | undefined): void {
    switch (told.event) {
      case "warnings":
        this.#warnings = told.text;
        break;
      case "diagnostics":
        this.#diagnostics = told.text;
        break;
      case "submitted":
        this.#id = told.job;
        break;
      case "progress": {
        const stages = told.stages.map(({ name, done, tasks, per_second, seconds_left }) => {
          return { name, done, tasks, perSecond: per_second ?? 0, secondsLeft: seconds_left };
        });
        const { workers, shufflers, failures } = told;
        this.#show({ phase: "running", stages, workers, shufflers, failures });
        break;
      }
      case "task_failed": {
        const { stage, task, document, why, worker, retries_left } = told;
        const failure: TaskFailure = { stage, task, input: undefined, why, worker, retriesLeft: retries_left };
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
  return error instanceof Error ? error.message : String(error);
}
