// WebMesh as a library: `join` makes this tab a peer.

import type { Tab } from "../wasm/webmesh_browser_node.js";
import { type Assets, assetsIn, fetchScript } from "./assets.js";
import { type Route, routeTo } from "./bootstrap.js";
import { requirePage } from "./environment.js";
import type { Given } from "./given.js";
import { CrashError } from "./guard.js";
import { type Job, JobError, type SubmitOptions } from "./job.js";
import { keptModules } from "./module-cache.js";
import { OwnJob } from "./own-job.js";
import { type Program, program } from "./program.js";
import { Runner } from "./runner.js";
import { Storage } from "./storage.js";

export { AssetError } from "./assets.js";
export { JoinError } from "./bootstrap.js";
export type { Given } from "./given.js";
export { CrashError } from "./guard.js";
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

/** How long a tab without a connection waits before it tries WebSocket: WebRTC connects in a fraction of that. */
const FALLBACK_MILLIS = 4_000;
/** Maximum pause between a tab's attempts to reach a node that is gone. */
const MAX_PAUSE_MILLIS = 60_000;
/** Timeout for leaving: a working program says goodbye and closes its connections in two seconds (`GOODBYE_TIMEOUT`,
 * node/src/net/limits.rs). */
const LEAVE_MILLIS = 10_000;
/** Maximum number of threads in an advert (`Advert::threads`, protocol/src/membership.rs). */
const MAX_THREADS = 0xffff;

export interface JoinOptions {
  /**
   * The entry to the mesh: a URL whose `/.well-known/webmesh.json` lists a node's addresses, or such addresses.
   * Default: the origin of the page.
   */
  bootstrap?: string | URL | readonly string[];
  /** Number of Workers that run tasks; 0 to submit only. Default: all cores but one. */
  threads?: number;
  /** 32 secret bytes that make this the same peer as before. Default: a new identity. */
  identity?: Uint8Array;
  /**
   * URL of the folder in this page's origin with webmesh.wasm, guest.js and storage-worker.js. Default: where Vite or
   * webpack put them, or next to this module. Files loaded by the first join of a page are used by later ones too.
   */
  assets?: string | URL;
}

/** A peer that this tab knows. */
export interface Peer {
  peer: string;
  kind: "node" | "bootstrap" | "submitter" | "tab";
  roles: Record<string, boolean>;
  threads: number;
  agent: string;
  /** Its addresses; empty for a tab that has no relay yet. */
  addresses: string[];
  connected: boolean;
  /** The peer that relays the connection; null for a direct connection, and without a connection. */
  relay: string | null;
  /** Milliseconds since a byte of a request or an answer was last moved between the two; null after a long pause. */
  quietMillis: number | null;
}

export interface Status {
  peer: string;
  /** Number of peers connected to this tab. */
  connected: number;
  peers: Peer[];
  counters: Record<string, number>;
  /** Bytes of memory of the program, for all peers of this page together; Workers not counted. */
  memory: number;
  /** This tab's contribution. */
  given: Given;
}

/** This tab as a peer of the mesh. */
export class Mesh {
  /** This peer's id. */
  readonly peer: string;
  /** Resolves when this tab has left; rejects with a {@link CrashError} if its program crashed instead. */
  readonly closed: Promise<void>;
  #program: Program;
  #tab: Tab;
  #runner: Runner;
  #storage: Storage;
  #jobs = new Set<OwnJob>();
  /** Whether it is leaving, or cannot stay. */
  #left = false;
  #isClosed = false;
  #crash: CrashError | undefined;
  #goodbye: () => void = () => {};
  #jobEnds: URL | undefined;

  /** @internal */
  constructor(program: Program, tab: Tab, runner: Runner, storage: Storage, { fallback, jobEnds }: Route) {
    this.peer = tab.peer;
    this.#program = program;
    this.#tab = tab;
    this.#runner = runner;
    this.#storage = storage;
    this.#jobEnds = jobEnds;
    addEventListener("pagehide", this.#pageHides);
    const goodbye = new Promise<void>((resolve) => {
      this.#goodbye = resolve;
    });
    this.closed = program.guard.until(goodbye);
    this.closed.then(
      () => this.#end(),
      (crash: CrashError) => this.#lost(crash),
    );
    if (fallback !== undefined) void this.#fallBack(fallback);
  }

  /** Whenever there is no connection, tries the address that works without UDP, at growing intervals. */
  async #fallBack(address: string): Promise<void> {
    for (let pause = FALLBACK_MILLIS; ; ) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (this.#left) return;
      if (this.#tab.connected > 0) {
        pause = FALLBACK_MILLIS;
        continue;
      }
      // The status shows whether it worked.
      await this.#tab.dial(address).catch(() => {});
      pause = Math.min(2 * pause, MAX_PAUSE_MILLIS);
    }
  }

