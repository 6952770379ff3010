// A fake mesh for tests of the page's layout, tables and texts. The page is bundled with this module in place of the
// library's; it is not part of any build for users.
//
// The first line of a job's source says what the job does: `// fake: done 3`, `// fake: slow`, `// fake: error`, …

import { diagnosticsOf } from "../../src/clang.js";
import { CompileError, type Job, JobError, type Progress, type Result, type SubmitOptions } from "../../src/job.js";
import type { JoinOptions, Peer, Status } from "../../src/mesh.js";

export class JoinError extends Error {
  override name = "JoinError";
}

export class CrashError extends Error {
  override name = "CrashError";
}

/** What a test makes fail next. */
declare global {
  var wrong: "crash" | "join" | "leave" | undefined;
  /** The number of threads with which the last tab joined, and later changes. */
  var threadsGiven: number[];
  /** The names of the files of the last submitted job. */
  var submittedFiles: string[];
}

const ALPHABET = "abcdefghijklmnopqrstuvwxyz";

/** Words with counts, in the order of their bytes, as many as requested. */
function words(lines: number): Blob {
  let text = "";
  for (let i = 0; i < lines; i++) {
    const digits = [];
    for (let place = 26 ** 4; place >= 1; place /= 26) digits.push(ALPHABET[Math.floor(i / place) % 26]);
    text += `${digits.join("")}\t${((i * 7919) % 100_003) + 1}\n`;
  }
  return new Blob([text]);
}

function result(blob: Blob, lines: number): Result {
  return { blob, lines, keys: lines, bytes: blob.size, seconds: 3.2 };
}

const FAILURE = {
  stage: "map",
  task: 12,
  input: "texts/harbour.txt",
  why: "std::out_of_range: vector",
  worker: "12D3KooWSy4w5LGPUa1BvYtNGP87Cogc7J561fPPFEMqmptS9d5M",
  retriesLeft: 2,
};

class FakeJob implements Job {
  id = "";
  warnings = "";
  failures: (typeof FAILURE)[] = [];
  notes: string[] = [];
  #options: SubmitOptions;
  #kind: string;
  #number: number;
  #cancel = () => {};
  #cancelled = new Promise<void>((resolve) => {
    this.#cancel = resolve;
  });
  #outcome: Promise<Result>;
  #settle: { resolve(result: Result): void; reject(error: Error): void } = { resolve() {}, reject() {} };

  constructor(options: SubmitOptions) {
    this.#options = options;
    const [, kind, number] = /\/\/ fake: (\w+) ?(\d*)/.exec(options.source) ?? [];
    this.#kind = kind ?? "done";
    this.#number = Number(number || "1000");
    this.#outcome = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  async *progress(): AsyncIterable<Progress> {
    const of = this.#options.inputs?.reduce((sum, { size }) => sum + size, 0) ?? 0;
    yield { phase: "compiling", bytes: of / 2, of };
    // Its files are read, and it is still being compiled.
    if (this.#kind === "compiling") {
      yield { phase: "compiling", bytes: of, of, said: "waiting for a compiler" };
      await this.#cancelled;
    }
    if (this.#kind === "error") {
      const text = "no matching function for call to 'split'";
      const diagnostics = [
        { line: 3, column: 3, severity: "error" as const, text },
        { line: 5, column: 7, severity: "warning" as const, text: "unused variable 'n'" },
      ];
      this.#settle.reject(new CompileError(`job.cpp:3:3: error: ${text}`, diagnostics));
      return;
    }
    if (this.#kind === "signature") {
      const text =
        "job.cpp:2:5: error: static assertion failed: WebMesh: reduce takes (string_view, Values<V>&, Emitter<R>&)\n" +
        "include/webmesh/job.hpp:80:3: error: no member named 'Value' in 'webmesh::detail::NotThisForm'\n";
      this.#settle.reject(new CompileError(text, diagnosticsOf(text)));
      return;
    }
    if (this.#kind === "notes") {
      this.notes = this.#options.inputs?.map(({ name }) => `${name} is compressed (gzip), and jobs get the compressed bytes`) ?? [];
    }
    this.id = "ab".repeat(32);
    this.failures = this.#kind === "slow" ? [FAILURE] : [];
    const map = { name: "map", done: 31, tasks: 64, perSecond: 12.3, secondsLeft: 3 };
    const reduce = { name: "reduce", done: 0, tasks: 16, perSecond: 0, secondsLeft: null };
    yield { phase: "running", stages: [map, reduce], workers: 5, shufflers: 2, failures: this.failures.length, revoked: 0 };
    if (this.#kind === "slow") {
      await this.#cancelled;
      const error = new JobError("cancelled");
      error.name = "JobCancelled";
      this.#settle.reject(error);
      return;
    }
    if (this.#kind === "fail") {
      this.#settle.reject(new JobError("map 12 failed: out of memory; ask for less with `taskMemory`"));
      return;
    }
    yield { phase: "merging" };
    const made =
      this.#kind === "pi" ? result(new Blob(["pi\t[3.14159,2,3]\n"]), 1) : result(words(this.#number), this.#number);
    if (this.#kind === "warn") this.warnings = "job.cpp:2:5: warning: unused variable 'x' [-Wunused-variable]\n";
    yield { phase: "done", result: made };
    this.#settle.resolve(made);
  }

  result(): Promise<Result> {
    return this.#outcome;
  }

  async cancel(): Promise<void> {
    this.#cancel();
  }
}

