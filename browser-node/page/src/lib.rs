//! The page and the library behind it, embedded in the program: one file is enough to serve them.
//!
//! A crate of its own, which only the programs depend on: a new page compiles nothing else again.

use rust_embed::RustEmbed;
use webmesh_node::http::PageFile;

/// What `make page` built; empty in a program that was built without it.
#[derive(RustEmbed)]
#[folder = "../web/dist"]
struct Dist;

/// Looks up a file of the page: a [`webmesh_node::http::Page`].
pub fn file(path: &str) -> Option<PageFile> {
    let file = Dist::get(path)?;
    let hash = file.metadata.sha256_hash();
    Some(PageFile { data: file.data, hash })
}
