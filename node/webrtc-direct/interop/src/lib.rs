//! What the tests of the transport speak: streams that echo, take and give, natively and on a page.

pub mod protocols;

#[cfg(target_arch = "wasm32")]
mod page;
