//! What differs between a native process and a browser tab: transports, tasks, time, chance, files.
//!
//! The only place with `cfg(target_family)`. Each target has a module with the same names.

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
