//! Serves the page and the library behind it, which the program embeds.

use std::borrow::Cow;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::Served;

/// Looks up a file of the page by its path relative to the page's root, without a leading slash.
pub type Page = fn(path: &str) -> Option<PageFile>;

/// A file of the page.
#[derive(Debug)]
pub struct PageFile {
    /// Its bytes.
    pub data: Cow<'static, [u8]>,
    /// A hash of its bytes, which browsers revalidate by.
    pub hash: [u8; 32],
}

const INDEX: &str = "index.html";
const MISSING: &str =
    "This program was built without the page: run `make build`, which builds the page, and start it again.\n";

/// Serves a file of the page, compressed by `make page` if the client accepts that.
pub(super) async fn serve(State(served): State<Served>, uri: Uri, asked: HeaderMap) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => INDEX,
        path => path,
    };
    let gzipped = accepts_gzip(&asked).then(|| (served.page)(&format!("{path}.gz"))).flatten();
    let encoding = gzipped.as_ref().map(|_| [(header::CONTENT_ENCODING, "gzip")]);
    let Some(file) = gzipped.or_else(|| (served.page)(path)) else {
        let why = if path == INDEX { MISSING } else { "File not found.\n" };
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let tag = format!("\"{}\"", hex::encode(file.hash));
    let headers = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::VARY, "accept-encoding"),
        // Names stay the same from version to version, so a browser has to revalidate; its copy is current if the tag
        // matches.
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, &tag),
    ];
    if items(&asked, header::IF_NONE_MATCH).any(|known| known.trim_start_matches("W/") == tag) {
        return (StatusCode::NOT_MODIFIED, encoding, headers).into_response();
    }
    (encoding, headers, file.data).into_response()
}

/// The items of a header with a list value.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether the client accepts gzip: a weight of 0 refuses it (RFC 9110, 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    items(headers, header::ACCEPT_ENCODING).any(|item| {
        let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
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
