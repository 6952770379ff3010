//! Files and folders that only their owner may read or list: keys, data of jobs, results and logs, whatever the user's
//! umask. What exists already keeps its permissions.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::Path;

/// Permissions of a file.
pub const FILE_MODE: u32 = 0o600;
/// Permissions of a folder.
pub const FOLDER_MODE: u32 = 0o700;

/// Options to open files with: one that they create is private.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    options
}

/// Creates a folder, and the folders above it that do not exist.
///
/// # Errors
/// An I/O error.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, FOLDER_MODE);
    builder.create(path)
}

/// Makes temporary folders.
pub fn temporary_folder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(FOLDER_MODE));
    builder
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("the file exists").permissions().mode() & 0o777
    }

    #[test]
    fn only_their_owner_may_read_files_and_list_folders() {
        let temporary = temporary_folder().prefix("a-").tempdir().unwrap();
        let folder = temporary.path().join("b/c");
        create_folder(&folder).unwrap();
        let file = folder.join("d");
        options().write(true).create_new(true).open(&file).unwrap();
        assert_eq!((mode(temporary.path()), mode(&temporary.path().join("b"))), (FOLDER_MODE, FOLDER_MODE));
        assert_eq!((mode(&folder), mode(&file)), (FOLDER_MODE, FILE_MODE));
    }
}
