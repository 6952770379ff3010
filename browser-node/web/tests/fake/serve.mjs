// Serves the page with a fake mesh, under the policy that nodes send.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { bundle, PAGE } from "../../bundle.mjs";
import { readExamples } from "../../examples.mjs";

const web = fileURLToPath(new URL("../..", import.meta.url));
const root = new URL("../../../../", import.meta.url);
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
};

/** The policy of nodes, read from their source: a page that violates it fails here too. */
function policy() {
  const source = readFileSync(new URL("node/src/http/headers.rs", root), "utf8");
  const text = /const POLICY: &str = "([^;]*(?:;[^"]*)*)";/.exec(source)?.[1];
  if (text === undefined) throw new Error("node/src/http/headers.rs has no POLICY");
  return text.replaceAll(/\\\s+/g, "");
}

const fakeMesh = {
  name: "fake-mesh",
  setup(build) {
    build.onResolve({ filter: /\/mesh\.js$/ }, () => ({ path: join(web, "tests/fake/mesh.ts") }));
  },
};

/** Serves it at a free port of this machine, like a node started with `--kiosk` or without; `end` stops the server. */
export async function serveFake({ kiosk = false } = {}) {
  const options = bundle("dist");
  const entryPoints = { page: options.entryPoints.page, "rows-worker": options.entryPoints["rows-worker"] };
  const built = await build({ ...options, entryPoints, write: false, plugins: [fakeMesh], absWorkingDir: web });
  const files = new Map(built.outputFiles.map(({ path, contents }) => [`/${path.split("/").at(-1)}`, contents]));
  for (const name of PAGE) files.set(`/${name}`, readFileSync(join(web, "src", name)));
  files.set("/examples.json", JSON.stringify(readExamples(new URL("examples/", root))));
  files.set("/.well-known/webmesh.json", JSON.stringify({ kiosk }));
  const headers = { "content-security-policy": policy(), "x-content-type-options": "nosniff" };
  const server = createServer((request, response) => {
    const path = request.url === "/" ? "/index.html" : (request.url ?? "");
    const body = files.get(path);
    response.writeHead(body === undefined ? 404 : 200, {
      ...headers,
      "content-type": TYPES[extname(path)] ?? "text/plain",
    });
    response.end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    http: `http://127.0.0.1:${server.address().port}`,
    async end() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
