//! Small files in the data folder.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::private;

/// Reads a file of at most `max` bytes; `None` if there is none.
///
/// # Errors
/// An I/O error, or `InvalidData` for a larger file.
pub fn read(path: &Path, max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("over {max} bytes")));
    }
    Ok(Some(bytes))
}

/// Writes a file atomically: a concurrent reader, or one after a crash, sees the old content or the new one. Only its
/// owner may read it.
///
/// # Errors
/// An I/O error.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        private::create_folder(folder)?;
    }
    let temporary = temporary(path);
    let opened = private::options().write(true).create(true).truncate(true).open(&temporary);
    let written = opened.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Locks a file, which is created if necessary, until the result is dropped or the process ends, however it ends;
/// `None` if it is already locked.
///
/// # Errors
/// An I/O error.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    if let Some(folder) = path.parent() {
        private::create_folder(folder)?;
    }
    let file = private::options().append(true).create(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(why),
    }
}

/// Removes temporary files left by killed processes. The caller must hold the folder's [`lock`].
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name())
            && let Err(why) = fs::remove_file(entry.path())
        {
            tracing::warn!("cannot remove {}, left by a killed process: {why}", entry.path().display());
        }
    }
}

/// A name in the same folder, so that a rename is atomic; with the process id and a counter, so that concurrent writers
/// differ.
fn temporary(path: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{}.new", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

/// Whether [`temporary`] creates such names, or did in earlier versions: something, a number, `new`.
fn is_temporary(name: &OsStr) -> bool {
    let parts = name.to_str().and_then(|name| name.strip_suffix(".new")).and_then(|name| name.rsplit_once('.'));
    parts.is_some_and(|(name, process)| !name.is_empty() && process.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_left_by_a_killed_process_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let left = temporary(&file("peers.json"));
        for path in [left.clone(), file("peers.json"), file("notes.new"), file(".1.new")] {
            fs::write(path, "x").unwrap();
        }
        sweep(folder.path());
        assert!(!left.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_is_replaced_atomically_without_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/file");
        assert_eq!(read(&path, 10).unwrap(), None);
        write(&path, b"old and longer").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path().join("sub")).unwrap().count(), 1);
        assert!(read(&path, 2).is_err());
    }

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/lock");
        let first = lock(&path).unwrap();
        assert!(first.is_some());
        assert!(lock(&path).unwrap().is_none());
        drop(first);
        assert!(lock(&path).unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn files_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, b"secret").unwrap();
        let lock_path = folder.path().join("sub/lock");
        let _lock = lock(&lock_path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&path), mode(&lock_path), mode(&folder.path().join("sub"))], [0o600, 0o600, 0o700]);
    }
}
