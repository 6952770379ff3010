// A Worker that holds a result's lines, so that the page's main thread neither reads nor sorts them.

import { type Line, Lines } from "./lines.js";
import { type Answer, LINE_CHARACTERS, type Request, TABLE_BYTES, TOP } from "./rows.js";

let lines = new Lines(new Uint8Array());
let shown: Uint32Array = new Uint32Array();

async function open(blob: Blob): Promise<Answer> {
  let bytes = new Uint8Array(await blob.slice(0, TABLE_BYTES).arrayBuffer());
  const cut = blob.size > TABLE_BYTES;
  // The last line may be incomplete.
  if (cut) bytes = bytes.subarray(0, bytes.lastIndexOf(10) + 1);
  lines = new Lines(bytes);
  shown = lines.search("");
  const top = lines.largest(TOP).map((index) => crop(lines.line(index), LINE_CHARACTERS));
  return { kind: "opened", count: lines.count, numeric: lines.numbers() !== undefined, cut, top };
}

function crop({ key, value }: Line, most: number): Line {
  const short = (text: string) => (text.length > most ? `${text.slice(0, most)}…` : text);
  return { key: short(key), value: short(value) };
}

async function answer(request: Request): Promise<Answer> {
  switch (request.kind) {
    case "open":
      return open(request.blob);
    case "query":
      shown = lines.search(request.text);
      lines.sort(shown, request.order);
      return { kind: "found", count: shown.length };
    case "rows": {
      const wanted = [...shown.subarray(request.from, request.to)];
      return { kind: "rows", rows: wanted.map((index) => crop(lines.line(index), request.characters)) };
    }
  }
}

// One request after another: rows belong to the query before.
let last: Promise<void> = Promise.resolve();
self.onmessage = ({ data: { id, request } }: MessageEvent<{ id: number; request: Request }>) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, answer: await answer(request) });
    } catch (error) {
      self.postMessage({ id, why: String(error) });
    }
  });
};
