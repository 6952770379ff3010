// Loads a module of the page in Node.

import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** Replaces wasm-bindgen's script, which none of these tests starts. */
const noScript = {
  name: "no-script",
  setup(build) {
    build.onResolve({ filter: /^\.\/script\.js$/ }, ({ path }) => ({ path, namespace: "no-script" }));
    build.onLoad({ filter: /./, namespace: "no-script" }, () => ({ contents: "export const newScript = undefined;" }));
  },
};

/** Bundles a module of `src` and imports it. */
export async function load(name) {
  const path = fileURLToPath(new URL(`../../src/${name}`, import.meta.url));
  const options = { bundle: true, format: "esm", target: "es2023", write: false, platform: "neutral", plugins: [noScript] };
  const built = await build({ ...options, mainFields: ["module", "main"], entryPoints: [path] });
  return import(`data:text/javascript;base64,${Buffer.from(built.outputFiles[0].contents).toString("base64")}`);
}
