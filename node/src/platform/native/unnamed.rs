//! Unnamed files, of which nothing remains however the process ends: a signal, a power failure, `kill -9`.

use std::fs::File;
use std::io;
use std::path::Path;

/// Creates an unnamed file in `folder`, open for reading and writing, with the permissions `mode` less the user's umask.
///
/// # Errors
/// An I/O error, such as `Unsupported` if the file system has no unnamed files.
#[cfg(target_os = "linux")]
pub fn unnamed_in(folder: &Path, mode: u32) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let file = open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(mode))?;
    Ok(File::from(file))
}

/// Gives an unnamed file its first name, which must be free and on the same file system.
///
/// # Errors
/// An I/O error.
#[cfg(target_os = "linux")]
pub fn name(file: &File, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD, linkat};
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, opened, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Only Linux has them.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn unnamed_in(_: &Path, _: u32) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Only Linux has them.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn name(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
