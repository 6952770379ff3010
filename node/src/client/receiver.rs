//! The destination of a job's result.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use webmesh_protocol::JobId;

use super::link::Cancelled;
use crate::results::{OutputFile, ResultError, ResultStore, Stats};

/// The destination of a job's result, such as a file or standard output.
pub trait Receiver: Send + 'static {
    /// The path of the file for the result, so that the job does not read it as an input; `None` if the result does not
    /// go to a named file.
    fn path(&self) -> Option<PathBuf>;

    /// Whether a background process runs the job.
    fn is_detached(&self) -> bool {
        false
    }

    /// Called with the job's id before the job is shown to anyone else.
    ///
    /// # Errors
    /// Why the job must stop: it then fails with this text.
    fn named(&mut self, _job: JobId) -> Result<(), String> {
        Ok(())
    }

    /// Writes the result, on a blocking thread. `None` if its reader closed it before the end.
    ///
    /// # Errors
    /// Why the result cannot be written.
    fn write(self: Box<Self>, results: Results) -> Result<Option<Stats>, Box<dyn Error + Send + Sync>>;
}

/// The results of a job's tasks, to be merged into one.
pub struct Results {
    pub(super) store: ResultStore,
    pub(super) cancelled: Cancelled,
}

impl Results {
    /// Writes `key<TAB>value` lines, sorted by key. Once the job is cancelled, the next write fails.
    ///
    /// # Errors
    /// The results cannot be read, or a write fails.
    pub fn merge(self, out: impl Write) -> Result<Stats, ResultError> {
        self.store.merge(&mut UntilCancelled { out, cancelled: self.cancelled })
    }
}

/// A writer that fails once the job is cancelled: a blocking thread cannot be interrupted otherwise.
struct UntilCancelled<W> {
    out: W,
    cancelled: Cancelled,
}

impl<W: Write> Write for UntilCancelled<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancelled.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Receiver for OutputFile {
    fn path(&self) -> Option<PathBuf> {
        Some(self.target().to_owned())
    }

    fn write(self: Box<Self>, results: Results) -> Result<Option<Stats>, Box<dyn Error + Send + Sync>> {
        let stats = match results.merge(self.writer()?) {
            Err(ResultError::Write(why)) => return Err(self.error(why).into()),
            merged => merged?,
        };
        self.finish()?;
        Ok(Some(stats))
    }
}

/// An unnamed temporary file.
impl Receiver for File {
    fn path(&self) -> Option<PathBuf> {
        None
    }

    fn write(self: Box<Self>, results: Results) -> Result<Option<Stats>, Box<dyn Error + Send + Sync>> {
        Ok(Some(results.merge(*self)?))
    }
}
