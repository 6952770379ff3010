// How a node serves the page: compressed and cached for browsers, uncompressed for other clients.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { root, startNode } from "./harness.mjs";

const PROGRAM = "webmesh.wasm";
const program = readFileSync(join(root, "browser-node/web/dist", PROGRAM));

describe("a node serves the page", { timeout: 60_000 }, () => {
  let node;
  before(async () => {
    node = await startNode();
  });
  after(() => node?.end());

  async function ask(headers, path = PROGRAM) {
    const [response] = await once(get(`${node.http}/${path}`, { headers }), "response");
    return { status: response.statusCode, headers: response.headers, body: await buffer(response) };
  }

  test("compressed, to clients that accept gzip", async () => {
    const { headers, body } = await ask({ "accept-encoding": "deflate, gzip;q=0.5" });
    assert.equal(headers["content-encoding"], "gzip");
    assert.equal(headers["content-type"], "application/wasm");
    assert.ok(body.length < program.length / 2);
    assert.deepEqual(gunzipSync(body), program);
  });

  test("uncompressed, to clients that do not accept or prefer gzip", async () => {
    for (const encodings of [{}, { "accept-encoding": "br" }, { "accept-encoding": "gzip;q=0, br" }]) {
      const { headers, body } = await ask(encodings);
      assert.equal(headers["content-encoding"], undefined);
      assert.deepEqual(body, program);
    }
  });

  test("once: an unchanged file is answered with 304", async () => {
    const accept = { "accept-encoding": "gzip" };
    const { headers } = await ask(accept);
    const again = await ask({ ...accept, "if-none-match": `"another", ${headers.etag}` });
    assert.equal(again.status, 304);
    assert.equal(again.body.length, 0);
    const plain = await ask({ "if-none-match": headers.etag });
    assert.equal(plain.status, 200, "a browser that has the compressed file has not the other");
    assert.equal((await ask({ ...accept, "if-none-match": '"older"' })).status, 200);
  });

  test("and no other files", async () => {
    for (const path of ["nothing", "../Cargo.toml", "webmesh.wasm.gz.gz"]) {
      assert.equal((await ask({}, path)).status, 404);
    }
  });
});
