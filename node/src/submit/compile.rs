//! Gets a job compiled by a peer that has a compiler.

use std::pin::pin;

use bytes::Bytes;
use futures::future::{Fuse, FusedFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use webmesh_protocol::io::RequestError;
use webmesh_protocol::message::{Request, Response};
use webmesh_protocol::{Hash, PeerKey, limits};

use super::search::{Failure, SLOW_AFTER, Search, Step};
use crate::driver::{Answer, Node};
use crate::platform::{self, Instant};
use crate::progress::Reporter;
use crate::survey;

/// A compiled job.
#[derive(Clone, Debug)]
pub struct Module {
    /// The hash of `bytes`.
    pub hash: Hash,
    /// The WebAssembly module.
    pub bytes: Bytes,
}

/// The compilers to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compilers {
    /// Only this peer's own.
    Own,
    /// Those of all peers of the mesh.
    OfMesh,
}

/// Why a job was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The source has errors.
    #[error("{name} does not compile:\n{diagnostics}")]
    DoesNotCompile {
        /// The source.
        name: String,
        /// clang's output, with its colours.
        diagnostics: String,
    },
    /// No compiler is available, or none could compile it.
    #[error("{name} cannot be compiled: {why}")]
    NoCompiler {
        /// The source.
        name: String,
        /// The failure of the last compiler, or that there is none.
        why: String,
    },
}

/// Truncates a job's name to the longest that peers accept, at a character boundary.
pub fn cut_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(limits::NAME_BYTES)]
}

/// Compiles the source with the nearest compiler, or with the next ones if that is lost, refuses, or does not answer
/// for ten seconds. Reports what it waits for as a phase.
///
/// # Errors
/// [`CompileError`]: the source does not compile, or no compiler was available within the limits of the search.
pub async fn compile(
    node: &Node,
    compilers: Compilers,
    name: &str,
    source: Bytes,
    reporter: &Reporter,
) -> Result<Module, CompileError> {
    let mut search = Search::new(Instant::now());
    let mut asking = FuturesUnordered::new();
    search.found(match compilers {
        Compilers::Own => vec![node.net().peer()],
        Compilers::OfMesh => survey::near_compilers(node).await,
    });
    // Even if a near compiler is known: once it is lost, the other compilers may no longer be discoverable.
    let mut query = pin!(Fuse::terminated());
    match compilers {
        Compilers::Own => search.queried(Instant::now(), Vec::new()),
        Compilers::OfMesh => query.set(survey::compilers(node).fuse()),
    }
    let mut reported_slow = false;
    loop {
        let (until, query_again) = match search.step(Instant::now()) {
            Step::GiveUp(why) => return Err(CompileError::NoCompiler { name: name.to_owned(), why }),
            Step::Ask { peer, beside } => {
                if let Some(slow) = beside {
                    let seconds = SLOW_AFTER.as_secs();
                    let (slow, other) = (slow.short(), peer.short());
                    reporter.phase(&format!(
                        "compiler {slow} has not answered for {seconds} s: asking compiler {other} too"
                    ));
                }
                let request = Request::Compile { name: cut_name(name).to_owned() };
                let source = source.clone();
                asking.push(async move { (peer, node.ask(peer, request, source).await) });
                continue;
            }
            Step::Wait { until, query, slow } => {
                if let Some(slow) = slow.filter(|_| !reported_slow) {
                    reported_slow = true;
                    let seconds = SLOW_AFTER.as_secs();
                    reporter.phase(&match compilers {
                        Compilers::Own => format!("still compiling {name} after {seconds} s"),
                        Compilers::OfMesh => {
                            format!(
                                "compiler {} has not answered for {seconds} s, and no other compiler is known",
                                slow.short()
                            )
                        }
                    });
                }
                (until, query && compilers == Compilers::OfMesh)
            }
        };
        if query_again && query.is_terminated() {
            query.set(survey::compilers(node).fuse());
        }
        tokio::select! {
            Some((peer, answer)) = asking.next() => {
                let failure = match read(name, peer, answer)? {
                    Answered::Module { bytes, warnings } => {
                        if !warnings.is_empty() {
                            reporter.warnings(&warnings);
                        }
                        return Ok(Module { hash: Hash::of(&bytes), bytes });
                    }
                    Answered::Failure(failure) => failure,
                };
                if let Some(text) = search.failed(Instant::now(), peer, failure) {
                    reporter.phase(&text);
                }
            }
            found = &mut query, if !query.is_terminated() => search.queried(Instant::now(), found),
            () = platform::sleep(until.saturating_duration_since(Instant::now())) => {}
        }
    }
}

/// The meaning of an answer, except for errors in the source.
enum Answered {
    Module { bytes: Bytes, warnings: String },
    Failure(Failure),
}

fn read(name: &str, peer: PeerKey, answer: Answer) -> Result<Answered, CompileError> {
    let of_peer = |what: &dyn std::fmt::Display| format!("compiler {}: {what}", peer.short());
    Ok(Answered::Failure(match answer {
        Ok((Response::Compiled { warnings, .. }, bytes)) => return Ok(Answered::Module { bytes, warnings }),
        Ok((Response::CompileFailed { diagnostics }, _)) => {
            return Err(CompileError::DoesNotCompile { name: name.to_owned(), diagnostics });
        }
        Ok((Response::Busy, _)) => Failure::Busy,
        Ok((Response::Refused(refusal), _)) => Failure::Refused(refusal),
        Ok(_) => Failure::Refused(of_peer(&"unexpected response")),
        Err(failure @ (RequestError::Unreachable | RequestError::TimedOut)) => Failure::Lost(of_peer(&failure)),
        Err(failure) => Failure::Refused(of_peer(&failure)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_truncated_at_a_character_boundary() {
        assert_eq!(cut_name("job.cpp"), "job.cpp");
        let long = "ä".repeat(100);
        assert_eq!(cut_name(&long), "ä".repeat(limits::NAME_BYTES / 2));
        assert_eq!(cut_name(&format!("x{long}")).len(), limits::NAME_BYTES - 1);
    }
}
