//! Answers a peer's compile request with a message of the protocol.

use bytes::Bytes;
use webmesh_protocol::limits;
use webmesh_protocol::message::Response;

use crate::{CompileError, Compiler};

/// Compiles `source` for the peer `from`: [`Response::Compiled`] with the module as its body,
/// or a response with the reason for the failure.
pub async fn answer(compiler: &Compiler, from: [u8; 32], name: &str, source: &[u8]) -> (Response, Bytes) {
    match compiler.compile(from, name, source).await {
        Ok(compiled) => {
            let millis = u32::try_from(compiled.millis).unwrap_or(u32::MAX);
            let warnings = cut(compiled.diagnostics, limits::DIAGNOSTICS_BYTES);
            (Response::Compiled { warnings, cached: compiled.cached, millis }, compiled.wasm)
        }
        // Reported as busy, so that the peer tries again: by then this compiler has stopped, and it uses another one.
        Err(CompileError::Busy(_) | CompileError::Stopped) => (Response::Busy, Bytes::new()),
        Err(CompileError::Diagnostics(text)) => {
            let diagnostics = cut(text, limits::DIAGNOSTICS_BYTES);
            (Response::CompileFailed { diagnostics }, Bytes::new())
        }
        // The cause is this host, so another compiler may succeed.
        Err(why) if why.is_transient() => (Response::Refused(cut(why.to_string(), limits::TEXT_BYTES)), Bytes::new()),
        Err(why) => {
            let diagnostics = cut(why.to_string(), limits::DIAGNOSTICS_BYTES);
            (Response::CompileFailed { diagnostics }, Bytes::new())
        }
    }
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}
