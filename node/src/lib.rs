//! A peer of the mesh: the swarm and the driver of the engine, which are the same natively and in a tab, and the native
//! host below them. A program submits jobs with a [`Client`](client::Client):
//!
//! ```no_run
#![doc = include_str!("../examples/submit.rs")]
//! ```
//!
//! A [`Peer`](peer::Peer) works for others. Everything that is reported of a job is a
//! [`ProgressEvent`](progress::ProgressEvent).

pub mod advice;
#[cfg(not(target_family = "wasm"))]
pub mod client;
pub mod driver;
#[cfg(not(target_family = "wasm"))]
pub mod exec;
#[cfg(not(target_family = "wasm"))]
pub mod host;
#[cfg(not(target_family = "wasm"))]
pub mod http;
pub mod inputs;
pub mod job;
#[cfg(not(target_family = "wasm"))]
pub mod job_folder;
pub mod module_shape;
pub mod net;
#[cfg(not(target_family = "wasm"))]
pub mod peer;
pub mod platform;
pub mod progress;
pub mod results;
#[cfg(not(target_family = "wasm"))]
pub mod signals;
pub mod store;
pub mod submit;
pub mod survey;
pub mod terminal;
