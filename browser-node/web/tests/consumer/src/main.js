// An example of a page that uses the library: it counts words on the mesh at ?bootstrap=URL, with its own Worker.

import { join } from "webmesh";

const source = `
  void map(string_view document, webmesh::Emitter<int>& out) {
    istringstream words{string(document)};
    for (string word; words >> word;) out.emit(word, 1);
  }
  void reduce(string_view key, webmesh::Values<int>& values, webmesh::Emitter<int>& out) {
    int sum = 0;
    for (int value : values) sum += value;
    out.emit(key, sum);
  }`;

/** @returns {Promise<string>} Lines of a word and its count, and whether this tab has run tasks. */
async function countWords() {
  const parameters = new URLSearchParams(location.search);
  const assets = parameters.get("assets");
  const mesh = await join({
    bootstrap: parameters.get("bootstrap") ?? "",
    threads: 1,
    ...(assets === null ? {} : { assets }),
  });
  const job = mesh.submit({ source, inputs: [new File(["to be or not to be\n"], "hamlet.txt")] });
  const { blob } = await job.result();
  const { given } = await mesh.status();
  await mesh.leave();
  return `${await blob.text()}${given.tasks > 0 ? "by this tab" : "by others"}`;
}

countWords().then(
  (text) => show("counted", text),
  (error) => show("failed", `${error.name}: ${error.message}`),
);

/**
 * @param {string} title
 * @param {string} text
 */
function show(title, text) {
  document.body.textContent = text;
  document.title = title;
}
