//! The native peer of the tests. Reads commands from standard input and writes events as lines of JSON to standard
//! output.

#[cfg(not(target_arch = "wasm32"))]
mod peer;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> anyhow::Result<()> {
    peer::main()
}

#[cfg(target_arch = "wasm32")]
fn main() {}
