// Dropped and chosen files, with folders.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { test } from "node:test";
import { load } from "./module.mjs";

const { dropped, MAX_FILES, picked } = await load("submit/walk.ts");

/** Fake entries of a browser: a folder's come in several batches, in no order. */
function entry(name, content, parent = "") {
  const fullPath = `${parent}/${name}`;
  if (content instanceof Error) return { name, fullPath, isFile: true, file: (_, reject) => reject(content) };
  if (typeof content === "string") {
    return { name, fullPath, isFile: true, file: (resolve) => resolve(new File([content], name)) };
  }
  const inside = Object.entries(content)
    .map(([name, content]) => entry(name, content, fullPath))
    .reverse();
  const createReader = () => {
    let at = 0;
    const readEntries = (resolve) => {
      at += 100;
      resolve(inside.slice(at - 100, at));
    };
    return { readEntries };
  };
  return { name, fullPath, isFile: false, createReader };
}
const paths = ({ found }) => found.map(({ path }) => path);

test("folders are walked completely, in order", async () => {
  const folder = entry("d", { b: "2", a: { z: "1", y: { x: "3" } } });
  assert.deepEqual(paths(await dropped([entry("q", "0"), folder])), ["d/a/y/x", "d/a/z", "d/b", "q"]);
});

test("a folder with more files than a browser returns at a time is read completely", async () => {
  const files = Object.fromEntries(Array.from({ length: 1234 }, (_, i) => [`f${i}`, "x"]));
  assert.equal((await dropped([entry("d", files)])).found.length, 1234);
});

test("hidden files in folders and the content of hidden folders are left out", async () => {
  const folder = entry("d", { ".git": { config: "no" }, ".x": "no", y: "yes" });
  assert.deepEqual(paths(await dropped([folder])), ["d/y"]);
  const file = (path) => Object.assign(new File([], path.split("/").at(-1)), {});
  const chosen = ["d/.git/config", "d/.x", "d/y"].map((path) => {
    return Object.defineProperty(file(path), "webkitRelativePath", { value: path });
  });
  assert.deepEqual(paths(picked(chosen)), ["d/y"]);
});

test("a hidden file that is chosen by itself is accepted", async () => {
  assert.deepEqual(paths(await dropped([entry(".profile", "yes")])), [".profile"]);
  assert.deepEqual(paths(picked([Object.assign(new File([], ".profile"), { webkitRelativePath: "" })])), [".profile"]);
});

test("an unreadable file is reported, and the rest is accepted", async () => {
  const walked = await dropped([entry("d", { a: new Error("not allowed"), b: new Error("either"), c: "1" })]);
  assert.deepEqual(paths(walked), ["d/c"]);
  assert.equal(walked.troubles.length, 1);
  assert.match(walked.troubles[0], /\/d\/a cannot be read: .*not allowed, and 1 more/);
});

test("more files than a tab can hold are refused with a message", async () => {
  const folder = (name) => entry(name, Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`f${i}`, "x"])));
  const walked = await dropped([folder("a"), folder("b")]);
  assert.equal(walked.found.length, MAX_FILES);
  assert.match(walked.troubles[0], /more than 100,000 files/);
});

test("a cycle of folders ends", async () => {
  const loop = { name: "l", fullPath: "/l", isFile: false };
  loop.createReader = () => {
    let given = false;
    return {
      readEntries(resolve) {
        resolve(given ? [] : [loop]);
        given = true;
      },
    };
  };
  assert.deepEqual(paths(await dropped([loop])), []);
});
