//! The page and the library behind it, embedded in the program: one file is enough to serve them.
//!
//! It is a crate of its own, on which only the programs depend, so a new page causes no other crate to be recompiled.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::GzDecoder;
use rust_embed::RustEmbed;
use webmesh_node::http::PageFile;

/// The output of `make page`; empty in a program built without it. Each file is embedded only in gzip form, which every
/// browser accepts: with uncompressed copies the page would be four times as large.
#[derive(RustEmbed)]
#[folder = "../web/dist/packed"]
struct Packed;

/// Looks up a file of the page: a [`webmesh_node::http::Page`].
pub fn file(path: &str) -> Option<PageFile> {
    if let Some(file) = Packed::get(path) {
        let hash = file.metadata.sha256_hash();
        return Some(PageFile { data: file.data, hash });
    }
    let data = unpacked(&Packed::get(&format!("{path}.gz"))?.data).ok()?;
    let hash = *blake3::hash(&data).as_bytes();
    Some(PageFile { data: Cow::Owned(data), hash })
}

fn unpacked(gzip: &[u8]) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut data)?;
    Ok(data)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_available_without_gzip() {
        for name in Packed::iter() {
            let plain = name.strip_suffix(".gz").unwrap();
            assert!(!file(plain).unwrap().data.starts_with(b"\x1f\x8b"), "{plain} is still packed");
        }
    }
}
