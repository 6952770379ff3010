// The script that wasm-bindgen made for the program, in a form that bundle.mjs gives it.

import type * as Script from "../wasm/webmesh_browser_node.js";

/** A script that has started no program yet. Each can start one: a program that crashed is replaced with its script. */
export function newScript(): typeof Script;
