// Finds an entry to the mesh: a node's addresses, from its HTTP interface.

/** A join that failed; the message says why. */
export class JoinError extends Error {
  override name = "JoinError";
}

const NO_NODE = "no WebMesh node serves it. The option `bootstrap` must be the URL that a node prints as \"http\"";

/** How to reach a node. */
export interface Route {
  /** Addresses to dial at once, and again whenever the node is disconnected. */
  addresses: string[];
  /** A WebSocket address, for networks that drop UDP; undefined if only addresses were given. */
  fallback: string | undefined;
  /** URL for the ends of jobs whose tab closes; undefined if only addresses were given. */
  jobEnds: URL | undefined;
}

/** A node's answer. */
interface NodeInfo {
  peer: string;
  addresses: string[];
  websocket?: string;
  jobEnds?: string;
}

/** Finds out how to reach the node at a URL, or takes addresses as they are. */
export async function routeTo(bootstrap: string | URL | readonly string[]): Promise<Route> {
  if (typeof bootstrap !== "string" && !(bootstrap instanceof URL)) return directRoute([...bootstrap]);
  if (typeof bootstrap === "string" && bootstrap.startsWith("/")) return directRoute([bootstrap]);
  const url = new URL("/.well-known/webmesh.json", bootstrap);
  let answer: Response;
  try {
    answer = await fetch(url);
  } catch {
    // Browsers do not say which of the two it is.
    const reasons =
      "is it running, and if another server serves this page, does its --allow-origin name this page's origin?";
    throw new JoinError(`no node answers at ${url.origin}: ${reasons}`);
  }
  if (!answer.ok) throw new JoinError(`${url} answered with status ${answer.status}: ${NO_NODE}`);
  const node = ((await answer.json().catch(() => null)) ?? {}) as Partial<NodeInfo>;
  if (typeof node.peer !== "string" || !Array.isArray(node.addresses)) {
    throw new JoinError(`${url} answered with something unexpected: ${NO_NODE}`);
  }
  const dialled = node.addresses.filter((address) => address.includes("/webrtc-direct/"));
  const fallback = node.websocket === undefined ? undefined : socketAddress(url, node.websocket, node.peer);
  const jobEnds = node.jobEnds === undefined ? undefined : new URL(node.jobEnds, url);
  if (dialled.length > 0) return { addresses: dialled, fallback, jobEnds };
  // A node without WebRTC is reached like one behind a network that drops it.
  if (fallback !== undefined) return { addresses: [fallback], fallback: undefined, jobEnds };
  throw new JoinError(`the node at ${url.origin} has no address for tabs: it is of an older version`);
}

function directRoute(addresses: string[]): Route {
  return { addresses, fallback: undefined, jobEnds: undefined };
}

/** The multiaddress of a peer reached over WebSocket at a path of a server. */
export function socketAddress(server: URL, path: string, peer: string): string {
  const secure = server.protocol === "https:";
  const port = server.port === "" ? (secure ? 443 : 80) : server.port;
  const host = server.hostname;
  const kind = host.startsWith("[") ? "ip6" : /^\d+\.\d+\.\d+\.\d+$/.test(host) ? "ip4" : "dns";
  const name = host.replace(/^\[|\]$/g, "");
  return `/${kind}/${name}/tcp/${port}${secure ? "/tls" : ""}/x-parity-ws/${encodeURIComponent(path)}/p2p/${peer}`;
}
