// Builds the library's npm package in library/, from the wasm module that scripts/wasm-build made and the types of
// src/.

import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { libraryBundles } from "./bundle.mjs";

const OUT = "library";
const { version, license } = JSON.parse(readFileSync("package.json", "utf8"));

/** The package's manifest. Dependencies are bundled, so it has none. */
const manifest = {
  name: "webmesh",
  version,
  description: "Makes a browser tab a peer of a WebMesh: it runs tasks for others and submits MapReduce jobs in C++",
  keywords: ["mapreduce", "distributed computing", "peer-to-peer", "webassembly", "webrtc"],
  license,
  type: "module",
  // The Workers' scripts have side effects; importing the library has none.
  sideEffects: ["./guest.js", "./storage-worker.js"],
  types: "./types/mesh.d.ts",
  files: ["*.js", "webmesh.wasm", "types", "writing-jobs.md"],
  exports: {
    ".": { types: "./types/mesh.d.ts", default: "./mesh.js" },
    "./guest.js": "./guest.js",
    "./storage-worker.js": "./storage-worker.js",
    "./webmesh.wasm": "./webmesh.wasm",
    "./package.json": "./package.json",
  },
};

/** The declarations that a module's users need: its own, and those that it imports. */
function declarations(name, found = new Map()) {
  if (found.has(name)) return found;
  const text = readFileSync(join("types", name), "utf8");
  found.set(name, text);
  for (const [, imported] of text.matchAll(/from "(\.[^"]+)\.js"/g)) {
    declarations(join(dirname(name), `${imported}.d.ts`), found);
  }
  return found;
}

/** The README. Links into the repository would be dead in a package; files that it links to are included. */
function readme() {
  return readFileSync("README.md", "utf8").replaceAll("../../docs/writing-jobs.md", "writing-jobs.md");
}

/** The licence, and those of the bundled packages, as listed by esbuild's metadata. */
function licences(inputs) {
  const packages = inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]).filter((name) => name !== undefined);
  const others = [...new Set(packages)].map((name) => {
    return `\n---\n\nIncludes ${name}:\n\n${readFileSync(join("node_modules", name, "LICENSE"), "utf8")}`;
  });
  return readFileSync("../../LICENSE", "utf8") + others.join("");
}

rmSync(OUT, { recursive: true, force: true });
mkdirSync(join(OUT, "types"), { recursive: true });
const bundled = [];
for (const options of libraryBundles(OUT)) {
  const { metafile } = await build({ ...options, metafile: true });
  bundled.push(...Object.keys(metafile.inputs));
}
for (const [name, text] of declarations("mesh.d.ts")) writeFileSync(join(OUT, "types", name), text);
copyFileSync("wasm/webmesh_browser_node_bg.wasm", join(OUT, "webmesh.wasm"));
writeFileSync(join(OUT, "LICENSE"), licences(bundled));
copyFileSync("../../docs/writing-jobs.md", join(OUT, "writing-jobs.md"));
writeFileSync(join(OUT, "README.md"), readme());
writeFileSync(join(OUT, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
