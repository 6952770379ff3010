//! The last step of what a command says. Whoever reads it may go away at any time (`| head`): that is no failure, and
//! no reason to panic.

use std::io::{self, Write};

use serde_json::Value;

use crate::error::CliError;

/// Writes `text` to standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush())).map(drop)
}

/// What was written to standard output, or `None` if nobody wants more of it.
pub(crate) fn unless_closed<T>(written: io::Result<T>) -> Result<Option<T>, CliError> {
    match written {
        Ok(done) => Ok(Some(done)),
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        Err(why) => Err(CliError::Failed(format!("standard output cannot be written: {why}"))),
    }
}

/// Writes an event, a JSON object, as a line of standard error.
pub(crate) fn event(event: &Value) {
    complain(&event.to_string());
}

/// Writes a line to standard error, in one piece.
pub(crate) fn complain(text: &str) {
    // There is nobody left to be told that nobody listens.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
