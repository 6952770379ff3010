//! The destination of a result: a file or standard output.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use webmesh_protocol::JobId;

use super::link::Cancelled;
use crate::results::{OutputFile, ResultError, ResultStore, Stats};

/// Where the result of a job goes.
pub trait Receiver: Send + 'static {
    /// The path of the file that the result is written to, which must not be an input of the same job; `None` if it is
    /// not a file.
    fn path(&self) -> Option<PathBuf>;

    /// Whether a process in the background submits the job.
    fn is_detached(&self) -> bool {
        false
    }

    /// Takes note of the job's id, before anybody else is told of it.
    ///
    /// # Errors
    /// Why the job should not go on.
    fn named(&mut self, _job: JobId) -> Result<(), String> {
        Ok(())
    }

    /// Writes the result, on a blocking thread. `None` if its reader has closed it.
    ///
    /// # Errors
    /// Why it cannot be written.
    fn write(self: Box<Self>, results: Results) -> Result<Option<Stats>, Box<dyn Error + Send + Sync>>;
}

/// The results of a job's tasks, to be merged into one.
pub struct Results {
    pub(super) store: ResultStore,
    pub(super) cancelled: Cancelled,
}

impl Results {
    /// Writes `key<TAB>value` lines, sorted by key. Fails at the next write once nobody wants the job any more.
    ///
    /// # Errors
    /// Where the results cannot be read, or the lines not be written.
    pub fn merge(self, out: impl Write) -> Result<Stats, ResultError> {
        self.store.merge(&mut UntilCancelled { out, cancelled: self.cancelled })
    }
}

/// A writer that fails once the job is cancelled, since a blocking thread cannot be interrupted.
struct UntilCancelled<W> {
    out: W,
    cancelled: Cancelled,
}

impl<W: Write> Write for UntilCancelled<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancelled.is_told() {
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

/// A file without a name.
impl Receiver for File {
    fn path(&self) -> Option<PathBuf> {
        None
    }

    fn write(self: Box<Self>, results: Results) -> Result<Option<Stats>, Box<dyn Error + Send + Sync>> {
        Ok(Some(results.merge(*self)?))
    }
}
