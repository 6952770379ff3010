// The script that wasm-bindgen generated for the program, as transformed by bundle.mjs.

import type * as Script from "../wasm/webmesh_browser_node.js";

/** A script without a program. Each can start one program: after a crash, a new script is needed. */
export function newScript(): typeof Script;
