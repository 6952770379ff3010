// What is bundled, and how.

import { readFileSync } from "node:fs";

/** Files of the page that are as they are written. */
export const PAGE = ["index.html", "style.css", "submit.css", "adapt.css"];

/** Has wasm-bindgen's script, which has no place for a guard, start the program behind one; without, no tab joins. */
const guarded = {
  name: "guarded",
  setup(build) {
    build.onLoad({ filter: /\/webmesh_browser_node\.js$/ }, ({ path }) => {
      const script = readFileSync(path, "utf8").replaceAll("WebAssembly.instantiate(", "instantiate(");
      return { contents: `import { instantiate } from "../src/guard.js";\n${script}` };
    });
  },
};

/** Options of esbuild for a bundle in `outdir`. */
export function bundle(outdir) {
  return {
    entryPoints: {
      mesh: "src/mesh.ts",
      guest: "src/guest.ts",
      "storage-worker": "src/storage-worker.ts",
      // Alone: it is loaded anew, with an instance of its own, after a crash.
      program: "wasm/webmesh_browser_node.js",
      page: "src/page.ts",
      "rows-worker": "src/submit/rows-worker.ts",
    },
    outdir,
    bundle: true,
    format: "esm",
    splitting: true,
    target: "es2023",
    minify: true,
    legalComments: "none",
    plugins: [guarded],
  };
}
