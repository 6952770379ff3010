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
  /** Documents that one task is given. Default: some 512 KiB of them. */
  documentsPerTask?: number;
  /** Parts in which intermediate data lie. Default: by the size of the inputs. */
  partitions?: number;
  /** Copies of intermediate data, each on a peer of its own. Default: 2. */
  replicas?: number;
  /** How often a task that failed is tried again. Default: 3. */
  retries?: number;
  /** Milliseconds that a task may take. Default: 30,000. */
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
  /**
   * The source is compiled while the files are read: "reading" once it is compiled. `bytes` and `of` count what is read,
   * in both phases. `said` tells what is waited for, if anything is: while the job runs, once no task has ended for some
   * seconds.
   */
  | { phase: "compiling" | "reading"; bytes: number; of: number; said?: string }
  | { phase: "running"; stages: StageProgress[]; workers: number; shufflers: number; failures: number; said?: string }
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
  /**
   * What there is to tell of the inputs, in sentences: files that are compressed, or in UTF-16; quotes of a table that do
   * not pair up. Known once they are read; the job runs all the same.
   */
  readonly notes: readonly string[];
  /** Failed attempts, the newest last; beyond a hundred, the oldest are forgotten. */
  readonly failures: readonly TaskFailure[];
  /** How far it is, each time it goes on; ends with the job. A slow reader misses what is old. */
  progress(): AsyncIterable<Progress>;
  /** The result, or why there is none: a {@link CompileError} or a {@link JobError}. */
  result(): Promise<Result>;
  /** Takes it back. Ready when it has ended, which it may have done before. */
  cancel(): Promise<void>;
}
