//! The last step of what a command says. Whoever reads it may go away at any time (`| head`): that is no failure, and
//! no reason to panic.

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

/// Standard output as a file, without a buffer. The one of the standard library takes what cannot be written for
/// written where there is no standard output.
///
/// # Errors
/// Standard output that was closed, or that is open for reading alone.
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

/// What was written to standard output, or `None` if nobody wants more of it.
pub(crate) fn unless_closed<T>(written: io::Result<T>) -> Result<Option<T>, CliError> {
    match written {
        Ok(done) => Ok(Some(done)),
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        Err(why) => Err(CliError::Failed(format!("standard output cannot be written: {why}"))),
    }
}

/// Writes a line to standard error, in one piece.
pub(crate) fn complain(text: &str) {
    // There is nobody left to be told that nobody listens.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
