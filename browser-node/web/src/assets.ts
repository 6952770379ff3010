// The files that the library loads at run time: their URLs, and errors that explain why one cannot be loaded.

import { JoinError } from "./bootstrap.js";

/** One of the library's own files cannot be loaded. */
export class AssetError extends JoinError {
  override name = "AssetError";

  constructor(
    message: string,
    /** The file's URL, if it has one. */
    readonly url?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** URLs of the files. */
export interface Assets {
  program: URL;
  taskWorker: URL;
  storageWorker: URL;
  /** What to do if one of them is missing. */
  remedy: string;
}

/** The folder where development servers of Vite 7 and older keep bundled packages, without the packages' other
 * files. */
const PREBUNDLED = /\/\.vite\/deps\/(?=[^/]+$)/;
const FILES = "webmesh.wasm, guest.js and storage-worker.js";
const COPY = `copy ${FILES} from the package to a folder of your server and pass its URL: join({ assets: "/that-folder/" })`;

/** The files in a folder, given its URL; by default, where the bundler put them, or next to this module. */
export function assetsIn(folder?: string | URL): Assets {
  const assets = folder === undefined ? besideThisModule() : inFolder(folder);
  for (const url of [assets.taskWorker, assets.storageWorker]) {
    if (url.origin === location.origin) continue;
    if (url.protocol === "data:") {
      const why = "a Worker without an origin is given no compiled modules";
      const text = `WebMesh cannot use the script of a Worker that a bundler has put into a data: URL: ${why}`;
      throw new AssetError(`${text}. Have it copied (Vite: build.assetsInlineLimit), or ${COPY}.`);
    }
    const why = `browsers start no Worker whose script has another origin than the page's (${location.origin})`;
    throw new AssetError(`WebMesh cannot use ${url}: ${why}. Instead, ${COPY}.`, url.href);
  }
  return assets;
}

function besideThisModule(): Assets {
  try {
    return {
      // Vite and webpack recognise only this form, with a literal: they copy the file and insert its new name here.
      program: unbundled(new URL("./webmesh.wasm", import.meta.url)),
      taskWorker: unbundled(new URL("./guest.js", import.meta.url)),
      storageWorker: unbundled(new URL("./storage-worker.js", import.meta.url)),
      remedy: `if your bundler does not copy it, ${COPY}, or with Vite, set optimizeDeps: { exclude: ["webmesh"] }`,
    };
  } catch (cause) {
    const why = "it was bundled into a script without import.meta.url, so that it does not know its own URL";
    const module = "bundle it as an ES module (esbuild: --format=esm) and copy these files beside it";
    throw new AssetError(`WebMesh cannot find ${FILES}: ${why}. Either ${module}, or ${COPY}.`, undefined, { cause });
  }
}

/** The URL of a file in the package, if Vite gives one in its own folder. */
function unbundled(url: URL): URL {
  if (PREBUNDLED.test(url.pathname)) url.pathname = url.pathname.replace(PREBUNDLED, "/webmesh/");
  return url;
}

function inFolder(folder: string | URL): Assets {
  try {
    const base = new URL(folder, location.href);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    return {
      program: new URL("webmesh.wasm", base),
      taskWorker: new URL("guest.js", base),
      storageWorker: new URL("storage-worker.js", base),
      remedy: `the folder given as \`assets\` must hold ${FILES} of the package`,
    };
  } catch (cause) {
    const message = `the option \`assets\` must be the URL of a folder, such as "/webmesh/", and "${folder}" is none`;
    throw new AssetError(message, undefined, { cause });
  }
}

/** Fetches and compiles the program. Rejects with an {@link AssetError}. */
export async function compiledProgram({ program, remedy }: Assets): Promise<WebAssembly.Module> {
  const response = await fetched(program, remedy);
  try {
    // Browsers compile while downloading only with exactly this media type, without parameters.
    if (response.headers.get("content-type") === "application/wasm") return await WebAssembly.compileStreaming(response);
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new AssetError(`WebMesh cannot compile ${program}: ${why}`, program.href, { cause });
  }
}

/** The program and the script that starts it are of different versions. */
export function wrongVersion({ program }: Assets, cause: unknown): AssetError {
  const why = "it is of another version than the script that loads it";
  return new AssetError(`WebMesh cannot start ${program}: ${why}. Copy it from the package again.`, program.href, { cause });
}

/**
 * Fetches the script of a Worker, which leaves it in the browser's cache: a Worker does not report why it failed to
 * start. Rejects with an {@link AssetError}.
 */
export async function fetchScript(script: URL, remedy: string): Promise<void> {
  const response = await fetched(script, remedy);
  await response.arrayBuffer();
  const type = mediaType(response);
  if (/^(text|application)\/(x-)?(java|ecma)script$/.test(type)) return;
  const why = `its server sends it as ${type === "" ? "no media type" : type}, and browsers run scripts as text/javascript only`;
  throw new AssetError(`WebMesh cannot run ${script}: ${why}.`, script.href);
}

/** Why a Worker failed, from its `error` event. */
export function workerFailure(event: ErrorEvent, script: URL): string {
  // Without a message, the script itself did not fail.
  return event.message || `${script} could not be loaded, or may not run as a Worker here`;
}

async function fetched(url: URL, remedy: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch (cause) {
    const why = "its server does not answer, or the page's Content-Security-Policy forbids the request";
    throw new AssetError(`WebMesh cannot load ${url}: ${why}.`, url.href, { cause });
  }
  if (response.ok && mediaType(response) !== "text/html") return response;
  // Servers of single-page applications answer like this for missing files.
  const what = response.ok ? "with an HTML page instead of the file" : `with status ${response.status}`;
  throw new AssetError(`WebMesh cannot load ${url}: the server answered ${what}; ${remedy}.`, url.href);
}

function mediaType(response: Response): string {
  const [type = ""] = (response.headers.get("content-type") ?? "").split(";");
  return type.trim().toLowerCase();
}
