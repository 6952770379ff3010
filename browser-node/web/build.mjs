// Bundles the library, the Workers and the page into dist/, next to the wasm module that scripts/wasm-build made.
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";
import { bundle, PAGE } from "./bundle.mjs";
import { readExamples } from "./examples.mjs";

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");
await build(bundle("dist"));
copyFileSync("wasm/webmesh_browser_node_bg.wasm", "dist/webmesh.wasm");
for (const name of PAGE) copyFileSync(`src/${name}`, `dist/${name}`);
writeFileSync("dist/examples.json", JSON.stringify(readExamples(new URL("../../examples/", import.meta.url))));
