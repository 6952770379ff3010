//! Embeds the guest SDK's files into `src/sdk.rs`, so that the program knows the SDK that it was built with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("sdk");
    println!("cargo::rerun-if-changed=sdk");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).expect("found below it").to_str().expect("file names of the SDK are ASCII");
        // The checkout's folder is left to the compiler: cargo reuses this list for another checkout of the same version.
        let file = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/sdk/{name}\")");
        writeln!(list, "    ({name:?}, include_bytes!({file})),").expect("writing to a string cannot fail");
    }
    list.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("sdk.rs"), list)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
