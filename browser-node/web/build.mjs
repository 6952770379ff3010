// Bundles the library, the Worker and the page into dist/, beside the wasm module that scripts/wasm-build made.
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");
await build({
  entryPoints: {
    mesh: "src/mesh.ts",
    guest: "src/guest.ts",
    "storage-worker": "src/storage-worker.ts",
    page: "src/page.ts",
  },
  outdir: "dist",
  bundle: true,
  format: "esm",
  splitting: true,
  target: "es2023",
  minify: true,
  legalComments: "none",
});
copyFileSync("wasm/webmesh_browser_node_bg.wasm", "dist/webmesh.wasm");
for (const name of ["index.html", "style.css"]) copyFileSync(`src/${name}`, `dist/${name}`);
