//! A peer of the mesh: the swarm and the driver of the engine, the same natively and in a tab, and the native
//! host beneath them.

pub mod driver;
#[cfg(not(target_family = "wasm"))]
pub mod exec;
#[cfg(not(target_family = "wasm"))]
pub mod host;
#[cfg(not(target_family = "wasm"))]
pub mod http;
#[cfg(not(target_family = "wasm"))]
pub mod inputs;
#[cfg(not(target_family = "wasm"))]
pub mod job;
pub mod net;
#[cfg(not(target_family = "wasm"))]
pub mod peer;
pub mod platform;
#[cfg(not(target_family = "wasm"))]
pub mod progress;
#[cfg(not(target_family = "wasm"))]
pub mod results;
#[cfg(not(target_family = "wasm"))]
pub mod signals;
#[cfg(not(target_family = "wasm"))]
pub mod store;
#[cfg(not(target_family = "wasm"))]
pub mod terminal;
