//! `wasm-bindgen-step MODULE.wasm OUT_DIR`: the build steps after cargo for browsers.
//!
//! It uses wasm-bindgen's library rather than its program: that builds in a third of the time, and the workspace's lock
//! file gives it the same version as the crate, which is required.

mod order;
mod twins;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [module, out] = &arguments[..] else { anyhow::bail!("usage: wasm-bindgen-step MODULE.wasm OUT_DIR") };
    let mut bindgen = Bindgen::new();
    // By default, the script looks for the module next to itself.
    bindgen.input_path(module).web(true)?.typescript(true).omit_default_module_path(false);
    // Keep mangled names: `order` demangles them itself.
    bindgen.demangle(false);
    bindgen.generate(out).with_context(|| format!("cannot make JavaScript for {}", module.display()))?;

    let bound = out.join(format!("{}_bg.wasm", bindgen.stem()?));
    let ordered = order::by_kind(&fs::read(&bound)?).with_context(|| format!("cannot order {}", bound.display()))?;
    fs::write(&bound, ordered)?;
    Ok(())
}
