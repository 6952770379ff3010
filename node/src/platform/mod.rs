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
