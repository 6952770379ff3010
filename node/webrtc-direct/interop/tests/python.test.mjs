// Tests with py-libp2p, an independent implementation of versions 1 and 2.

import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { HOST, Lines, nativePeer } from "./harness.mjs";

const folder = fileURLToPath(new URL("../python/", import.meta.url));

async function pythonPeer(version) {
  const peer = new Lines(`${folder}venv/bin/python`, [`${folder}peer.py`, version, `/ip4/${HOST}/udp/0/webrtc-direct`]);
  peer.address = (await peer.next("listening")).listening;
  return peer;
}

for (const version of ["1", "2"]) {
  test(`py-libp2p dials us with v${version}`, { timeout: 180_000 }, async (t) => {
    const [us, them] = await Promise.all([nativePeer(), pythonPeer(version)]);
    t.after(() => Promise.all([us.end(), them.end()]));
    them.command(`dial ${us.address}`);
    const [{ connected: their }, { connected: our }] = await Promise.all([us.next("connected"), them.next("connected")]);
    await echoes(us, their, them, our);
  });

  test(`we dial py-libp2p with v${version}`, { timeout: 180_000 }, async (t) => {
    const [us, them] = await Promise.all([nativePeer("--dial-version", version), pythonPeer(version)]);
    t.after(() => Promise.all([us.end(), them.end()]));
    us.command(`dial ${them.address}`);
    const { connected } = await us.next("connected");
    await echoes(us, connected, them, us.address.split("/p2p/")[1]);
  });
}

/** Echoes of various sizes, on streams from both sides. */
async function echoes(us, their, them, our) {
  for (const bytes of [0, 1, 100, 50_000, 400_000]) {
    us.command(`echo ${their} ${bytes}`);
    await us.next("done");
    them.command(`echo ${our} ${bytes}`);
    await them.next("done");
  }
}
