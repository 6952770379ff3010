//! Files without a name, of which nothing is left however the process ends: a signal, a power cut, `kill -9`.

use std::fs::File;
use std::io;
use std::path::Path;

/// A new file in `folder`, open for reading and writing, that has no name yet. Its rights are those of any new file.
///
/// # Errors
/// Whatever the system says; `Unsupported`, among others, where the file system has no such files.
#[cfg(target_os = "linux")]
pub fn unnamed_in(folder: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    // The umask of the user is taken away by the system.
    let file = open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))?;
    Ok(File::from(file))
}

/// Gives a file that has no name a first one, which must be free and on the same file system.
///
/// # Errors
/// Whatever the system says.
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
pub fn unnamed_in(_: &Path) -> io::Result<File> {
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
