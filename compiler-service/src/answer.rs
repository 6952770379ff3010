//! A compile request of a peer, answered in the protocol's words.

use bytes::Bytes;
use webmesh_protocol::limits;
use webmesh_protocol::message::Response;

use crate::{CompileError, Compiler};

/// Compiles `source` for the peer `from`: [`Response::Compiled`] with the module as its body, or why not.
pub async fn answer(compiler: &Compiler, from: [u8; 32], name: &str, source: &[u8]) -> (Response, Bytes) {
    match compiler.compile(from, name, source).await {
        Ok(compiled) => {
            let millis = u32::try_from(compiled.millis).unwrap_or(u32::MAX);
            let warnings = cut(compiled.diagnostics, limits::DIAGNOSTICS_BYTES);
            (Response::Compiled { warnings, cached: compiled.cached, millis }, compiled.wasm)
        }
        // A compiler that stops is gone when it is asked again, and another is asked then.
        Err(CompileError::Busy(_) | CompileError::Stopped) => (Response::Busy, Bytes::new()),
        Err(CompileError::Diagnostics(text)) => {
            let diagnostics = cut(text, limits::DIAGNOSTICS_BYTES);
            (Response::CompileFailed { diagnostics }, Bytes::new())
        }
        // Another compiler may do better where this one is broken.
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
