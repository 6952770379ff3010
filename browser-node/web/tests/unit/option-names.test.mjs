// Messages shared with terminals, with the names of the library and of the page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { load } from "./module.mjs";

const { inLibraryWords, OPTION_NAMES } = await load("option-names.ts");
const { inPageWords } = await load("submit/page-words.ts");
const inPage = (text) => inPageWords(inLibraryWords(text));

test("options in a message get the page's names", () => {
  const terminal = "no worker gives a task the 512 MiB that it may take: ask for less with --task-memory, or start a node that gives more with --memory";
  const library = inLibraryWords(terminal);
  assert.match(library, /ask for less with `taskMemory`, or start a node that gives more with webmesh node --memory$/);
  assert.match(inPage(terminal), /ask for less with “Memory limit of a task, MiB” \(under Settings\), or/);
  assert.match(inPage("take the file whole with --whole-files"), /“Keep every file whole”/);
});

test("commands, values and words between backticks stay as they are", () => {
  for (const text of ["start one with `webmesh node --roles compiler`", "`std::vector` of `int`", "a -- b", "--chunky"]) {
    assert.equal(inPage(text), text);
  }
  assert.equal(inLibraryWords("--tasks 5 cannot be used"), "`tasks` 5 cannot be used");
});

test("advice that only a terminal can follow is left out", () => {
  assert.equal(inPage("a.txt cannot be read: gone; leave out what cannot be read with --skip-unreadable"), "a.txt cannot be read: gone");
  const denied = "no access; change its permissions, or leave out what cannot be read with --skip-unreadable";
  assert.equal(inPage(denied), "no access; change its permissions");
});

test("every option of a job has a name for the page, or exists only in a terminal", () => {
  const source = readFileSync(new URL("../../../../node/cli/src/args.rs", import.meta.url), "utf8");
  const [, job] = /pub\(crate\) struct JobArgs \{\n(.*?)\n\}/s.exec(source);
  const fields = [...job.matchAll(/#\[arg\(([^\]]*)\)\]\n\s+pub\(crate\) (\w+):/g)];
  const long = fields.filter(([, attributes]) => /\blong\b/.test(attributes));
  const options = long.map(([, attributes, field]) => {
    return `--${/long = "([^"]+)"/.exec(attributes)?.[1] ?? field.replaceAll("_", "-")}`;
  });
  assert.ok(options.length > 8, options.join());
  // Advice to use one of these is left out: where results go, what is shown, the keys' folder, and how files are read.
  const terminals = new Set(["--output", "--json", "--data", "--csv", "--skip-unreadable"]);
  assert.deepEqual(options.filter((option) => !terminals.has(option) && !(option in OPTION_NAMES)), []);
});
