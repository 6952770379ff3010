// A module of the page as Node runs it.

import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** Bundles a module of `src` and imports it. */
export async function load(name) {
  const path = fileURLToPath(new URL(`../../src/${name}`, import.meta.url));
  const options = { bundle: true, format: "esm", target: "es2023", write: false, platform: "neutral" };
  const built = await build({ ...options, mainFields: ["module", "main"], entryPoints: [path] });
  return import(`data:text/javascript;base64,${Buffer.from(built.outputFiles[0].contents).toString("base64")}`);
}
