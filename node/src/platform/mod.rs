//! What differs between a native process and a browser tab: transports, tasks, time, random numbers, files.
//!
//! The only place with `cfg(target_family)`. Both targets have a module with the same items.

#[cfg(not(target_family = "wasm"))]
mod native;

#[cfg(not(target_family = "wasm"))]
pub use native::*;

#[cfg(target_family = "wasm")]
mod web;

#[cfg(target_family = "wasm")]
pub use web::*;

/// Threads that can run at once; 1 where that is not known.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
