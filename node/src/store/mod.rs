//! What a native peer keeps for others: shuffle segments while a job runs, and small blobs for longer.
//!
//! Both stores are synchronous. Whoever drives them gives each a thread of its own.

pub mod blobs;
mod log;
pub mod segments;
#[cfg(test)]
mod segments_test;
mod shelf;
