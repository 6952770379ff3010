//! `gzip-page FILE…`: beside each file, what browsers fetch of it.
//!
//! Zopfli finds some percent that gzip does not. It takes a hundred times as long, which is seconds here, once for all
//! who fetch the page.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use zopfli::{Format, Options};

fn main() -> anyhow::Result<()> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    anyhow::ensure!(!files.is_empty(), "usage: gzip-page FILE…");
    for file in files {
        let plain = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut compressed = Vec::new();
        // Neither a name nor a time is in it: the same page is the same bytes.
        zopfli::compress(Options::default(), Format::Gzip, &plain[..], &mut compressed)
            .with_context(|| format!("cannot compress {}", file.display()))?;
        let beside = PathBuf::from([file.as_os_str(), ".gz".as_ref()].into_iter().collect::<std::ffi::OsString>());
        fs::write(&beside, compressed).with_context(|| format!("cannot write {}", beside.display()))?;
    }
    Ok(())
}
