//! Tests between two native peers on loopback.

// Also in helper functions: a panic there fails the test.
#![allow(clippy::unwrap_used)]

mod attack;
mod crowd;
mod lifecycle;
mod proxy;
mod soak;
mod streams;
mod support;
