// What the compiler said, at the places that it means.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { diagnosticsOf } = await load("clang.ts");
const { marks } = await load("submit/diagnostics.ts");
const error = (line, column) => ({ line, column, severity: "error", text: "wrong" });
const marked = (source, line, column) => {
  const [{ from, to }] = marks(source, [error(line, column)]);
  return source.slice(from, to);
};

test("clang's text is read, with what belongs to it", () => {
  const text = `job.cpp:2:5: warning: unused variable 'x' [-Wunused-variable]
    2 | int x;
      |     ^
job.cpp:7:1: fatal error: too many errors
job.cpp:3:9: note: declared here
1 warning generated.
`;
  assert.deepEqual(diagnosticsOf(text), [
    { line: 2, column: 5, severity: "warning", text: "unused variable 'x' [-Wunused-variable]" },
    { line: 7, column: 1, severity: "error", text: "too many errors" },
    { line: 3, column: 9, severity: "note", text: "declared here" },
  ]);
  assert.deepEqual(diagnosticsOf(""), []);
});

test("a mark covers the word at its place", () => {
  const source = "int one;\nint two = three;\n";
  assert.equal(marked(source, 1, 5), "one");
  assert.equal(marked(source, 2, 11), "three");
  assert.equal(marked(source, 2, 9), "=");
});

test("columns count bytes, the editor's places do not", () => {
  const source = 'auto s = "naïve 😀"; wrong();\n';
  const column = Buffer.byteLength(source.slice(0, source.indexOf("wrong"))) + 1;
  assert.equal(marked(source, 1, column), "wrong");
});

test("a place that is not in the text is brought into it", () => {
  const source = "int a\nb";
  for (const [line, column] of [
    [1, 6],
    [9, 1],
    [0, 0],
    [2, 99],
    [1, -5],
  ]) {
    const [{ from, to }] = marks(source, [error(line, column)]);
    assert.ok(from >= 0 && from <= to && to <= source.length, `${line}:${column} gave ${from} to ${to}`);
  }
  assert.deepEqual(
    marks("", [error(1, 1)]).map(({ from, to }) => [from, to]),
    [[0, 0]],
  );
});

test("a flood of diagnostics is cut", () => {
  const flood = "job.cpp:1:1: error: again\n".repeat(10_000);
  assert.equal(diagnosticsOf(flood).length, 100);
});
