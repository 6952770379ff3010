import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** Size limit in bytes: a phone on a slow network takes some seconds for it. The goal is 900 KB (docs/benchmarks.md). */
const JOIN_BYTES = 915_000;

const built = (name) => readFileSync(new URL(`../../dist/${name}`, import.meta.url));
const sent = (name) => built(`packed/${name}.gz`).length;

/** The size of a script and its static imports; dynamic imports of views are not included. */
function withImports(name, found = new Set()) {
  if (found.has(name)) return found;
  found.add(name);
  const imports = built(name).toString().matchAll(/\bimport\b[^"(]*"\.\/([^"]+)"/g);
  for (const [, imported] of imports) withImports(imported, found);
  return found;
}

test("the files that a tab fetches to join stay within the size limit", (t) => {
  const scripts = new Set(["page.js", "guest.js", "storage-worker.js"].flatMap((name) => [...withImports(name)]));
  assert.ok(scripts.size > 3 && ![...scripts].some((name) => name.startsWith("editor")), [...scripts].join(" "));
  const script = [...scripts].reduce((sum, name) => sum + sent(name), 0);
  const program = sent("webmesh.wasm");
  t.diagnostic(`gzipped: program ${program}, script ${script} bytes`);
  assert.ok(program + script <= JOIN_BYTES, `${program} + ${script} bytes gzipped, of ${JOIN_BYTES}`);
});
