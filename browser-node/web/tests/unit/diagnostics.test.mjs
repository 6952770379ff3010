// The compiler's diagnostics at their positions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { authorsText, diagnosticsOf, sentenceOf } = await load("clang.ts");
const { marks } = await load("submit/diagnostics.ts");
const error = (line, column) => ({ line, column, severity: "error", text: "wrong" });
const marked = (source, line, column) => {
  const [{ from, to }] = marks(source, [error(line, column)]);
  return source.slice(from, to);
};

test("clang's messages are parsed together with their notes", () => {
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

test("a mark covers the word at its position", () => {
  const source = "int one;\nint two = three;\n";
  assert.equal(marked(source, 1, 5), "one");
  assert.equal(marked(source, 2, 11), "three");
  assert.equal(marked(source, 2, 9), "=");
});

test("columns count bytes, the editor's positions do not", () => {
  const source = 'auto s = "naïve 😀"; wrong();\n';
  const column = Buffer.byteLength(source.slice(0, source.indexOf("wrong"))) + 1;
  assert.equal(marked(source, 1, column), "wrong");
});

test("a position outside of the text is moved into it", () => {
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

test("the number of diagnostics is limited", () => {
  const flood = "job.cpp:1:1: error: again\n".repeat(10_000);
  assert.equal(diagnosticsOf(flood).length, 100);
});

/** clang's text for a `reduce` with a wrong signature: the SDK's check, and the errors in headers that follow from
 * it. */
const WRONG_SIGNATURE = `webmesh/glue.hpp:35:15: error: static assertion failed: WebMesh: no overload of map fits
   35 | static_assert(functions_fit, mistake<Author>());
      |               ^~~~~~~~~~~~~
job.cpp:12:5: error: static assertion failed due to requirement 'fits': WebMesh: reduce takes (string_view, Values<V>&, Emitter<R>&)
   12 | int reduce(int a) {
      |     ^
include/webmesh/job.hpp:80:3: error: no member named 'Value' in 'webmesh::detail::NotThisForm'
   80 |   using Value = typename Form::Value;
      |   ^
job.cpp:3:1: note: in instantiation of template class 'webmesh::Job<Author>' requested here
`;

const SENTENCE = "WebMesh: reduce takes (string_view, Values<V>&, Emitter<R>&)";
const brief = (text) => diagnosticsOf(text).map(({ line, severity, text }) => [line, severity, text]);

test("a failed check of the SDK is shown at the author's line, without the errors that follow from it", () => {
  const found = diagnosticsOf(WRONG_SIGNATURE);
  const { text, ...at } = found[0];
  assert.deepEqual([at, text], [{ line: 12, column: 5, severity: "error" }, SENTENCE]);
  assert.deepEqual(found.slice(1).map(({ severity }) => severity), []);
  assert.deepEqual(sentenceOf(found), found[0]);
});

test("a position in a header of the SDK is never shown as the author's", () => {
  const alone = WRONG_SIGNATURE.slice(0, WRONG_SIGNATURE.indexOf("job.cpp"));
  assert.deepEqual(brief(alone), [[1, "error", "WebMesh: no overload of map fits"]]);
  assert.equal(authorsText(WRONG_SIGNATURE).includes("glue.hpp"), false);
});

test("the author's other errors and the SDK's warnings are shown beside the failed check", () => {
  const warning = "job.cpp:2:25: warning: WebMesh: the type of the values holds `long` [-Wdeprecated]\n";
  const text = `${warning}${WRONG_SIGNATURE}job.cpp:20:1: error: use of undeclared identifier 'x'\n`;
  assert.deepEqual(brief(text), [
    [12, "error", SENTENCE],
    [2, "warning", "WebMesh: the type of the values holds `long` [-Wdeprecated]"],
    [20, "error", "use of undeclared identifier 'x'"],
  ]);
});

test("each function that jobs do not have is reported at its own line", () => {
  const text = "job.cpp:3:3: error: WebMesh: jobs cannot sleep\njob.cpp:9:3: error: WebMesh: jobs have no files\n";
  assert.deepEqual(diagnosticsOf(text).map(({ line }) => line), [3, 9]);
});

test("an error only in a header is shown at the author's line that led there", () => {
  const instantiated = `/usr/include/c++/v1/vector:100:5: error: no matching function for call to 'f'
  100 |     f();
      |     ^
job.cpp:7:3: note: in instantiation of member function 'std::vector<X>::resize' requested here
`;
  const included = `In file included from job.cpp:2:
include/other.hpp:9:1: error: unknown type name 'nonsense'
`;
  const placesOf = (text) => diagnosticsOf(text).map(({ line, severity, text }) => [line, severity, text]);
  assert.deepEqual(placesOf(instantiated), [[7, "error", "no matching function for call to 'f'"]]);
  assert.deepEqual(placesOf(included), [[2, "error", "unknown type name 'nonsense'"]]);
});