  async status(): Promise<Status> {
    const { guard, memory } = this.#program;
    const status = JSON.parse(await guard.until(this.#tab.status())) as Omit<Status, "given" | "memory">;
    return { ...status, memory: memory.buffer.byteLength, given: { ...this.#runner.given } };
  }

  /** Number of Workers that run tasks of others. */
  get threads(): number {
    return this.#runner.threads;
  }

  /**
   * Changes the number of Workers that run tasks, at once: 0 to submit only. The surplus ones are stopped, and their
   * tasks are left to other peers.
   */
  async setThreads(threads: number): Promise<void> {
    if (!Number.isInteger(threads) || threads < 0 || threads > MAX_THREADS) {
      throw new RangeError(`threads must be a whole number from 0 to ${MAX_THREADS}, not ${threads}`);
    }
    if (this.#crash !== undefined) throw this.#crash;
    if (this.#left) return;
    this.#runner.resize(threads);
    await this.#program.guard.until(this.#tab.setThreads(threads));
  }

  /** Submits a job. It starts at once; errors are reported by {@link Job.result}. */
  submit(options: SubmitOptions): Job {
    if (this.#crash !== undefined) throw new JobError(this.#crash.message, { cause: this.#crash });
    if (this.#left) throw new JobError("this tab has left the mesh");
    const job = new OwnJob(this.#tab, this.#storage, options);
    this.#jobs.add(job);
    const over = () => this.#jobs.delete(job);
    job.result().then(over, over);
    return job;
  }

  /** Leaves in order: cancels own jobs, releases claims, says goodbye, ends Workers. Settles like {@link
   * Mesh.closed}. */
  async leave(): Promise<void> {
    if (!this.#left) {
      this.#left = true;
      for (const job of this.#jobs) void job.cancel();
      // Time while the browser has frozen the page does not count.
      const late = AbortSignal.timeout(LEAVE_MILLIS);
      const { guard } = this.#program;
      late.addEventListener("abort", () => {
        if (!this.#isClosed) guard.stop(new CrashError("the program of this tab does not answer"));
      });
      void this.#tab.leave().then(this.#goodbye);
    }
    await this.closed;
  }

  /**
   * The page is closed, or left: its browser closes its connections before a message could be sent over them, but still
   * sends what is passed to it here. A page that the browser may restore as it was keeps its jobs.
   */
  #pageHides = ({ persisted }: PageTransitionEvent): void => {
    if (persisted) return;
    const ends = this.#tab.endJobs() as Uint8Array<ArrayBuffer>[];
    if (this.#jobEnds !== undefined) for (const end of ends) navigator.sendBeacon(this.#jobEnds, end);
    void this.leave();
  };

  #lost(crash: CrashError): void {
    this.#left = true;
    this.#crash = crash;
    for (const job of this.#jobs) job.fail(new JobError(crash.message, { cause: crash }));
    this.#end();
  }

  #end(): void {
    this.#isClosed = true;
    removeEventListener("pagehide", this.#pageHides);
    // They refer to each other across the boundary to the program, so neither would ever be collected.
    this.#runner.results = this.#storage.answered = this.#storage.failed = undefined;
    this.#runner.close();
    this.#storage.close();
  }
}

/** A new identity: 32 random bytes. With the same ones, a later join is the same peer. */
export function newIdentity(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(32));
}

/**
 * Joins the mesh. Resolves when this tab is a peer; connections follow. Rejects with a {@link JoinError} if it cannot,
 * or with an {@link AssetError} if one of the library's own files cannot be loaded.
 */
export async function join(options: JoinOptions = {}): Promise<Mesh> {
  requirePage();
  const assets = assetsIn(options.assets);
  const threads = options.threads ?? Math.max(1, navigator.hardwareConcurrency - 1);
  const loading = load(assets, threads);
  // Reported below, if the mesh itself can be found.
  loading.catch(() => {});
  const route = await routeTo(options.bootstrap ?? new URL("/", location.href));
  const loaded = await loading;
  const { module, script, guard } = loaded;
  const runner = new Runner(threads, assets.taskWorker);
  const storage = new Storage(module, assets.storageWorker);
  const identity = options.identity ?? newIdentity();
  const tab = await guard.until(script.Tab.join(identity, route.addresses, threads, runner as never, storage as never));
  runner.results = {
    began: (run) => tab.began(run),
    finished: (...result) => tab.finished(...result),
    failed: (...result) => tab.failed(...result),
    returned: (run) => tab.returned(run),
  };
  storage.answered = (head, body) => tab.stored(head, body);
  storage.failed = (why) => tab.storageFailed(why);
  for (const kept of await guard.until(keptModules())) tab.keep(kept);
  return new Mesh(loaded, tab, runner, storage, route);
}

/** The program, after checking that all files that a tab needs later are available. */
async function load(assets: Assets, threads: number): Promise<Program> {
  const scripts = threads > 0 ? [assets.taskWorker, assets.storageWorker] : [assets.storageWorker];
  const fetching = scripts.map((script) => fetchScript(script, assets.remedy));
  const [loaded] = await Promise.all([program(assets), ...fetching]);
  return loaded;
}
