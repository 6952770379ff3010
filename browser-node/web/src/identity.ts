// Who this tab is, across reloads: each tab of a browser is a peer of its own.

import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";

import { newIdentity } from "./mesh.js";

const KEY = "identity";

/**
 * This tab's identity, the same after a reload. A copy of a tab starts with a copy of what the tab keeps: whoever holds
 * the lock has the identity, and the other gets a new one.
 */
export async function ownIdentity(): Promise<Uint8Array> {
  const kept = sessionStorage.getItem(KEY);
  if (kept !== null && (await held(kept))) return hexToBytes(kept);
  const identity = newIdentity();
  const text = bytesToHex(identity);
  sessionStorage.setItem(KEY, text);
  await held(text);
  return identity;
}

const locks = new Set<string>();

/** Whether this tab has the lock of an identity, which it then keeps for as long as it lives. */
async function held(identity: string): Promise<boolean> {
  // Pages from elsewhere than this machine have locks over HTTPS only.
  if (locks.has(identity) || !("locks" in navigator)) return true;
  const name = `webmesh-identity-${await digest(identity)}`;
  const got = await new Promise<boolean>((resolve) => {
    void navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise(() => {});
    });
  });
  if (got) locks.add(identity);
  return got;
}

/** The identity is a secret, and a lock's name is not. */
async function digest(identity: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(identity));
  return bytesToHex(new Uint8Array(hash));
}
