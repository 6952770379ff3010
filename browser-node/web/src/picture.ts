// The mesh as a picture: this tab in the middle, its peers around it.

import { shape } from "./dom.js";
import type { Peer } from "./mesh.js";

const SIZE = 320;
const MIDDLE = SIZE / 2;
const RING = 118;
/** More would lie on each other. */
const SHOWN = 48;

/** Draws connected peers into an SVG element; `busy` says whether anything flows. */
export function draw(into: SVGElement, peers: readonly Peer[], busy: boolean): void {
  const shown = peers.slice(0, SHOWN);
  const parts: SVGElement[] = [];
  shown.forEach((peer, i) => {
    const angle = (2 * Math.PI * i) / shown.length - Math.PI / 2;
    const x = MIDDLE + RING * Math.cos(angle);
    const y = MIDDLE + RING * Math.sin(angle);
    const line = shape("line", { x1: MIDDLE, y1: MIDDLE, x2: x, y2: y, class: busy ? "link busy" : "link" });
    const dot = shape("circle", { cx: x, cy: y, r: 11, class: `peer ${peer.kind}` });
    dot.append(shape("title", {}, `${peer.kind} ${peer.peer}`));
    const label = shape("text", { x, y: y + (y < MIDDLE ? -17 : 25), class: "label" }, peer.peer.slice(-4));
    parts.unshift(line);
    parts.push(dot, label);
  });
  parts.push(
    shape("circle", { cx: MIDDLE, cy: MIDDLE, r: 16, class: "peer self" }),
    shape("text", { x: MIDDLE, y: MIDDLE + 32, class: "label" }, "this tab"),
  );
  const count = peers.length;
  into.setAttribute("aria-label", `This tab, connected to ${count} ${count === 1 ? "peer" : "peers"}`);
  into.replaceChildren(...parts);
}
