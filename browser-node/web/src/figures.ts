// Shows what this tab has contributed, what that would cost, and its peers.

import { element } from "./dom.js";
import type { Status } from "./mesh.js";
import { draw } from "./picture.js";

/** The price of a gigabyte-second of AWS Lambda (x86, us-east-1), in US dollars; as of November 2026. */
const LAMBDA_DOLLARS = 0.0000166667;
/** The smallest price that is shown as a number. */
const SHOWN_DOLLARS = 0.000001;

/** Shows a status in the Mesh view. */
export function showFigures({ given, connected: count, peers }: Status): void {
  element("connected").textContent = String(count);
  element("tasks").textContent = String(given.tasks);
  element("time").textContent = `${(given.millis / 1000).toFixed(1)} s`;
  element("worth").textContent = `${given.gigabyteSeconds.toFixed(2)} GB·s`;
  element("dollars").textContent = `AWS Lambda would have charged ${price(given.gigabyteSeconds * LAMBDA_DOLLARS)}.`;
  const connected = peers.filter((peer) => peer.connected);
  draw(element<SVGElement>("picture"), connected);
  element("peers").replaceChildren(...connected.map(row));
}

function price(dollars: number): string {
  if (dollars === 0) return "nothing yet";
  if (dollars < SHOWN_DOLLARS) return "less than a millionth of a dollar";
  return `$${dollars.toFixed(dollars < 0.01 ? 6 : 2)}`;
}

function row(peer: Status["peers"][number]): HTMLTableRowElement {
  const roles = Object.entries(peer.roles).filter(([, has]) => has);
  const cells = [peer.peer.slice(-8), peer.kind, roles.map(([role]) => role).join(", "), String(peer.threads)];
  const row = document.createElement("tr");
  for (const text of cells) row.insertCell().textContent = text;
  return row;
}
