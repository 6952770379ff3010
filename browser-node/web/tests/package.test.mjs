// The library's npm package as used by a third-party project: installed, bundled, and opened in a browser.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { countWords, launch, root, scratch, shows, startNode } from "./harness.mjs";

const run = promisify(execFile);
const web = join(root, "browser-node/web");
const library = join(web, "library");
const project = join(scratch, "consumer");
const installed = join(project, "node_modules/webmesh");
const ASSETS = ["webmesh.wasm", "guest.js", "storage-worker.js"];
/** Size limit of the package, which is downloaded when it is installed; it is little more than the compressed
 * program. */
const TARBALL_BYTES = 1_000_000;
const COUNTED = `${countWords(Buffer.from("to be or not to be"))}by this tab`;
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/** Runs one of the project's programs in the project. */
const tool = (name, ...args) => run(join(project, "node_modules/.bin", name), args, { cwd: project });
const vite = (name) => join(project, "node_modules", name, "bin/vite.js");

describe("the package", () => {
  let files;
  before(async () => {
    const { stdout } = await run("npm", ["pack", "--dry-run", "--json"], { cwd: library });
    const said = JSON.parse(stdout);
    // npm 12 names the packages; older ones list them.
    files = (Array.isArray(said) ? said[0] : Object.values(said)[0]).files.map(({ path }) => path);
  });

  test("has the library with its types, its licence and its documentation, and nothing of the page", () => {
    const types = files.filter((path) => path.startsWith("types/"));
    assert.deepEqual(files.filter((path) => !types.includes(path)).sort(), [
      "LICENSE",
      "README.md",
      "guest.js",
      "mesh.js",
      "package.json",
      "storage-worker.js",
      "webmesh.wasm",
      "writing-jobs.md",
    ]);
    const wanted = ["assets", "bootstrap", "given", "guard", "job", "mesh"].map((name) => `types/${name}.d.ts`);
    assert.deepEqual(types.sort(), wanted);
    const [tarball] = readdirSync(library).filter((name) => name.endsWith(".tgz"));
    const bytes = statSync(join(library, tarball)).size;
    assert.ok(bytes <= TARBALL_BYTES, `${bytes} bytes`);
  });

  test("has no dependencies, and declares its side effects", () => {
    const manifest = JSON.parse(readFileSync(join(library, "package.json"), "utf8"));
    for (const kind of ["dependencies", "peerDependencies", "optionalDependencies", "private"]) {
      assert.equal(manifest[kind], undefined, kind);
    }
    assert.equal(manifest.license, "MIT");
    assert.deepEqual(manifest.sideEffects, ["./guest.js", "./storage-worker.js"]);
    for (const path of Object.values(manifest.exports).flatMap((entry) => Object.values(Object(entry)))) {
      if (path.startsWith("./")) assert.ok(files.includes(path.slice(2)), path);
    }
    for (const script of ["mesh.js", "guest.js", "storage-worker.js"]) {
      const text = readFileSync(join(library, script), "utf8");
      assert.doesNotMatch(text, /^\s*import\s*["{*]|\bfrom\s*["']|\bimport\(|\brequire\(/m, script);
    }
  });

  test("has the licences of what it includes", () => {
    const licence = readFileSync(join(library, "LICENSE"), "utf8");
    assert.ok(licence.startsWith(readFileSync(join(root, "LICENSE"), "utf8")));
    assert.match(licence, /Includes @noble\/hashes:.*Paul Miller/s);
  });

  test("has a README whose links lead to its own files", () => {
    const links = [...readFileSync(join(library, "README.md"), "utf8").matchAll(/\]\(([^)]+)\)/g)].map(([, link]) => link);
    assert.ok(links.includes("writing-jobs.md"));
    for (const link of links) assert.ok(link.startsWith("#") || files.includes(link), link);
  });
});

