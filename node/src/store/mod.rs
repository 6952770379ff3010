//! Storage: shuffle segments while a job runs, and, natively, small blobs for longer.
//!
//! Both stores are synchronous. Each should be used from a thread of its own.

pub mod actions;
#[cfg(not(target_family = "wasm"))]
pub mod blobs;
mod bucket_cache;
#[cfg(not(target_family = "wasm"))]
pub mod decisions;
mod log;
pub mod segments;
#[cfg(test)]
mod segments_test;
pub mod source;
