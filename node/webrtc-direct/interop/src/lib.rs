//! Test protocols of the interoperability tests, for native peers and pages.

pub mod protocols;

#[cfg(target_arch = "wasm32")]
mod page;
