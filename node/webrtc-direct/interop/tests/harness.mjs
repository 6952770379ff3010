// What the tests run: native peers, browsers, and the page.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

export const MIB = 1024 * 1024;
/** Refuses what version 1 does to an offer, as Chromium will one day by default. */
export const NO_MANGLING = "--force-fieldtrials=WebRTC-NoSdpMangleUfrag/Enabled/";

/** Where native peers listen: ../in-namespace has another address. */
export const HOST = process.env.INTEROP_HOST ?? "127.0.0.1";

const here = fileURLToPath(new URL("..", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(here, "../../../target");

/** What a test that ran out of time leaves running would keep the tests from ending. */
const running = new Set();
after(() => running.forEach((child) => child.kill("SIGKILL")));

/** A process that says what happens as lines of JSON, and takes orders. Each line is handed out once. */
export class Lines {
  #lines = [];
  #waiting = [];
  #ended = false;

  constructor(command, args, options = {}) {
    this.process = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"], ...options });
    running.add(this.process);
    this.process.on("exit", () => running.delete(this.process));
    const lines = createInterface({ input: this.process.stdout });
    lines.on("line", (line) => {
      // Libraries print other things as well.
      if (!line.startsWith("{")) return;
      this.#lines.push(JSON.parse(line));
      this.#match();
    });
    lines.on("close", () => {
      this.#ended = true;
      this.#match();
    });
  }

  #match() {
    this.#waiting = this.#waiting.filter(({ key, resolve, reject }) => {
      const at = this.#lines.findIndex((line) => key in line || "error" in line);
      if (at >= 0) {
        const [line] = this.#lines.splice(at, 1);
        key in line ? resolve(line) : reject(new Error(line.error));
      } else if (this.#ended) {
        reject(new Error(`the peer ended before it said "${key}"`));
      } else {
        return true;
      }
      return false;
    });
  }

  /** The next line with this key. Fails if an error is said instead, or nothing in time. */
  next(key, seconds = 60) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no "${key}" in ${seconds} s`)), seconds * 1000);
      const settle = (then) => (value) => { clearTimeout(late); then(value); };
      this.#waiting.push({ key, resolve: settle(resolve), reject: settle(reject) });
      this.#match();
    });
  }

  order(text) {
    this.process.stdin.write(`${text}\n`);
  }

  async end() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
  }
}

/** A native peer that listens; `address` says where. */
export async function nativePeer(...args) {
  const program = join(target, "release/interop-peer");
  if (!existsSync(program)) throw new Error(`${program} is not built: node/webrtc-direct/interop/run does it`);
  const peer = new Lines(program, [...args, "--listen", `/ip4/${HOST}/udp/0/webrtc-direct`]);
  peer.address = (await peer.next("listening")).listening;
  peer.stats = async () => {
    peer.order("stats");
    return (await peer.next("stats")).stats;
  };
  return peer;
}

const types = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

async function serve() {
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://page").pathname;
    const file = join(here, "page", path === "/" ? "index.html" : path);
    if (!existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    response.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
    createReadStream(file).pipe(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** A browser with the page at hand. `open` gives a page whose `peer` is a peer with the given transport. */
export async function browser(kind, ...flags) {
  const server = await serve();
  const launched = await launch(kind, flags);
  return {
    async open(transport = "ours") {
      const page = await launched.newPage();
      page.on("pageerror", (error) => console.error("page:", error.message));
      page.on("console", (message) => console.error("page:", message.text()));
      await page.goto(`http://127.0.0.1:${server.address().port}/`);
      await page.evaluate(async (transport) => {
        await window.ready;
        window.peer = new window.Peer(transport);
      }, transport);
      return page;
    },
    async close() {
      await launched.close();
      server.close();
      server.closeAllConnections();
    },
  };
}

function launch(kind, flags) {
  if (kind === "firefox") {
    return puppeteer.launch({
      browser: "firefox",
      executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
      headless: true,
      protocolTimeout: 600_000,
    });
  }
  const quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  // A container's /dev/shm is small, and its root has no sandbox.
  const contained = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic"];
  return puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [...quiet, ...contained, ...flags],
    protocolTimeout: 600_000,
  });
}

/** Connects a page to a peer; the peer's id. */
export function dial(page, address) {
  return page.evaluate((address) => window.peer.dial(address), address);
}
