// What a job is to whoever submits it: what it is made of, how far it is, what came of it.

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
  documentsPerTask?: number;
  partitions?: number;
  /** Default: 1. */
  replicas?: number;
  /** Default: 3. */
  retries?: number;
  /** Default: 60,000. */
  taskMillis?: number;
  /** Bytes. Default: 512 MiB. */
  taskMemory?: number;
}

export interface StageProgress {
  name: string;
  done: number;
  tasks: number;
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
  seconds: number;
}

export interface Diagnostic {
  line: number;
  column: number;
  severity: "error" | "warning" | "note";
  text: string;
}

/** A failed attempt at a task. */
export interface TaskFailure {
  stage: string;
  task: number;
  input: string;
  why: string;
  worker: string;
  retriesLeft: number;
}

/** The source does not compile; the message is as clang wrote it, without colours. */
export class CompileError extends Error {
  override name = "CompileError";

  constructor(
    message: string,
    readonly diagnostics: Diagnostic[],
  ) {
    super(message);
  }
}

/** A job that failed, in words, or that was cancelled: then its name is "JobCancelled". */
export class JobError extends Error {
  override name = "JobError";
}

export interface Job {
  /** Known once it was announced; "" before. 64 hex digits. */
  readonly id: string;
  /** What clang had to say of a job that it compiled. */
  readonly warnings: string;
  /** Failed attempts, the newest last, at most 100. */
  readonly failures: readonly TaskFailure[];
  progress(): AsyncIterable<Progress>;
  result(): Promise<Result>;
  cancel(): Promise<void>;
}
