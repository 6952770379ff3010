// The mesh as a picture: this tab in the centre, its peers around it, and peers behind a relay around that.

import { shape } from "./dom.js";
import type { Peer } from "./mesh.js";

const SIZE = 320;
const MIDDLE = SIZE / 2;
/** Distances of peers from the centre: of all if each has a direct line; otherwise of those that have one, and of
 * those behind relays. */
const RING = 118;
const INNER = 72;
const OUTER = 128;
/** Maximum number of peers drawn: more would overlap. */
const SHOWN = 48;
/** Idle time after which a link counts as idle: two redraws of the picture. */
const BUSY_MILLIS = 1000;

interface Place {
  peer: Peer;
  x: number;
  y: number;
  /** The start of its line: at its relay, or in the centre. */
  from: { x: number; y: number };
  busy: boolean;
}

/** Whether data moves between this tab and a peer. */
export function isBusy({ quietMillis }: Peer): boolean {
  return quietMillis !== null && quietMillis < BUSY_MILLIS;
}

/** Places peers: each relay, with those that are reached through it around it, has a part of the circle. */
export function places(peers: readonly Peer[]): Place[] {
  const shown = peers.slice(0, SHOWN);
  const ids = new Set(shown.map(({ peer }) => peer));
  // If a relay is not shown, only the circuit is known: its line starts in the centre too.
  const relayOf = ({ relay }: Peer) => (relay !== null && ids.has(relay) ? relay : undefined);
  const behind = new Map<string, Peer[]>();
  for (const peer of shown) {
    const relay = relayOf(peer);
    if (relay !== undefined) behind.set(relay, [...(behind.get(relay) ?? []), peer]);
  }
  const direct = shown.filter((peer) => relayOf(peer) === undefined);
  const ring = behind.size > 0 ? INNER : RING;
  const parts = direct.map((peer) => Math.max(1, behind.get(peer.peer)?.length ?? 0));
  const all = parts.reduce((sum, part) => sum + part, 0);
  const middle = { x: MIDDLE, y: MIDDLE };
  const at = (part: number, radius: number) => {
    const angle = (2 * Math.PI * part) / all - Math.PI / 2;
    return { x: MIDDLE + radius * Math.cos(angle), y: MIDDLE + radius * Math.sin(angle) };
  };
  let begun = 0;
  return direct.flatMap((peer, i) => {
    const [part, relayed] = [parts[i] ?? 1, behind.get(peer.peer) ?? []];
    const here = at(begun + (part - 1) / 2, ring);
    // Data for the peers behind a relay also moves over the relay's link.
    const place: Place = { peer, ...here, from: middle, busy: [peer, ...relayed].some(isBusy) };
    const others = relayed.map((other, nth): Place => {
      return { peer: other, ...at(begun + nth, OUTER), from: here, busy: isBusy(other) };
    });
    begun += part;
    return [place, ...others];
  });
}

/** Draws connected peers into an SVG element. */
export function draw(into: SVGElement, peers: readonly Peer[]): void {
  const lines: SVGElement[] = [];
  const dots: SVGElement[] = [];
  const placed = places(peers);
  // With two rings there is less room.
  const radius = placed.some(({ from }) => from.x !== MIDDLE || from.y !== MIDDLE) ? 9 : 11;
  for (const { peer, x, y, from, busy } of placed) {
    const kind = [peer.relay === null ? "link" : "link relayed", busy ? "busy" : ""].filter(Boolean).join(" ");
    lines.push(shape("line", { x1: from.x, y1: from.y, x2: x, y2: y, class: kind }));
    const dot = shape("circle", { cx: x, cy: y, r: radius, class: `peer ${peer.kind}` });
    const through = peer.relay === null ? "" : `, through the relay ${peer.relay}`;
    dot.append(shape("title", {}, `${peer.kind} ${peer.peer}${through}`));
    dots.push(dot, shape("text", { x, y: y + (y < MIDDLE ? -radius - 6 : radius + 14), class: "label" }, peer.peer.slice(-4)));
  }
  dots.push(
    shape("circle", { cx: MIDDLE, cy: MIDDLE, r: 16, class: "peer self" }),
    shape("text", { x: MIDDLE, y: MIDDLE + 32, class: "label" }, "this tab"),
  );
  into.setAttribute("aria-label", summary(peers));
  into.replaceChildren(...lines, ...dots);
}

function summary(peers: readonly Peer[]): string {
  const count = peers.length;
  const relayed = peers.filter(({ relay }) => relay !== null).length;
  const through = relayed === 0 ? "" : `, to ${relayed} of them through a relay`;
  return `This tab, connected to ${count} ${count === 1 ? "peer" : "peers"}${through}`;
}
