// What the tests use: nodes, jobs, and browsers with the page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

export const root = fileURLToPath(new URL("../../..", import.meta.url));
const release = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "release");

/** Disables what version 1 of WebRTC-direct does to an offer, as Chromium will one day by default. */
export const NO_MANGLING = "--force-fieldtrials=WebRTC-NoSdpMangleUfrag/Enabled/";
/** Host on which nodes listen. Firefox leaves loopback out: the transport's in-namespace script uses another
 * address. */
const HOST = process.env.INTEROP_HOST ?? "127.0.0.1";
/** Timeout of every wait, on however busy a machine. */
const PATIENCE_MILLIS = 90_000;

export const scratch = mkdtempSync(join(tmpdir(), "webmesh-tab-"));
const running = new Set();
process.on("exit", () => {
  for (const node of running) node.kill("SIGKILL");
  rmSync(scratch, { recursive: true, force: true });
});
let folders = 0;

function program(name) {
  const path = join(release, name);
  if (!existsSync(path)) throw new Error(`${path} is not built: make build does it`);
  return path;
}

/** Starts a node with the page; without the role of worker, tabs do all the work. */
export async function startNode(roles = "shuffler,compiler,relay", ...more) {
  const listen = [`/ip4/${HOST}/udp/0/webrtc-direct`, `/ip4/${HOST}/tcp/0`].flatMap((address) => ["--listen", address]);
  const folder = join(scratch, `node-${folders++}`);
  const args = ["node", ...listen, "--http", `${HOST}:0`, "--data", folder, "--roles", roles, ...more];
  const process = spawn(program("webmesh"), args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(process, "exit");
  running.add(process);
  const lines = createInterface({ input: process.stdout });
  const ready = JSON.parse((await Promise.race([once(lines, "line"), ended.then(() => ["{}"])]))[0]);
  if (ready.event !== "ready") throw new Error("the node ended before it was ready");
  // A node left behind by a failed test must not keep the process alive.
  process.unref();
  process.stdout.unref();
  return {
    ...ready,
    tcp: ready.addresses.find((address) => address.includes("/tcp/")),
    async end() {
      running.delete(process);
      process.ref();
      process.kill("SIGKILL");
      await ended;
    },
  };
}

/** Submits a job to a node's mesh; `events` are its JSON events, `output` is the file for its result. */
export function submit(node, job, inputs, ...more) {
  const output = join(scratch, `result-${folders++}`);
  const args = ["submit", job, ...inputs, "--bootstrap", node.tcp, "-o", output, "--json", "--data", join(scratch, "submitter")];
  const process = spawn(program("webmesh"), [...args, ...more], { stdio: ["ignore", "ignore", "pipe"] });
  const events = [];
  let said = "";
  const waiting = [];
  createInterface({ input: process.stderr }).on("line", (line) => {
    said += `${line}\n`;
    try {
      events.push(JSON.parse(line));
    } catch {
      return;
    }
    for (const wait of waiting) wait();
  });
  const ended = once(process, "close").then(([status]) => status);
  return {
    output,
    ended: within(ended, () => `the job does not end:\n${said.slice(-2000)}`),
    get said() {
      return said;
    },
    /** Resolves when an event satisfies `is`. */
    heard(is) {
      return within(
        new Promise((resolve) => {
          const look = () => events.some(is) && resolve();
          waiting.push(look);
          look();
        }),
        () => `not heard:\n${said.slice(-2000)}`,
      );
    },
    cancel: () => process.kill("SIGINT"),
  };
}

/** The output of `webmesh jobs` or `webmesh peers` for a node's mesh. */
export async function list(node, what) {
  const args = [what, "--bootstrap", node.tcp, "--json", "--data", join(scratch, "submitter")];
  const asked = spawn(program("webmesh"), args, { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  asked.stdout.on("data", (data) => {
    said += data;
  });
  await within(once(asked, "close"), () => `no list of ${what}`);
  return JSON.parse(said);
}

function within(promise, why) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(why())), PATIENCE_MILLIS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Launches a quiet browser that works in a container. */
export async function launch(kind, ...flags) {
  const firefox = {
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
  };
  const quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  // A container's /dev/shm is small, and its root user has no sandbox.
  const contained = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic"];
  const chromium = {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [...quiet, ...contained, ...flags],
  };
  return puppeteer.launch({ headless: true, protocolTimeout: 300_000, ...(kind === "firefox" ? firefox : chromium) });
}

/** Opens the page; it does not join yet. */
export async function open(browser, node, hash = "") {
  const page = await browser.newPage();
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && page.errors.push(message.text()));
  await page.goto(`${node.http}/${hash}`);
  return page;
}

/** A name that resolves to this machine, which browsers trust no more than one in a home network. */
const ELSEWHERE = "webmesh.test";
/** With this flag, Chromium can reach nodes `elsewhere`. */
export const REACH_ELSEWHERE = `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`;
/** The same node, over plain HTTP from what seems to be another machine. */
export const elsewhere = (node) => ({ http: node.http.replace("127.0.0.1", ELSEWHERE) });

/** A page in a fresh browser profile that confirms every dialog. */
export async function fresh(browser, node, hash = "") {
  return opened(await browser.createBrowserContext(), node, hash);
}

/** Another page in the same profile, which confirms every dialog. */
export async function opened(context, node, hash = "") {
  const page = await open(context, node, hash);
  page.on("dialog", (dialog) => dialog.accept());
  await page.setViewport({ width: 1200, height: 800 });
  return page;
}

/** Closes all pages of a profile; this one must not have logged an error. */
export async function closed(page) {
  assert.deepEqual(page.errors, []);
  await page.browserContext().close();
}

/** Moves the slider of threads, on a machine with eight. */
export function slide(page, threads) {
  return page.$eval(
    "#threads",
    (slider, threads) => {
      slider.max = 8;
      slider.value = threads;
      slider.dispatchEvent(new Event("input"));
    },
    threads,
  );
}

/** Opens the page, unless it is open, presses the button, and waits until the tab is connected. */
export async function joined(browser, node, threads = 1, opened = undefined) {
  const page = opened ?? (await open(browser, node));
  await slide(page, threads);
  await page.click("#join-button");
  await shows(page, "#connected", (text) => Number(text) > 0);
  return page;
}

/**
 * Makes it possible to crash the program of a page's tab, by calling the result: it overwrites the program's memory, so
 * that the next call traps. Resolves once a trap was observed. Must be called before the tab joins.
 */
export async function crashable(page) {
  await page.evaluate(() => {
    const { instantiate } = WebAssembly;
    WebAssembly.instantiate = async (...given) => {
      const made = await instantiate(...given);
      globalThis.programMemory = made.exports.memory;
      return made;
    };
  });
  return async () => {
    const trapped = new Promise((resolve) => {
      page.once("pageerror", resolve);
      page.on("console", (message) => message.type() === "error" && resolve());
    });
    await page.evaluate(() => void new Uint8Array(globalThis.programMemory.buffer).fill(0xff));
    await within(trapped, () => "the program does not trap");
  };
}

/** Joins with the library rather than the button, as `meshes`: resolves when each of the peers is connected. */
export async function joins(page, peers, threads) {
  await page.evaluate(
    async (peers, threads) => {
      const { join } = await import("/mesh.js");
      globalThis.meshes = await Promise.all(Array.from({ length: peers }, () => join({ threads })));
    },
    peers,
    threads,
  );
  const areConnected = async () => {
    const all = await Promise.all(globalThis.meshes.map((mesh) => mesh.status()));
    return all.every(({ connected }) => connected > 0);
  };
  await page.waitForFunction(areConnected, { timeout: PATIENCE_MILLIS });
}

/** Resolves with an element's text once the text is as expected. */
export async function shows(page, selector, wanted) {
  const text = () => page.$eval(selector, (element) => element.textContent);
  const until = performance.now() + PATIENCE_MILLIS;
  for (let now = await text(); ; now = await text()) {
    if (wanted(now)) return now;
    if (performance.now() > until) throw new Error(`${selector} shows "${now}"; errors: ${page.errors.join("; ")}`);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
  }
}

/** A text of some megabytes, determined by the seed. */
export function text(words, seed = 2019) {
  let state = seed;
  const word = () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return `w${Math.floor(10_000 ** ((state >>> 8) / 2 ** 24))}`;
  };
  const lines = Array.from({ length: words / 10 }, () => Array.from({ length: 10 }, word).join(" "));
  return Buffer.from(`${lines.join("\n")}\n`);
}

/** Counts the words of a text as the examples define them. */
export function countWords(bytes) {
  const counts = new Map();
  for (const word of bytes.toString("latin1").match(/[A-Za-z0-9\x80-\xff]+/g) ?? []) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const lines = [...counts].map(([word, count]) => Buffer.from(`${word}\t${count}\n`, "latin1"));
  return Buffer.concat(lines.sort(Buffer.compare));
}
