// A smoke test in Debian's Firefox: a tab joins and does a job's tasks.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { countWords, joined, launch, root, scratch, startNode, submit } from "./harness.mjs";

test("a tab in Firefox does a job's tasks, and the answer is right", { timeout: 300_000 }, async (t) => {
  const node = await startNode();
  const browser = await launch("firefox");
  t.after(async () => {
    await browser.close();
    await node.end();
  });
  await joined(browser, node);
  const words = Buffer.from("one two two three three three\n".repeat(1000));
  const input = join(scratch, "words.txt");
  writeFileSync(input, words);
  const counted = submit(node, join(root, "examples/wordcount/wordcount_fast.cpp"), [input]);
  assert.equal(await counted.ended, 0, counted.said);
  assert.deepEqual(readFileSync(counted.output), countWords(words));
});
