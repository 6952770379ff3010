// Tests with the published Rust crates, which support version 1 only.

import { test } from "node:test";
import { MIB, browser, dial, nativePeer } from "./harness.mjs";

test("the published crates", async (t) => {
  const running = await browser("chromium");
  t.after(() => running.close());

  await t.test("a page on libp2p-webrtc-websys dials us", { timeout: 60_000 }, async (t) => {
    const server = await nativePeer();
    t.after(() => server.end());
    const page = await running.open("published");
    const peer = await dial(page, server.address);
    await page.evaluate(async (peer, bytes) => {
      await window.peer.echo(peer, new Uint8Array(1000).fill(3));
      await window.peer.upload(peer, bytes, 1);
      await window.peer.download(peer, bytes, 1);
    }, peer, 4 * MIB);
    const { connected } = await server.next("connected");
    server.command(`echo ${connected} 1000`);
    await server.next("done");
    await page.close();
  });

  await t.test("our page dials a server on libp2p-webrtc", { timeout: 60_000 }, async (t) => {
    const server = await nativePeer("--transport", "published");
    t.after(() => server.end());
    const page = await running.open("ours");
    const peer = await dial(page, server.address);
    await page.evaluate(async (peer, bytes) => {
      await window.peer.echo(peer, new Uint8Array(1000).fill(3));
      await window.peer.upload(peer, bytes, 1);
      await window.peer.download(peer, bytes, 1);
    }, peer, 4 * MIB);
    const { connected } = await server.next("connected");
    server.command(`echo ${connected} 1000`);
    await server.next("done");
    await page.close();
  });

  for (const [name, dialer, server] of [
    ["our native peer dials one on libp2p-webrtc, with version 1 after version 2", "ours", "published"],
    ["a native peer on libp2p-webrtc dials us", "published", "ours"],
  ]) {
    await t.test(name, { timeout: 60_000 }, async (t) => {
      const [from, to] = await Promise.all([dialer, server].map((kind) => nativePeer("--transport", kind)));
      t.after(() => Promise.all([from.end(), to.end()]));
      from.command(`dial ${to.address}`);
      const [{ connected: other }, { connected: one }] = await Promise.all([from, to].map((peer) => peer.next("connected")));
      const [us, them] = dialer === "ours" ? [from, other] : [to, one];
      // Our side starts the bulk transfers: theirs fails when it writes large amounts without flushing.
      for (const command of [`echo ${them} 1000`, `upload ${them} ${4 * MIB} 1`, `download ${them} ${4 * MIB} 1`]) {
        us.command(command);
        await us.next("done");
      }
      const [published, our] = dialer === "ours" ? [to, one] : [from, other];
      published.command(`echo ${our} 1000`);
      await published.next("done");
    });
  }
});
