//! What the user can do about a failed write to a disk.

use std::io;

/// The remedy for an I/O error, or `else_do` if the error itself suggests none.
pub fn for_disk(why: &io::Error, else_do: &str) -> String {
    let remedy = match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there",
        io::ErrorKind::FileTooLarge => "raise the largest size that files may have there (see `ulimit -f`)",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "change the permissions there",
        _ => return else_do.to_owned(),
    };
    format!("{remedy} or {else_do}")
}
