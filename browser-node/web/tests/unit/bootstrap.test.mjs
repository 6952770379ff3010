// Finding an entry to the mesh.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { socketAddress, routeTo } = await load("bootstrap.ts");
const PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

test("a server's WebSocket address follows from its URL", () => {
  for (const [url, wanted] of [
    ["http://192.0.2.1:8080/", "/ip4/192.0.2.1/tcp/8080/x-parity-ws/%2Fws"],
    ["http://[2001:db8::1]/", "/ip6/2001:db8::1/tcp/80/x-parity-ws/%2Fws"],
    ["https://mesh.example/", "/dns/mesh.example/tcp/443/tls/x-parity-ws/%2Fws"],
  ]) {
    assert.equal(socketAddress(new URL(url), "/ws", PEER), `${wanted}/p2p/${PEER}`);
  }
});

test("a node is dialled over WebRTC first, and over WebSocket at once if it has nothing else", async () => {
  const rtc = "/ip4/192.0.2.1/udp/1/webrtc-direct/certhash/uEi/p2p/x";
  const tcp = "/ip4/192.0.2.1/tcp/1/p2p/x";
  const socket = `/ip4/192.0.2.1/tcp/8080/x-parity-ws/%2Fws/p2p/${PEER}`;
  const given = (said) => {
    globalThis.fetch = async () => Response.json({ peer: PEER, ...said });
    return routeTo("http://192.0.2.1:8080");
  };
  const way = (addresses, fallback) => ({ addresses, fallback, jobEnds: undefined });
  assert.deepEqual(await given({ addresses: [rtc, tcp], websocket: "/ws" }), way([rtc], socket));
  assert.deepEqual(await given({ addresses: [rtc] }), way([rtc], undefined));
  assert.deepEqual(await given({ addresses: [tcp], websocket: "/ws" }), way([socket], undefined));
  const { jobEnds } = await given({ addresses: [rtc], jobEnds: "/job-ends" });
  assert.equal(jobEnds.href, "http://192.0.2.1:8080/job-ends");
  await assert.rejects(given({ addresses: [tcp] }), /no address for tabs/);
});

test("given addresses are used unchanged", async () => {
  const only = (addresses) => ({ addresses, fallback: undefined, jobEnds: undefined });
  assert.deepEqual(await routeTo("/ip4/192.0.2.1/tcp/1"), only(["/ip4/192.0.2.1/tcp/1"]));
  assert.deepEqual(await routeTo(["/a", "/b"]), only(["/a", "/b"]));
});

test("errors of a node have a readable message", async () => {
  globalThis.fetch = () => Promise.reject(new TypeError("failed"));
  await assert.rejects(routeTo("http://192.0.2.1:8080"), /no node answers at http:\/\/192\.0\.2\.1:8080: .*--allow-origin/);
  globalThis.fetch = async () => new Response("", { status: 404 });
  await assert.rejects(routeTo("http://192.0.2.1:8080"), /answered with status 404: .*`bootstrap` must be/);
  for (const other of ["<!doctype html>", "{}", "null"]) {
    globalThis.fetch = async () => new Response(other);
    await assert.rejects(routeTo("http://192.0.2.1:8080"), /answered with something unexpected/, other);
  }
});