describe("a project that installs the package", { timeout: 600_000 }, () => {
  let browser, node, server;
  before(async () => {
    cpSync(join(web, "tests/consumer"), project, { recursive: true });
    const quiet = ["--no-audit", "--no-fund", "--prefer-offline"];
    await run("npm", ["ci", ...quiet], { cwd: project });
    const [tarball] = readdirSync(library).filter((name) => name.endsWith(".tgz"));
    await run("npm", ["install", "--no-save", ...quiet, join(library, tarball)], { cwd: project });
    node = await startNode(undefined, "--allow-origin", "*");
    browser = await launch("chromium");
  });
  after(async () => {
    await browser?.close();
    await node?.end();
    server?.close();
  });

  /** Serves a folder of the project's; `missing` handles requests for missing files. */
  async function serve(folder, missing = (response) => response.writeHead(404).end()) {
    server?.close();
    server = createServer(({ url }, response) => {
      const { pathname } = new URL(url, "http://localhost");
      const path = join(project, folder, pathname === "/" ? "index.html" : pathname);
      const file = statSync(path, { throwIfNoEntry: false });
      if (file?.isFile() !== true) return missing(response);
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/plain" }).end(readFileSync(path));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return `http://127.0.0.1:${server.address().port}`;
  }

  /** Creates the output folder for a bundler that generates no page. */
  function folderFor(name, type = "module") {
    const folder = join(project, name);
    mkdirSync(folder);
    const script = `<script ${type === "module" ? "type=module" : "defer"} src=main.js></script>`;
    writeFileSync(join(folder, "index.html"), `<!doctype html><title>consumer</title><link rel=icon href="data:,">${script}`);
    return folder;
  }

  /** The final text of the project's page, and its title. */
  async function open(origin, parameters = {}) {
    const page = await browser.newPage();
    page.errors = [];
    page.on("pageerror", (error) => page.errors.push(error.message));
    await page.goto(`${origin}/?${new URLSearchParams({ bootstrap: node.http, ...parameters })}`);
    const title = await shows(page, "title", (text) => text === "counted" || text === "failed");
    const text = await page.$eval("body", (body) => body.textContent);
    assert.deepEqual(page.errors, []);
    await page.close();
    return { title, text };
  }

  const counted = { title: "counted", text: COUNTED };

  for (const resolution of ["bundler", "node16"]) {
    test(`TypeScript finds its types by moduleResolution ${resolution}`, async () => {
      const module = resolution === "bundler" ? "esnext" : "node16";
      await tool("tsc", "--module", module, "--moduleResolution", resolution).catch(({ stdout }) => assert.fail(stdout));
    });
  }

  test("vite builds it", async () => {
    await run("node", [vite("vite"), "build", "--outDir", "vite"], { cwd: project });
    assert.deepEqual(await open(await serve("vite")), counted);
  });

  test("a build that inlines the Workers' scripts says what to change", async () => {
    await run("node", [vite("vite"), "build", "--outDir", "vite-inline", "--assetsInlineLimit", "500000"], { cwd: project });
    const { text } = await open(await serve("vite-inline"));
    assert.match(text, /^AssetError: .*data: URL.*build\.assetsInlineLimit.*assets: "/);
  });

  // They bundle packages in different ways before serving them. Each must do so from scratch.
  for (const version of ["vite", "vite7"]) {
    test(`${version}'s development server serves it`, async () => {
      const options = ["--host", "127.0.0.1", "--port", "0", "--force"];
      const env = { ...process.env, NO_COLOR: "1" };
      const serving = spawn("node", [vite(version), ...options], { cwd: project, env, stdio: ["ignore", "pipe", "inherit"] });
      try {
        let url;
        for await (const line of createInterface({ input: serving.stdout })) {
          url = /Local:\s+(http:\S+?)\/?\s*$/.exec(line)?.[1];
          if (url !== undefined) break;
        }
        assert.deepEqual(await open(url), counted);
      } finally {
        serving.kill();
      }
    });
  }

  test("webpack builds it", async () => {
    const folder = folderFor("webpack", "script");
    const options = { mode: "production", context: project, entry: "./src/main.js", output: { path: folder } };
    const script = `import webpack from "webpack";
      webpack(${JSON.stringify(options)}, (error, stats) => {
        if (error ?? stats.hasErrors()) throw error ?? new Error(stats.toString());
      });`;
    await run("node", ["--input-type=module", "--eval", script], { cwd: project });
    assert.deepEqual(await open(await serve("webpack")), counted);
  });

  describe("esbuild builds it", () => {
    test("with the files beside the bundle", async () => {
      const folder = folderFor("esbuild");
      await tool("esbuild", "src/main.js", "--bundle", "--format=esm", `--outdir=${folder}`);
      for (const name of ASSETS) copyFileSync(join(installed, name), join(folder, name));
      assert.deepEqual(await open(await serve("esbuild")), counted);
    });

    test("with the files in a folder given by the page, in either bundle format", async () => {
      const folder = folderFor("esbuild-iife", "script");
      await tool("esbuild", "src/main.js", "--bundle", "--minify", `--outdir=${folder}`);
      cpSync(installed, join(folder, "lib"), { recursive: true });
      assert.deepEqual(await open(await serve("esbuild-iife"), { assets: "lib" }), counted);
    });

    test("and a page with missing files names them, and says what to do", async () => {
      folderFor("esbuild-bare");
      await tool("esbuild", "src/main.js", "--bundle", "--format=esm", "--outdir=esbuild-bare");
      const bare = await serve("esbuild-bare");
      const { title, text } = await open(bare);
      assert.equal(title, "failed");
      assert.match(text, /^AssetError: WebMesh cannot load http:.*: the server answered with status 404; .*assets: "/);
      assert.ok(ASSETS.some((name) => text.includes(`${bare}/${name}`)), text);
      const named = await open(bare, { assets: "/nowhere" });
      assert.ok(ASSETS.some((name) => named.text.includes(`${bare}/nowhere/${name}`)), named.text);
      assert.match(named.text, /status 404; the folder given as `assets` must hold webmesh\.wasm, guest\.js/);
    });

    test("and an HTML page in place of a file is detected", async () => {
      const page = (response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>");
      const { text } = await open(await serve("esbuild-bare", page));
      assert.match(text, /^AssetError: .*answered with an HTML page instead of the file; .*assets: "/);
    });

    test("and a bundle that does not know its own URL says so", async () => {
      folderFor("esbuild-lost", "script");
      await tool("esbuild", "src/main.js", "--bundle", "--outdir=esbuild-lost");
      const { text } = await open(await serve("esbuild-lost"));
      assert.match(text, /^AssetError: .*without import\.meta\.url.* --format=esm.*assets: "/);
    });
  });

  test("an unresponsive mesh is distinguished from missing files", async () => {
    const { text } = await open(await serve("esbuild"), { bootstrap: "http://127.0.0.1:1" });
    assert.match(text, /^JoinError: no node answers at http:\/\/127\.0\.0\.1:1/);
  });

  test("in Node it says that the library is for browsers, and what to run instead", async () => {
    const script = `import { join, JoinError } from "webmesh";
      join({ bootstrap: ${JSON.stringify(node.http)} }).catch((error) => console.log(error instanceof JoinError, error.message));`;
    const { stdout } = await run("node", ["--input-type=module", "--eval", script], { cwd: project });
    assert.match(stdout, /^true The WebMesh library runs in browsers only.*`webmesh submit JOB\.cpp FILES --bootstrap/);
  });
});
