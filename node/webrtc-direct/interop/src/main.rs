//! The native peer of the tests. Says what happens as lines of JSON on standard output, takes orders on standard input.

#[cfg(not(target_arch = "wasm32"))]
mod peer;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> anyhow::Result<()> {
    peer::main()
}

#[cfg(target_arch = "wasm32")]
fn main() {}
