// Checks that the library runs in a page of a browser.

import { JoinError } from "./bootstrap.js";

/** Throws a {@link JoinError} with advice, unless this is a page of a browser with WebRTC. */
export function requirePage(): void {
  if (typeof document !== "undefined" && typeof RTCPeerConnection !== "undefined" && typeof Worker !== "undefined") return;
  throw new JoinError(unsupportedReason());
}

function unsupportedReason(): string {
  if (typeof document !== "undefined") return "WebMesh needs WebRTC and Web Workers, which are switched off in this browser.";
  if ("WorkerGlobalScope" in globalThis) {
    return "join() was called in a Worker, and browsers have WebRTC in pages only. Call it in the page: it starts Workers itself.";
  }
  return (
    "The WebMesh library runs in browsers only: it needs WebRTC and Web Workers. In Node and the like, run the program " +
    "`webmesh` instead: `webmesh submit JOB.cpp FILES --bootstrap ADDRESS --json` submits a job, and " +
    "`webmesh node --bootstrap ADDRESS` works for others. If a framework renders this page on a server, call join() in " +
    "code that runs in the browser only."
  );
}
