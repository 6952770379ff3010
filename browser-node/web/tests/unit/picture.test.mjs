// Positions of peers in the picture.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./module.mjs";

const { isBusy, places } = await load("picture.ts");
const peer = (name, relay = null, quietMillis = null) => ({ peer: name, kind: "node", relay, quietMillis });
const placed = (...peers) => new Map(places(peers).map((place) => [place.peer.peer, place]));
const MIDDLE = { x: 160, y: 160 };

test("a link is busy while bytes move, and idle otherwise", () => {
  assert.equal(isBusy(peer("a", null, 10)), true);
  assert.equal(isBusy(peer("a", null, 5_000)), false);
  assert.equal(isBusy(peer("a")), false);
});

test("a circuit starts at its relay, whose link is busy too", () => {
  const all = placed(peer("relay"), peer("behind", "relay", 10), peer("direct"));
  const relay = all.get("relay");
  assert.deepEqual(relay.from, MIDDLE);
  assert.deepEqual(all.get("behind").from, { x: relay.x, y: relay.y });
  assert.deepEqual([...all.values()].filter(({ busy }) => busy).map((place) => place.peer.peer), ["relay", "behind"]);
});

test("peers do not overlap", () => {
  const behind = Array.from({ length: 9 }, (_, i) => peer(`tab ${i}`, i % 2 === 0 ? "relay" : "other"));
  const all = [...placed(peer("relay"), ...behind, peer("other"), peer("alone")).values()];
  for (const [i, one] of all.entries()) {
    for (const other of all.slice(i + 1)) {
      const distance = Math.hypot(one.x - other.x, one.y - other.y);
      assert.ok(distance > 20, `${one.peer.peer} and ${other.peer.peer} are ${distance} apart`);
    }
  }
});

test("a circuit whose relay is not known starts in the centre", () => {
  assert.deepEqual(placed(peer("behind", "nobody")).get("behind").from, MIDDLE);
});
