//! Writes to standard output and standard error. The reader may close its end at any time (`| head`), which is neither
//! an error nor a reason to panic.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::fs::{OFlags, fcntl_getfl};

use crate::closed;
use crate::error::CliError;

/// Writes `text` to standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    unless_closed(stdout()?.write_all(text.as_bytes())).map(drop)
}

/// Standard output as an unbuffered file. `std::io::Stdout` cannot be used, because it reports success if standard
/// output is closed.
///
/// # Errors
/// If standard output is closed, or open for reading only.
pub(crate) fn stdout() -> Result<File, CliError> {
    if closed::stdout_was_closed() {
        return Err(CliError::Failed("standard output is closed: write to a file (-o FILE) or redirect it".to_owned()));
    }
    let out = io::stdout();
    let reads_only = |flags: OFlags| flags & OFlags::ACCMODE == OFlags::RDONLY;
    if fcntl_getfl(out.as_fd()).is_ok_and(reads_only) {
        return Err(CliError::Failed(
            "standard output is open for reading only: write to a file (-o FILE) or redirect it".to_owned(),
        ));
    }
    let own = out.as_fd().try_clone_to_owned();
    Ok(own.map_err(|why| CliError::Failed(format!("standard output cannot be written: {why}")))?.into())
}

/// The outcome of a write to standard output; `None` if its reader has closed it.
pub(crate) fn unless_closed<T>(written: io::Result<T>) -> Result<Option<T>, CliError> {
    match written {
        Ok(done) => Ok(Some(done)),
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        Err(why) => Err(CliError::Failed(format!("standard output cannot be written: {why}"))),
    }
}

/// Writes a line to standard error with one call, so that concurrent lines do not mix.
pub(crate) fn print_to_stderr(text: &str) {
    // An error here cannot be reported anywhere.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
