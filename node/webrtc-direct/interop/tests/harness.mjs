// Runs native peers, browsers, and the page for the tests.

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
/** Makes Chromium refuse the offer that version 1 rewrites, as is planned to become its default. */
export const NO_MANGLING = "--force-fieldtrials=WebRTC-NoSdpMangleUfrag/Enabled/";

/** Listen address of native peers. ../in-namespace sets another one. */
export const HOST = process.env.INTEROP_HOST ?? "127.0.0.1";

const here = fileURLToPath(new URL("..", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(here, "../../../target");

/** Child processes. Those left by a test that timed out are killed, since they would keep the test run alive. */
const running = new Set();
after(() => running.forEach((child) => child.kill("SIGKILL")));

/** A process that reads commands and writes events as lines of JSON. Each event is returned once. */
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
      // Libraries may print other lines.
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
        reject(new Error(`the process ended before the event "${key}"`));
      } else {
        return true;
      }
      return false;
    });
  }

  /** The next event with this key. Fails on an `error` event, or after the timeout. */
  next(key, seconds = 60) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no event "${key}" within ${seconds} s`)), seconds * 1000);
      const settle = (then) => (value) => { clearTimeout(late); then(value); };
      this.#waiting.push({ key, resolve: settle(resolve), reject: settle(reject) });
      this.#match();
    });
  }

  command(text) {
    this.process.stdin.write(`${text}\n`);
  }

  async end() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
  }
}

/** A listening native peer, with its `address`. */
export async function nativePeer(...args) {
  const program = join(target, "release/interop-peer");
  if (!existsSync(program)) throw new Error(`${program} does not exist: node/webrtc-direct/interop/run builds it`);
  const peer = new Lines(program, [...args, "--listen", `/ip4/${HOST}/udp/0/webrtc-direct`]);
  peer.address = (await peer.next("listening")).listening;
  peer.stats = async () => {
    peer.command("stats");
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

/** A browser and a server for the page. `open` returns a page whose `window.peer` uses the given transport. */
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
  // For containers: /dev/shm is small, and root cannot use the sandbox.
  const contained = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic"];
  return puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [...quiet, ...contained, ...flags],
    protocolTimeout: 600_000,
  });
}

/** Connects a page to a peer. Returns the peer's id. */
export function dial(page, address) {
  return page.evaluate((address) => window.peer.dial(address), address);
}
