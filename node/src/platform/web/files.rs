//! A tab has no data folder: the page stores what it needs.

use std::io;
use std::path::Path;

/// Always finds no file.
///
/// # Errors
/// None.
pub fn read(_: &Path, _: usize) -> io::Result<Option<Vec<u8>>> {
    Ok(None)
}

/// Writes nothing.
///
/// # Errors
/// Always: there is no disk.
pub fn write(_: &Path, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
