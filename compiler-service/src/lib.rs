//! Compiles C++23 from untrusted sources to WebAssembly.
//!
//! A [`Compiler`] takes the source of a job, compiles it with a pinned clang ([`Toolchain`]) and returns a module.
//! Sources come from anybody, and C++ compilers are not designed for hostile input. So the compiler always runs in a
//! sandbox, within the bounds of [`limits`], and if no sandbox works the service does not start.
//!
//! ```no_run
//! use webmesh_compiler::{Compiler, CompilerConfig, Toolchain};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let toolchain = Toolchain::find(None)?;
//! let compiler = Compiler::new(toolchain, CompilerConfig::new("cache".into()))?;
//! let requester = [0; 32];
//! let job = compiler.compile(requester, "count.cpp", b"...").await?;
//! println!("{} bytes in {} ms", job.wasm.len(), job.millis);
//! # Ok(())
//! # }
//! ```
//!
//! A request is answered from the cache of modules, or from the failures of the last minute. Otherwise it waits in a
//! queue in which requesters take turns, until one of a few threads runs clang and then the linker, each in the
//! sandbox.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on has failed"))]

mod answer;
mod build;
mod cache;
mod compiler;
mod diagnostics;
mod error;
mod failures;
mod libraries;
pub mod limits;
mod memory;
mod module;
mod name;
mod private_paths;
mod queue;
mod sandbox;
mod sdk;
mod stack_dump;
mod stats;
mod toolchain;

pub use answer::answer;
pub use compiler::{Compiled, Compiler, CompilerConfig};
pub use error::{BusyReason, CompileError, StartError, ToolchainError};
pub use queue::Requester;
pub use sandbox::SandboxKind;
pub use stats::Stats;
pub use toolchain::Toolchain;