const RELAY = "12D3KooWSy4w5LGPUa1BvYtNGP87Cogc7J561fPPFEMqmptSCkPx";

const peer = (end: string, kind: Peer["kind"], roles: string[], link: Partial<Peer> = {}): Peer => ({
  peer: `12D3KooWSy4w5LGPUa1BvYtNGP87Cogc7J561fPPFEMqmptS${end}`,
  kind,
  roles: Object.fromEntries(roles.map((role) => [role, true])),
  threads: 2,
  addresses: [],
  agent: "fake",
  connected: true,
  relay: null,
  quietMillis: null,
  ...link,
});

export class Mesh {
  readonly peer = "12D3KooWSy4w5LGPUa1BvYtNGP87Cogc7J561fPPFEMqmptS9d5M";
  #crash: (why: CrashError) => void = () => {};
  readonly closed = new Promise<void>((_, reject) => {
    this.#crash = reject;
  });

  threads: number;

  constructor(options: JoinOptions) {
    this.threads = options.threads ?? 1;
    globalThis.threadsGiven = [this.threads];
  }

  async setThreads(threads: number): Promise<void> {
    this.threads = threads;
    globalThis.threadsGiven.push(threads);
  }

  async status(): Promise<Status> {
    if (globalThis.wrong === "crash") {
      const crash = new CrashError("the program of this tab stopped because of a fault in it");
      this.#crash(crash);
      throw crash;
    }
    const peers = [
      peer("CkPx", "node", ["worker", "shuffler"]),
      peer("3wox", "tab", ["worker"], { relay: RELAY, quietMillis: 20 }),
      peer("sBuF", "submitter", []),
    ];
    const given = { failures: 0, tasks: 78, millis: 2300, gigabyteSeconds: 0.4 };
    return { memory: 0, peer: this.peer, connected: peers.length, peers, counters: {}, given };
  }

  submit(options: SubmitOptions): Job {
    globalThis.submittedFiles = (options.inputs ?? []).map(({ webkitRelativePath, name }) => webkitRelativePath || name);
    return new FakeJob(options);
  }

  async leave(): Promise<void> {
    if (globalThis.wrong === "leave") throw new Error("a test said so");
  }
}

export function newIdentity(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(32));
}

export async function join(options: JoinOptions = {}): Promise<Mesh> {
  if (globalThis.wrong === "join") throw new Error("a test said so");
  return new Mesh(options);
}
