//! The page and the library behind it, embedded in the program: one file is enough to serve them.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

/// What `make page` built. A program that was built before holds none of it, and says so.
#[derive(RustEmbed)]
#[folder = "../browser-node/web/dist"]
#[allow_missing = true]
struct Files;

const INDEX: &str = "index.html";
const MISSING: &str = "This program was built without the page: run `make build`, which builds the page first.\n";

/// The page may load what comes from its own node, run the wasm module, and look for nodes elsewhere. Peers are dialled
/// over WebSocket, and over WebRTC, which no policy covers.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; \
                      connect-src *; img-src 'self' data: blob:; frame-ancestors 'none'";

/// Serves a file of the page.
pub(super) async fn serve(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => INDEX,
        path => path,
    };
    let Some(file) = Files::get(path) else {
        let why = if path == INDEX { MISSING } else { "There is no such file here.\n" };
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, content_type(path)),
        // Names stay the same from version to version, so that a browser has to ask.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, file.data.into_owned()).into_response()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("json") => "application/json",
        Some("cpp") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
