//! Having a job compiled, by whichever peer can.

use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::io::RequestError;
use webmesh_protocol::message::{Request, Response};
use webmesh_protocol::{Hash, PeerKey, limits};

use crate::driver::Node;
use crate::platform::{self, Instant};
use crate::progress::Display;

/// A compiler that is busy is asked again after so long.
const BUSY: Duration = Duration::from_millis(300);
/// Compilers that are busy are asked again for so long: a compile takes 15 s at most, and the queues are short.
const PATIENCE: Duration = Duration::from_secs(180);

/// A compiled job.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its hash.
    pub hash: Hash,
    /// WebAssembly.
    pub bytes: Bytes,
}

/// Why a job is not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// clang refused it.
    #[error("{name} does not compile:\n{diagnostics}")]
    DoesNotCompile {
        /// The source.
        name: String,
        /// What clang said, with its colours.
        diagnostics: String,
    },
    /// No compiler did it.
    #[error("{name} cannot be compiled: {why}")]
    NoCompiler {
        /// The source.
        name: String,
        /// What the last one answered, or that there is none.
        why: String,
    },
}

/// The beginning of a job's name that peers take, whole characters of it.
pub fn cut_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(limits::NAME_BYTES)]
}

/// Has the source compiled by the first of these compilers that does it.
///
/// # Errors
/// [`CompileError`].
pub async fn compile(
    node: &Node,
    mut compilers: Vec<PeerKey>,
    name: &str,
    source: Bytes,
    display: &Display,
) -> Result<Module, CompileError> {
    let mut why = "no peer of the mesh has a compiler; start one with `webmesh node --roles compiler`".to_owned();
    let until = Instant::now() + PATIENCE;
    let mut waiting = false;
    while !compilers.is_empty() && Instant::now() < until {
        let mut busy = Vec::new();
        for compiler in compilers {
            let request = Request::Compile { name: cut_name(name).to_owned() };
            match node.ask(compiler, request, source.clone()).await {
                Ok((Response::Compiled { warnings, .. }, bytes)) => {
                    if !warnings.is_empty() {
                        display.warnings(&warnings);
                    }
                    return Ok(Module { hash: Hash::of(&bytes), bytes });
                }
                Ok((Response::CompileFailed { diagnostics }, _)) => {
                    return Err(CompileError::DoesNotCompile { name: name.to_owned(), diagnostics });
                }
                // It has others before us. What it began for us it goes on with: asked again, it gives that.
                Ok((Response::Busy, _)) | Err(RequestError::TimedOut) => busy.push(compiler),
                Ok((Response::Refused(refusal), _)) => why = refusal,
                Ok(_) => why = format!("compiler {} answers something else", compiler.short()),
                Err(failure) => why = format!("compiler {}: {failure}", compiler.short()),
            }
        }
        compilers = busy;
        if !compilers.is_empty() {
            if !std::mem::replace(&mut waiting, true) {
                display.phase("waiting for a compiler: others have their turn");
            }
            why = "every compiler of the mesh is busy; try again later".to_owned();
            platform::sleep(BUSY).await;
        }
    }
    Err(CompileError::NoCompiler { name: name.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_between_characters() {
        assert_eq!(cut_name("job.cpp"), "job.cpp");
        let long = "ä".repeat(100);
        assert_eq!(cut_name(&long), "ä".repeat(limits::NAME_BYTES / 2));
        assert_eq!(cut_name(&format!("x{long}")).len(), limits::NAME_BYTES - 1);
    }
}
