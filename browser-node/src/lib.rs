//! A tab as a peer of the mesh: the same engine and network as in native peers, over WebRTC-direct, with tasks in Web
//! Workers.
//!
//! The page's script (`browser-node/web`) starts a `Tab` and gives it a *runner*, which owns the Workers.

#[cfg(target_family = "wasm")]
pub mod web;
