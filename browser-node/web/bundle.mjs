// The bundles: the page, which a node serves, and the library, which others bundle.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";

/** Files of the page that are copied unchanged. */
export const PAGE = ["index.html", "style.css", "submit.css", "adapt.css"];

/**
 * Creates `src/script.js` from wasm-bindgen's script. That script has one instance of the program, which it keeps in
 * its own variables, and no hook for a guard; here it becomes the body of a function, so that each call gives a new
 * script, which starts the program behind a guard. Without the guard, no tab joins.
 */
const script = {
  name: "script",
  setup(build) {
    const made = fileURLToPath(new URL("wasm/webmesh_browser_node.js", import.meta.url));
    build.onResolve({ filter: /^\.\/script\.js$/ }, () => ({ path: made, namespace: "script" }));
    build.onLoad({ filter: /./, namespace: "script" }, async ({ path }) => {
      const guarded = readFileSync(path, "utf8").replaceAll("WebAssembly.instantiate(", "instantiate(");
      // The script's own URL would be the program's default one; both users pass it a compiled program.
      const options = { format: "iife", globalName: "script", target: "es2023", define: { "import.meta.url": "undefined" } };
      const { code } = await transform(guarded, options);
      const contents = `import { instantiate } from "./guard.js";\nexport function newScript() {\n${code}\nreturn script;\n}`;
      return { contents, resolveDir: fileURLToPath(new URL("src", import.meta.url)) };
    });
  },
};

const COMMON = { bundle: true, target: "es2023", plugins: [script] };

/** esbuild's options for the page in `outdir`. Nodes serve it, so code shared by its parts is fetched once. */
export function bundle(outdir) {
  return {
    ...COMMON,
    entryPoints: {
      mesh: "src/mesh.ts",
      guest: "src/guest.ts",
      "storage-worker": "src/storage-worker.ts",
      page: "src/page.ts",
      "rows-worker": "src/submit/rows-worker.ts",
    },
    outdir,
    format: "esm",
    splitting: true,
    minify: true,
    legalComments: "none",
  };
}

/**
 * esbuild's options for the library in `outdir`. Its users bundle the module with their own and minify both; the
 * Workers' scripts are copied unchanged, so they must already be small and import nothing.
 */
export function libraryBundles(outdir) {
  const options = { ...COMMON, outdir, legalComments: "inline" };
  const workers = { guest: "src/guest.ts", "storage-worker": "src/storage-worker.ts" };
  return [
    { ...options, entryPoints: { mesh: "src/mesh.ts" }, format: "esm" },
    { ...options, entryPoints: workers, format: "iife", minify: true },
  ];
}
