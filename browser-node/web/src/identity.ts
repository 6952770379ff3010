// This tab's identity, which survives reloads: each tab of a browser is a separate peer.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";

import { holds } from "./holds.js";
import { newIdentity } from "./mesh.js";

const KEY = "identity";

/**
 * This tab's identity, the same after a reload. A duplicated tab starts with a copy of the tab's session storage: the
 * tab that holds the name keeps the identity, and the other gets a new one.
 */
export async function ownIdentity(): Promise<Uint8Array> {
  const kept = sessionStorage.getItem(KEY);
  if (kept !== null && (await holds.take(nameOf(kept)))) return hexToBytes(kept);
  const identity = newIdentity();
  const text = bytesToHex(identity);
  sessionStorage.setItem(KEY, text);
  await holds.takeNew(nameOf(text));
  return identity;
}

/** The identity is a secret; this name for it is not. */
function nameOf(identity: string): string {
  return `identity-${bytesToHex(sha256(utf8ToBytes(identity)))}`;
}
