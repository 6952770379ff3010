// A job as its submitter sees it: its options, its progress, its result.

export interface SubmitOptions {
  /** C++ source, as described in docs/writing-jobs.md. */
  source: string;
  /** The job's name in the mesh, and the file name in diagnostics. Default: "job.cpp". */
  name?: string;
  /** Files, read piece by piece when workers request them. Without any, the job's documents are numbers. */
  inputs?: readonly File[];
  /** How many numbers, if there are no inputs. Default: 64. */
  tasks?: number;
  /** Size of the documents into which large files are cut at line ends, in bytes. Default: 512 KiB. */
  chunk?: number;
  /** Whether files stay whole. Default: false. */
  wholeFiles?: boolean;
  /** Number of documents in a task. Default: some 512 KiB of them. */
  documentsPerTask?: number;
  /** Number of partitions of intermediate data. Default: by the size of the inputs. */
  partitions?: number;
  /** Number of copies of intermediate data, each on a different peer. Default: 2. */
  replicas?: number;
  /** Number of retries of a failed task. Default: 3. */
  retries?: number;
  /** Time limit of a task, in milliseconds. Default: 30,000. */
  taskMillis?: number;
  /** Memory limit of a task, in bytes. Default: 512 MiB. */
  taskMemory?: number;
}

export interface StageProgress {
  /** "map" or "reduce". */
  name: string;
  done: number;
  tasks: number;
  /** Tasks a second; 0 until that is known. */
  perSecond: number;
  secondsLeft: number | null;
}

export type Progress =
  /**
   * The source is compiled while the files are read: "reading" once it is compiled. `bytes` and `of` count bytes read,
   * in both phases. `said` says what the job waits for, if anything: while it runs, once no task has ended for some
   * seconds.
   */
  | { phase: "compiling" | "reading"; bytes: number; of: number; said?: string }
  | {
      phase: "running";
      stages: StageProgress[];
      workers: number;
      shufflers: number;
      failures: number;
      /** Number of finished tasks whose results were lost and that run again: the `done` of their stages decreases. */
      revoked: number;
      said?: string;
    }
  | { phase: "merging" }
  | { phase: "done"; result: Result };

export interface Result {
  /** Lines of `key TAB value` in ascending order of key bytes; the value is JSON. */
  blob: Blob;
  lines: number;
  keys: number;
  bytes: number;
  /** Time from the submission to the result. */
  seconds: number;
}

/** A failed attempt of a task. */
export interface TaskFailure {
  stage: string;
  task: number;
  /** The input file that caused it, if known. */
  input: string | undefined;
  why: string;
  /** The first digits of the worker's key. */
  worker: string;
  retriesLeft: number;
}

export interface Diagnostic {
  /** Line number, counted from 1. */
  line: number;
  column: number;
  severity: "error" | "warning" | "note";
  text: string;
}

/** The source does not compile; the message is clang's text, without colours. */
export class CompileError extends Error {
  override name = "CompileError";

  constructor(
    message: string,
    readonly diagnostics: Diagnostic[],
  ) {
    super(message);
  }
}

/** A job that failed or was cancelled; if cancelled, its name is "JobCancelled". */
export class JobError extends Error {
  override name = "JobError";
}

export interface Job {
  /** The job's id, 64 hex digits; "" until it is announced. */
  readonly id: string;
  /** clang's warnings. */
  readonly warnings: string;
  /**
   * Notes on the inputs, as sentences: files that are compressed, or in UTF-16; unbalanced quotes in a table. Complete
   * once the inputs are read; the job runs all the same.
   */
  readonly notes: readonly string[];
  /** Failed attempts, oldest first; only the last hundred are kept. */
  readonly failures: readonly TaskFailure[];
  /** The job's progress, at each change; ends with the job. A slow reader misses older values. */
  progress(): AsyncIterable<Progress>;
  /** The result; rejects with a {@link CompileError} or a {@link JobError}. */
  result(): Promise<Result>;
  /** Cancels the job. Resolves when it has ended, for whatever reason. */
  cancel(): Promise<void>;
}
