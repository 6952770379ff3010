// Formatting of numbers and file names.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const words = await load("submit/words.ts");

test("bytes, counts and times are short", () => {
  assert.deepEqual([0, 1, 999, 1000, 1_234_000, 999_600, 5e12, 5e16].map(words.bytes), [
    "0 bytes",
    "1 byte",
    "999 bytes",
    "1 KB",
    "1.23 MB",
    "1 MB",
    "5 TB",
    "50,000 TB",
  ]);
  assert.deepEqual(
    [0, 1, 1234].map((of) => words.count(of, "key")),
    ["0 keys", "1 key", "1,234 keys"],
  );
  assert.deepEqual([0, 3.21, 9.96, 99, 100, 7200].map(words.seconds), [
    "0.0 s",
    "3.2 s",
    "10 s",
    "99 s",
    "2 min",
    "2 h",
  ]);
  assert.deepEqual([0.2, 3.2, 42].map(words.left), ["1 s", "4 s", "42 s"]);
});
