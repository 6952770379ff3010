//! Headers of every answer: what a browser may do with it.

use axum::http::{HeaderMap, HeaderValue, header};

/// The page may load resources from its own node, run the wasm module, and look up nodes elsewhere. It dials peers over
/// WebSocket, and over WebRTC, which no policy covers. Nothing that is injected into it may change where its links and
/// forms lead, and no other page may frame it.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; \
                      connect-src *; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The referrer policy keeps the addresses of pages from other servers. `no-referrer` would also take the origin from
/// what a closing tab posts to its own node.
const REFERRER: &str = "same-origin";

/// Adds them.
pub(super) fn add(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static(REFERRER));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
}
