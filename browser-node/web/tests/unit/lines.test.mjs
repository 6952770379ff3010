// A result's bytes as lines: indexed, searched and sorted.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { Lines } = await load("submit/lines.ts");
const of = (text) => new Lines(Buffer.from(text, "latin1"));
const keys = (lines, indices) => [...indices].map((index) => lines.line(index).key);
const sorted = (lines, order, text = "") => {
  const found = lines.search(text);
  lines.sort(found, order);
  return keys(lines, found);
};

test("every line is found, the last one with or without its end", () => {
  for (const text of ["a\t1\nb\t2\nc\t3\n", "a\t1\nb\t2\nc\t3"]) {
    const lines = of(text);
    assert.equal(lines.count, 3);
    assert.deepEqual(
      [0, 1, 2].map((index) => lines.line(index)),
      [
        { key: "a", value: "1" },
        { key: "b", value: "2" },
        { key: "c", value: "3" },
      ],
    );
  }
  assert.equal(of("").count, 0);
});

test("a key may be empty, and bytes that are not UTF-8 are replaced", () => {
  const lines = of("\t1\n\xff\xfe\t2\nna\xc3\xafve\t3\n");
  assert.deepEqual(keys(lines, lines.search("")), ["", "\ufffd\ufffd", "naïve"]);
});

test("a line without a value is shown and has no number", () => {
  const lines = of("whole\nb\t2\n");
  assert.deepEqual(lines.line(0), { key: "whole", value: "" });
  assert.equal(lines.numbers(), undefined);
});

test("a search finds keys that hold a text, whatever the case, and never values", () => {
  const lines = of("Thetis\t7\nbathe\t1\nother\t2\nsea\t1\n");
  assert.deepEqual(keys(lines, lines.search("the")), ["Thetis", "bathe", "other"]);
  assert.deepEqual(keys(lines, lines.search("THE")), ["Thetis", "bathe", "other"]);
  assert.deepEqual(keys(lines, lines.search("7")), []);
  assert.deepEqual(keys(lines, lines.search("\t")), []);
  assert.equal(lines.search("").length, 4);
});

test("a search finds letters of any language", () => {
  const lines = new Lines(Buffer.from("naïve\t1\nKüche\t2\n"));
  assert.deepEqual(keys(lines, lines.search("ï")), ["naïve"]);
  assert.deepEqual(keys(lines, lines.search("küche")), ["Küche"]);
});

test("all kinds of numbers are read, also those that JSON does not have", () => {
  const values = [
    "0",
    "42",
    "-7",
    "0.5",
    "1e3",
    "-2.5E-3",
    "18446744073709551615",
    '"NaN"',
    '"Infinity"',
    '"-Infinity"',
  ];
  const lines = of(`${values.map((value, i) => `k${i}\t${value}`).join("\n")}\n`);
  const numbers = [0, 42, -7, 0.5, 1000, -0.0025, 2 ** 64, Number.NaN, Infinity, -Infinity];
  assert.deepEqual([...lines.numbers()], numbers);
});

test("values that are not all numbers cannot be sorted by", () => {
  for (const value of ['"text"', "[1,2]", "null", "true", "", " 1", "0x10", "1_000", "1".repeat(40)]) {
    const lines = of(`a\t1\nb\t${value}\n`);
    assert.equal(lines.numbers(), undefined, value);
    assert.deepEqual(sorted(lines, "value"), ["a", "b"]);
  }
});

test("lines are sorted by key and by value, both ways, and equal values by key", () => {
  const lines = of('a\t5\nb\t30\nc\t"NaN"\nd\t5\ne\t-1\n');
  assert.deepEqual(sorted(lines, "key"), ["a", "b", "c", "d", "e"]);
  assert.deepEqual(sorted(lines, "key-down"), ["e", "d", "c", "b", "a"]);
  assert.deepEqual(sorted(lines, "value"), ["e", "a", "d", "b", "c"]);
  assert.deepEqual(sorted(lines, "value-down"), ["b", "a", "d", "e", "c"]);
});

test("search results can be sorted", () => {
  const lines = of("ab\t1\nb\t9\ncb\t3\n");
  assert.deepEqual(sorted(lines, "value-down", "b"), ["b", "cb", "ab"]);
});

test("the largest values are found, equal ones in the order of their keys", () => {
  const lines = of('a\t5\nb\t30\nc\t"NaN"\nd\t5\ne\t-1\nf\t30\n');
  assert.deepEqual(keys(lines, lines.largest(3)), ["b", "f", "a"]);
  assert.deepEqual(keys(lines, lines.largest(20)), ["b", "f", "a", "d", "e"]);
  assert.deepEqual(of("a\t[1]\n").largest(3), []);
  const many = Array.from({ length: 5000 }, (_, i) => (i * 7919) % 5003);
  const best = of(many.map((number, i) => `k${i}\t${number}\n`).join("")).largest(20);
  assert.deepEqual(
    best.map((line) => many[line]),
    [...many].sort((a, b) => b - a).slice(0, 20),
  );
});

test("a million lines are indexed, searched and sorted like in a simple implementation", () => {
  const expected = Array.from({ length: 1_000_000 }, (_, i) => [
    `k${String(i).padStart(7, "0")}`,
    (i * 7919) % 1_000_003,
  ]);
  const lines = of(`${expected.map((pair) => pair.join("\t")).join("\n")}\n`);
  assert.equal(lines.count, expected.length);
  const matching = expected.filter(([key]) => key.includes("99"));
  assert.equal(lines.search("99").length, matching.length);
  const largest = matching.sort((a, b) => b[1] - a[1]).slice(0, 100);
  assert.deepEqual(
    sorted(lines, "value-down", "99").slice(0, 100),
    largest.map(([key]) => key),
  );
});
