//! A peer of the mesh: the swarm and the driver of the engine, which are the same natively and in a tab, and the native
//! host below them.

pub mod advice;
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
