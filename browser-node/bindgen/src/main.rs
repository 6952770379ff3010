//! `wasm-bindgen-step MODULE.wasm OUT_DIR`: the steps after cargo in a build for browsers.
//!
//! The library rather than the wasm-bindgen program: it builds in a third of the time, and the workspace's lock file
//! keeps its version beside that of the crate, which must be the same.

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
    // The module is looked for beside the script, unless its user says otherwise.
    bindgen.input_path(module).web(true)?.typescript(true).omit_default_module_path(false);
    // Names stay as they are mangled: `order` takes them apart itself.
    bindgen.demangle(false);
    bindgen.generate(out).with_context(|| format!("cannot make JavaScript for {}", module.display()))?;

    let bound = out.join(format!("{}_bg.wasm", bindgen.stem()?));
    let ordered = order::by_kind(&fs::read(&bound)?).with_context(|| format!("cannot order {}", bound.display()))?;
    fs::write(&bound, ordered)?;
    Ok(())
}
