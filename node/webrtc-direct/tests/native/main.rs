//! Two native ends of this transport on loopback.

mod attack;
mod life;
mod lossy;
mod streams;
mod support;
