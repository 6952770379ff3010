// The library as used by a third-party page: from its own origin, following the README.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { countWords, crashable, launch, list, root, shows, startNode } from "./harness.mjs";

const web = join(root, "browser-node/web");
const types = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/** The README's example, with this node. */
function example(node) {
  const [, code] = readFileSync(join(web, "README.md"), "utf8").match(/```js\n(.*?)```/s);
  assert.ok(code.split("\n").filter((line) => line.trim() !== "").length <= 20, "it has grown over twenty lines");
  return code.replace("http://127.0.0.1:8080", node.http);
}

/** The README's import map, which says where the library is. */
const [, importMap] = readFileSync(join(web, "README.md"), "utf8").match(/```html\n(.*?)\n```/s);

/** A third-party page: an empty one with a script, the library's package in a folder, an example's source. */
function serve(script) {
  const head = `<!doctype html><title>mine</title><link rel=icon href='data:,'>${importMap}`;
  const files = {
    "/": [`${head}<script type=module src=mine.js></script>`, ".html"],
    "/mine.js": [script, ".js"],
    "/wordcount.cpp": [readFileSync(join(root, "examples/wordcount/wordcount.cpp")), ".cpp"],
  };
  const server = createServer(({ url }, response) => {
    let [body, kind] = files[url] ?? [];
    if (url.startsWith("/webmesh/")) [body, kind] = [readFileSync(join(web, "library", url.slice(9))), extname(url)];
    response.writeHead(body === undefined ? 404 : 200, { "content-type": types[kind] ?? "text/plain" }).end(body);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve({ url: `http://127.0.0.1:${server.address().port}/`, server }));
  });
}

