//! Two native ends of this transport on loopback.

// In helpers too: what fails there fails the test.
#![allow(clippy::unwrap_used)]

mod attack;
mod crowd;
mod life;
mod lossy;
mod soak;
mod streams;
mod support;
