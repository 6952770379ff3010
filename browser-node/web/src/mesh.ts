// WebMesh as a library: `join` makes this tab a peer.

import init, { newIdentity as randomIdentity, Tab } from "../wasm/webmesh_browser_node.js";
import { JoinError, noAnswer, type Way, wayTo } from "./bootstrap.js";
import { type Job, JobError, type SubmitOptions } from "./job.js";
import { keptModules } from "./module-cache.js";
import { OwnJob } from "./own-job.js";
import { type Given, Runner } from "./runner.js";
import { Storage } from "./storage.js";

export { JoinError } from "./bootstrap.js";
export {
  CompileError,
  type Diagnostic,
  type Job,
  JobError,
  type Progress,
  type Result,
  type StageProgress,
  type SubmitOptions,
  type TaskFailure,
} from "./job.js";

/** A tab that has no connection for so long tries WebSocket: WebRTC connects in a fraction of it. */
const FALLBACK_MILLIS = 4_000;
/** A node that is gone is not looked for more often than so by all of its tabs. */
const LONGEST_PAUSE_MILLIS = 60_000;

export interface JoinOptions {
  /**
   * Where the mesh is: a URL whose `/.well-known/webmesh.json` names a node's addresses, or such addresses
   * themselves. Default: where the page came from.
   */
  bootstrap?: string | URL | readonly string[];
  /** Workers that run tasks; 0 to submit only. Default: all cores but one. */
  threads?: number;
  /** 32 bytes that make this peer the same as before. Default: a new one. */
  identity?: Uint8Array;
}

/** A peer that this tab knows. */
export interface Peer {
  peer: string;
  kind: "node" | "bootstrap" | "submitter" | "tab";
  roles: Record<string, boolean>;
  threads: number;
  agent: string;
  /** Where it is reached; none yet for a tab that has no relay. */
  addresses: string[];
  connected: boolean;
}

export interface Status {
  peer: string;
  /** Peers with a connection to this tab. */
  connected: number;
  peers: Peer[];
  counters: Record<string, number>;
  /** Bytes of memory that the program has taken, of all peers of this page together; Workers not counted. */
  memory: number;
  /** What this tab did for others. */
  given: Given;
}

/** This tab as a peer of the mesh. */
export class Mesh {
  #tab: Tab;
  #runner: Runner;
  #storage: Storage;
  #jobs = new Set<OwnJob>();
  #left = false;

  /** @internal */
  constructor(tab: Tab, runner: Runner, storage: Storage, { fallback }: Way) {
    this.#tab = tab;
    this.#runner = runner;
    this.#storage = storage;
    if (fallback !== undefined) void this.#fallBack(fallback);
  }

  /** Whenever there is no connection, tries the way that works where UDP does not, ever more rarely. */
  async #fallBack(address: string): Promise<void> {
    for (let pause = FALLBACK_MILLIS; ; ) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (this.#left) return;
      if (this.#tab.connected > 0) {
        pause = FALLBACK_MILLIS;
        continue;
      }
      // Whoever looks at the status sees whether it worked.
      await this.#tab.dial(address).catch(() => {});
      pause = Math.min(2 * pause, LONGEST_PAUSE_MILLIS);
    }
  }

  /** This peer's id. */
  get peer(): string {
    return this.#tab.peer;
  }

  async status(): Promise<Status> {
    const status = JSON.parse(await this.#tab.status()) as Omit<Status, "given" | "memory">;
    return { ...status, memory: memory?.buffer.byteLength ?? 0, given: { ...this.#runner.given } };
  }

  /** Submits a job. It begins at once; whatever may go wrong is told by {@link Job.result}. */
  submit(options: SubmitOptions): Job {
    if (this.#left) throw new JobError("this tab has left the mesh");
    const job = new OwnJob(this.#tab, this.#storage, options);
    this.#jobs.add(job);
    const over = () => this.#jobs.delete(job);
    job.result().then(over, over);
    return job;
  }

  /** Leaves in order: own jobs cancelled, claims released, goodbyes said, Workers ended. */
  async leave(): Promise<void> {
    if (this.#left) return;
    this.#left = true;
    for (const job of this.#jobs) void job.cancel();
    try {
      await this.#tab.leave();
    } finally {
      this.#runner.close();
      this.#storage.close();
      // Each holds the other, across the border to the program: neither would ever be collected.
      this.#runner.results = this.#storage.answered = this.#storage.broke = undefined;
    }
  }
}

let loaded: Promise<WebAssembly.Module> | undefined;
let memory: WebAssembly.Memory | undefined;

/** The program, compiled once for the page and its storage Worker. */
async function load(): Promise<WebAssembly.Module> {
  const url = new URL("./webmesh.wasm", import.meta.url);
  loaded ??= WebAssembly.compileStreaming(fetch(url)).then(async (program) => {
    ({ memory } = await init({ module_or_path: program }));
    return program;
  });
  try {
    return await loaded;
  } catch (error) {
    // The next try asks again.
    loaded = undefined;
    throw error instanceof TypeError ? new JoinError(noAnswer(url)) : error;
  }
}

/** A new identity. Who keeps it can be the same peer again. */
export async function newIdentity(): Promise<Uint8Array> {
  await load();
  return randomIdentity();
}

/** Joins the mesh. Ready when this tab is a peer; connections follow. */
export async function join(options: JoinOptions = {}): Promise<Mesh> {
  const way = await wayTo(options.bootstrap ?? new URL("/", location.href));
  const program = await load();
  const threads = options.threads ?? Math.max(1, navigator.hardwareConcurrency - 1);
  const runner = new Runner(threads, new URL("./guest.js", import.meta.url));
  const storage = new Storage(program, new URL("./storage-worker.js", import.meta.url));
  const identity = options.identity ?? randomIdentity();
  const tab = await Tab.join(identity, way.addresses, threads, runner as never, storage as never);
  runner.results = {
    finished: (...result) => tab.finished(...result),
    failed: (...result) => tab.failed(...result),
  };
  storage.answered = (head, body) => tab.stored(head, body);
  storage.broke = (why) => tab.storageBroke(why);
  for (const module of await keptModules()) tab.keep(module);
  return new Mesh(tab, runner, storage, way);
}
