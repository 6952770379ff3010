// Reads the examples for the page: their sources, and the descriptions and commands in their READMEs.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Size limit of the inputs of all examples together, in bytes: they are part of the page. */
const INPUT_BYTES = 200_000;
/** Options of `webmesh run` that an example may use, and the corresponding settings. */
const FLAGS = { "--whole-files": { wholeFiles: true }, "--tasks": { fields: "tasks" } };

/** All examples of a folder; of each, the one whose command its README gives comes first. */
export function readExamples(url) {
  const root = fileURLToPath(url);
  const examples = folders(root).flatMap((folder) => readExample(root, folder));
  const sizes = examples.flatMap(({ inputs }) => inputs).map(({ text }) => Buffer.byteLength(text));
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (bytes > INPUT_BYTES)
    throw new Error(`the examples' inputs have ${bytes} bytes, more than the limit of ${INPUT_BYTES}`);
  // Counting words is the usual first job.
  return examples.sort((a, b) => Number(b.name.startsWith("wordcount")) - Number(a.name.startsWith("wordcount")));
}

function folders(root) {
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

function readExample(root, folder) {
  const readme = readFileSync(join(root, folder, "README.md"), "utf8");
  const title = /^# (.+)$/m.exec(readme)?.[1];
  const command = /^webmesh run (.+)$/m.exec(readme)?.[1]?.split(" ");
  if (title === undefined || command === undefined) throw new Error(`${folder}/README.md has no title or no command`);
  const main = basename(command[0]);
  const { inputs, settings } = readArguments(root, command.slice(1));
  const sources = readdirSync(join(root, folder)).filter((name) => name.endsWith(".cpp"));
  return sources
    .sort((a, b) => Number(b === main) - Number(a === main))
    .map((name) => {
      const source = readFileSync(join(root, folder, name), "utf8");
      return {
        title: name === main ? title : `${title}: ${name}`,
        about: sentence(source),
        name,
        source,
        settings,
        inputs,
      };
    });
}

/** The first sentence of a source's leading comment. */
function sentence(source) {
  const comment =
    /^(\/\/.*\n)+/
      .exec(source)?.[0]
      .replaceAll(/^\/\/ ?/gm, "")
      .replaceAll("\n", " ") ?? "";
  return /^.*?[.](?= [A-Z]|$)/.exec(comment.trim())?.[0] ?? comment.trim();
}

function readArguments(root, given) {
  const settings = { wholeFiles: false, fields: {} };
  const inputs = [];
  for (let i = 0; i < given.length; i++) {
    const flag = FLAGS[given[i]];
    if (flag?.fields !== undefined) settings.fields[flag.fields] = given[++i];
    else if (flag !== undefined) Object.assign(settings, flag);
    else if (given[i].startsWith("-")) throw new Error(`the page does not know the option ${given[i]} of an example`);
    else inputs.push(...texts(root, given[i].replace(/^examples\//, "")));
  }
  return { inputs, settings };
}

function texts(root, path) {
  const full = join(root, path);
  if (!statSync(full).isDirectory()) return [{ path: basename(path), text: readFileSync(full, "utf8") }];
  return readdirSync(full)
    .sort()
    .map((name) => ({ path: `${basename(path)}/${name}`, text: readFileSync(join(full, name), "utf8") }));
}
