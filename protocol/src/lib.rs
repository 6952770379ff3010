//! What the peers of a WebMesh agree on, and the peer's mind.
//!
//! This crate does no IO, reads no clock and draws no random numbers. [`engine::Engine`] takes
//! [`io::Event`]s and the time, and gives back [`io::Action`]s; the native node, the browser tab and the
//! simulator (feature `sim`) drive the very same engine.

pub mod claims;
pub mod codec;
pub mod decisions;
pub mod engine;
pub mod epoch;
pub mod guest;
pub mod id;
pub mod io;
pub mod limits;
pub mod manifest;
pub mod membership;
pub mod message;
pub mod pack;
pub mod provenance;
pub mod ranges;
pub mod ring;
pub mod segment;
pub mod sign;
#[cfg(feature = "sim")]
pub mod sim;
pub mod split;
pub mod time;
pub mod version;

pub use id::{Hash, JobId, PeerKey};
pub use time::Time;
