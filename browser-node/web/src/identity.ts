// Who this tab is, across reloads: each tab of a browser is a peer of its own.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";

import { holds } from "./holds.js";
import { newIdentity } from "./mesh.js";

const KEY = "identity";

/**
 * This tab's identity, the same after a reload. A copy of a tab starts with a copy of what the tab keeps: whoever holds
 * the name has the identity, and the other gets a new one.
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

/** The identity is a secret, and the name is not. */
function nameOf(identity: string): string {
  return `identity-${bytesToHex(sha256(utf8ToBytes(identity)))}`;
}
