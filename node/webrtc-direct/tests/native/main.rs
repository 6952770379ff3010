//! Two native ends of this transport on loopback.

mod attack;
mod crowd;
mod life;
mod lossy;
mod soak;
mod streams;
mod support;
