//! Makes cargo watch the folder that `make page` fills.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let dist = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../web/dist/packed");
    // Cargo notices a change of a folder only if the folder existed at the first build: without the page it is empty.
    fs::create_dir_all(&dist)?;
    println!("cargo::rerun-if-changed=../web/dist/packed");
    Ok(())
}
