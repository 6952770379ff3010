//! C++23 to WebAssembly, for strangers.
//!
//! A [`Compiler`] takes the source of a job, compiles it with a pinned clang ([`Toolchain`]) and hands back a module.
//! Sources come from anybody, and a C++ compiler is a large program that was never made for that: so it runs in a
//! sandbox, always, within the bounds of [`limits`], and where no sandbox works the service does not start.
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
//! How a request goes: the cache of modules, else the failures of the last minute, else a queue in which requesters
//! take turns, else one of a few threads, which runs clang and then the linker, each in the sandbox.

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