describe("the library", { timeout: 600_000 }, () => {
  let browser, node, page, server;
  before(async () => {
    node = await startNode(undefined, "--allow-origin", "*");
    browser = await launch("chromium");
  });
  after(async () => {
    await browser?.close();
    await node?.end();
    server?.close();
  });

  async function visit(script) {
    server?.close();
    const served = await serve(script);
    server = served.server;
    page = await browser.newPage();
    page.errors = [];
    page.on("pageerror", (error) => page.errors.push(error.message));
    page.on("console", (message) => message.type() === "error" && page.errors.push(message.text()));
    await page.goto(served.url);
  }

  /** Runs a function's body in a page that has joined as `mesh`; `library` is the module. */
  async function inMesh(threads, body, ...given) {
    await visit("");
    const result = await page.evaluate(
      async (bootstrap, threads, body, given) => {
        const library = await import("/webmesh/mesh.js");
        const mesh = await library.join({ bootstrap, threads });
        const AsyncFunction = (async () => {}).constructor;
        try {
          return await new AsyncFunction("mesh", "library", "given", body)(mesh, library, given);
        } finally {
          await mesh.leave();
        }
      },
      node.http,
      threads,
      body,
      given,
    );
    assert.deepEqual(page.errors, []);
    await page.close();
    return result;
  }

  test("the README's example counts its words", async () => {
    await visit(example(node));
    await shows(page, "title", (text) => /^4 lines in/.test(text));
    const text = await page.$eval("body", (body) => body.textContent);
    assert.equal(text, countWords(Buffer.from("to be or not to be")).toString());
    assert.deepEqual(page.errors, []);
    await page.close();
  });

  test("a tab submits a job over files, and its result is right", async () => {
    const words = Array.from({ length: 300_000 }, (_, i) => `w${(i * 7919) % 1013}`).join(" ").replaceAll("w7 ", "w7\n");
    const source = readFileSync(join(root, "examples/wordcount/wordcount_fast.cpp"), "utf8");
    const { text, lines, phases, shufflers } = await inMesh(
      2,
      `const [source, words] = given;
       const half = words.indexOf("\\n", words.length / 2) + 1;
       const inputs = [new File([words.slice(0, half)], "a.txt"), new File([words.slice(half)], "b.txt")];
       const job = mesh.submit({ source, inputs, chunk: 65536 });
       const phases = new Set();
       let shufflers = 0;
       for await (const p of job.progress()) {
         phases.add(p.phase);
         if (p.phase === "running") shufflers = p.shufflers;
       }
       const { blob, lines } = await job.result();
       return { text: await blob.text(), lines, phases: [...phases], shufflers };`,
      source,
      words,
    );
    const wanted = countWords(Buffer.from(words)).toString();
    assert.equal(text, wanted);
    assert.equal(lines, wanted.split("\n").length - 1);
    assert.deepEqual(phases.slice(-2), ["merging", "done"]);
    assert.equal(shufflers, 1);
  });

  test("errors in a source have a line and a column", async () => {
    const told = await inMesh(
      0,
      `const source = "#include <string>\\n\\nvoid map(string_view doc, webmesh::Emitter<int>& out) { nonsense(); }\\n";
       try {
         await mesh.submit({ source }).result();
       } catch (error) {
         return { compile: error instanceof library.CompileError, diagnostics: error.diagnostics };
       }`,
    );
    assert.equal(told.compile, true);
    const error = told.diagnostics.find(({ severity, text }) => severity === "error" && text.includes("nonsense"));
    assert.deepEqual([error?.line, error?.column], [3, 57]);
  });

  test("notes on files are the same as in a terminal", async () => {
    const source = readFileSync(join(root, "examples/wordcount/wordcount_fast.cpp"), "utf8");
    const notes = await inMesh(
      1,
      `const [source] = given;
       const zipped = new Response(new Blob(["to be or not to be\\n"]).stream().pipeThrough(new CompressionStream("gzip")));
       const wide = new Uint8Array([0xff, 0xfe, 0x61, 0, 0x0a, 0]);
       const inputs = [
         new File(["plain\\n"], "plain.txt"),
         new File(['a,"open\\n', "1,2,3\\n".repeat(1 << 20)], "table.csv"),
         new File([wide], "wide.txt"),
         new File([await zipped.blob()], "words.txt.gz"),
       ];
       const job = mesh.submit({ source, inputs });
       for await (const progress of job.progress()) if (progress.phase === "running") break;
       const { notes } = job;
       await job.result();
       return notes;`,
      source,
    );
    assert.deepEqual(
      [...notes].sort(),
      [
        "unterminated quoted field in table.csv: cut there at line ends, as if the line breaks were not quoted",
        "wide.txt is UTF-16 text, which jobs get as bytes and which may be cut within characters",
        "words.txt.gz is compressed (gzip), and jobs get the compressed bytes",
      ],
    );
  });

  test("the file that makes a job fail is named", async () => {
    const why = await inMesh(
      1,
      `const source = \`
         void map(string_view doc, webmesh::Emitter<int>& out) {
           if (doc.starts_with("bad")) throw std::runtime_error("the author said so");
           out.emit("good", 1);
         }
         void reduce(string_view key, webmesh::Values<int>& values, webmesh::Emitter<int>& out) { out.emit(key, 1); }\`;
       const inputs = ["good", "bad", "good"].map((text, i) => new File([text], text + i + ".txt"));
       return mesh.submit({ source, inputs, retries: 0, documentsPerTask: 1 }).result().then(String, (error) => error.message);`,
    );
    assert.match(why, /map of bad1\.txt: .*the author said so/s);
  });

  test("a cancelled job ends everywhere, and says so", async () => {
    const name = await inMesh(
      1,
      `const source = \`
         void map(string_view doc, webmesh::Emitter<int>& out) { for (volatile int i = 0;; i = i + 1); }
         void reduce(string_view key, webmesh::Values<int>& values, webmesh::Emitter<int>& out) { out.emit(key, 1); }\`;
       const job = mesh.submit({ source, tasks: 4 });
       for await (const { phase } of job.progress()) if (phase === "running") break;
       await job.cancel();
       return job.result().then(() => "done", (error) => error.name);`,
    );
    assert.equal(name, "JobCancelled");
  });

  test("two jobs of one tab over the same files run at once, and each has its own result", async () => {
    const words = "one two two three three three\n".repeat(20_000);
    const texts = await inMesh(
      2,
      `const [words] = given;
       const source = (what) => \`
         void map(string_view doc, webmesh::Emitter<int>& out) { out.emit("\${what}", static_cast<int>(doc.size())); }
         int combine(int a, int b) { return a + b; }
         void reduce(string_view key, webmesh::Values<int>& values, webmesh::Emitter<int>& out) {
           int sum = 0;
           for (int value : values) sum += value;
           out.emit(key, sum);
         }\`;
       const inputs = [new File([words], "words.txt")];
       const jobs = ["first", "second"].map((what) => mesh.submit({ source: source(what), inputs, chunk: 4096 }));
       return Promise.all(jobs.map(async (job) => (await job.result()).blob.text()));`,
      words,
    );
    assert.deepEqual(texts, [`first\t${words.length}\n`, `second\t${words.length}\n`]);
  });

  test("a job ends when its tab leaves the mesh, and a tab that has left accepts no other", async () => {
    const told = await inMesh(
      1,
      `const source = \`
         void map(string_view doc, webmesh::Emitter<int>& out) { for (volatile int i = 0;; i = i + 1); }
         void reduce(string_view key, webmesh::Values<int>& values, webmesh::Emitter<int>& out) { out.emit(key, 1); }\`;
       const job = mesh.submit({ source, tasks: 4 });
       for await (const { phase } of job.progress()) if (phase === "running") break;
       const ended = job.result().then(() => "done", (error) => error.name);
       await mesh.leave();
       let refused = "";
       try {
         mesh.submit({ source });
       } catch (error) {
         refused = error.message;
       }
       return [await ended, refused];`,
    );
    assert.deepEqual(told, ["JobCancelled", "this tab has left the mesh"]);
  });

  test("kinds of peers have the same names as in a terminal", async () => {
    const kinds = await inMesh(
      1,
      // Once a job is done, the tab knows the node, which compiled it and held its data.
      `const source = await (await fetch("/wordcount.cpp")).text();
       await mesh.submit({ source, inputs: [new File(["to be or not to be\\n"], "hamlet.txt")] }).result();
       const { peers } = await mesh.status();
       return Object.fromEntries(peers.map(({ peer, kind }) => [peer, kind]));`,
    );
    const listed = (await list(node, "peers")).find(({ peer }) => peer === node.peer);
    assert.equal(listed.kind, "node");
    assert.equal(kinds[node.peer], listed.kind);
  });

  test("a crash of the program fails pending calls with an error, and another join starts a new program", async () => {
    await visit("");
    const crash = await crashable(page);
    await page.evaluate(async (bootstrap) => {
      const { join } = await import("/webmesh/mesh.js");
      const source = `
        void map(string_view doc, webmesh::Emitter<int>& out) { for (volatile int i = 0;; i = i + 1); }
        void reduce(string_view key, webmesh::Values<int>& values, webmesh::Emitter<int>& out) { out.emit(key, 1); }`;
      const mesh = await join({ bootstrap, threads: 1 });
      const job = mesh.submit({ source, tasks: 4 });
      const running = (async () => {
        for await (const { phase } of job.progress()) if (phase === "running") return;
      })();
      await running;
      const progress = (async () => {
        for await (const _ of job.progress());
        return "ended";
      })();
      const how = (promise) => promise.then(() => "well", ({ name, message }) => `${name}: ${message}`);
      globalThis.told = Promise.all([progress, how(job.result()), how(mesh.closed), how(mesh.closed.then(mesh.leave))]);
      globalThis.mesh = mesh;
    }, node.http);
    await crash();
    const told = await page.evaluate(async () => {
      const refused = (() => {
        try {
          globalThis.mesh.submit({ source: "" });
        } catch (error) {
          return error.message;
        }
      })();
      return [...(await globalThis.told), refused];
    });
    const why = "the program of this tab stopped because of a fault in it";
    assert.deepEqual(told, ["ended", `JobError: ${why}`, `CrashError: ${why}`, `CrashError: ${why}`, why]);
    const text = await page.evaluate(async (bootstrap) => {
      const { join } = await import("/webmesh/mesh.js");
      const mesh = await join({ bootstrap, threads: 1 });
      const source = await (await fetch("/wordcount.cpp")).text();
      const job = mesh.submit({ source, inputs: [new File(["to be or not to be\n"], "hamlet.txt")] });
      const text = await (await job.result()).blob.text();
      await mesh.leave();
      return text;
    }, node.http);
    assert.equal(text, countWords(Buffer.from("to be or not to be")).toString());
    await page.close();
  });

  test("a crash of the storage Worker fails the job with an error, and the tab stays in the mesh", async () => {
    const [why, connected] = await inMesh(
      1,
      `const script = \`
         import "\${location.origin}/webmesh/storage-worker.js";
         const { instantiate } = WebAssembly;
         WebAssembly.instantiate = async (...given) => {
           const made = await instantiate(...given);
           new BroadcastChannel("crash").onmessage = () => {
             new Uint8Array(made.exports.memory.buffer).fill(0xff);
             postMessage({ kind: "crashable" });
           };
           return made;
         };\`;
       const overwritten = new Promise((resolve) => {
         globalThis.Worker = class extends Worker {
           constructor(url, options) {
             const ours = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
             super(options.name === "webmesh storage" ? ours : url, options);
             this.addEventListener("message", ({ data }) => data.kind === "crashable" && resolve());
           }
         };
       });
       const source = await (await fetch("/wordcount.cpp")).text();
       const inputs = [new File(["to be or not to be\\n"], "hamlet.txt")];
       await mesh.submit({ source, inputs }).result();
       new BroadcastChannel("crash").postMessage("");
       await overwritten;
       const why = await mesh.submit({ source, inputs }).result().then(String, (error) => error.message);
       return [why, (await mesh.status()).connected];`,
    );
    assert.match(why, /^the data stored by this tab is lost: (?!.*fault)/);
    assert.equal(connected, 1);
  });
});
