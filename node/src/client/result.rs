//! The result of a job, and writing it.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::time::Instant;

use webmesh_protocol::JobId;

use super::error::JobError;
use super::link::{Cancelled, Link};
use super::receiver::{Receiver, Results};
use crate::job_folder::JobFolder;
use crate::results::{OutputFile, ResultStore};

/// The result of a job that is done.
#[derive(Debug)]
pub struct JobResult {
    /// The job's id.
    pub job: JobId,
    /// Number of lines. Lines, keys and bytes are 0 if the receiver's reader closed it before the end.
    pub lines: u64,
    /// Number of distinct keys.
    pub keys: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Seconds from the start of preparation (or of resuming) until the result was written.
    pub seconds: f64,
    place: Place,
}

/// Where a result was written.
#[derive(Debug)]
pub(super) enum Place {
    Path(PathBuf),
    Temporary(File),
    Elsewhere,
}

impl JobResult {
    /// The file with this result; `None` if the job had no output path.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Path(path) => Some(path),
            Place::Temporary(_) | Place::Elsewhere => None,
        }
    }

    /// The result: lines of `key TAB value` in ascending order of key (bytes); values are JSON.
    ///
    /// # Errors
    /// The file cannot be read, or the result was passed to a [`Receiver`].
    pub fn into_reader(self) -> io::Result<BufReader<File>> {
        Ok(BufReader::new(match self.place {
            Place::Path(path) => File::open(path)?,
            Place::Temporary(mut file) => {
                file.rewind()?;
                file
            }
            Place::Elsewhere => {
                return Err(io::Error::other("the result was passed to a receiver and is not stored here"));
            }
        }))
    }
}

/// The requested destination of a result.
pub(super) enum Destination {
    /// The output file of the job's spec, or a temporary file.
    Own,
    /// A receiver of the caller.
    Given(Box<dyn Receiver>),
}

impl Destination {
    /// Opens the destination before the job starts, so that a file that cannot be written fails the job now and not
    /// after an hour.
    pub(super) async fn open(
        self,
        output: Option<PathBuf>,
        data_dir: PathBuf,
    ) -> Result<(Box<dyn Receiver>, Place), JobError> {
        if let Self::Given(receiver) = self {
            return Ok((receiver, Place::Elsewhere));
        }
        // On a blocking thread: opening a named pipe waits for its reader.
        let opening = tokio::task::spawn_blocking(move || -> Result<(Box<dyn Receiver>, Place), JobError> {
            if let Some(path) = output {
                let file = OutputFile::create(&path)?;
                let path = file.target().to_owned();
                return Ok((Box::new(file), Place::Path(path)));
            }
            let file = tempfile::tempfile_in(data_dir).map_err(JobError::Scratch)?;
            let writer = file.try_clone().map_err(JobError::Scratch)?;
            Ok((Box::new(writer), Place::Temporary(file)))
        });
        opening.await.map_err(|why| JobError::Panicked("opening the output", why))?
    }
}

/// The folder for resuming the job if this process is killed. Removed when the job is cancelled.
pub(super) struct Kept {
    folder: Option<JobFolder>,
    cancelled: Cancelled,
}

impl Kept {
    /// `folder` is `None` for a job that cannot be resumed.
    pub(super) fn new(folder: Option<JobFolder>, link: &Link) -> Self {
        Self { folder, cancelled: link.cancelled.clone() }
    }

    /// Removes the folder: the job can no longer be resumed.
    pub(super) fn discard(&mut self) {
        if let Some(Err(why)) = self.folder.take().map(JobFolder::remove) {
            tracing::warn!("cannot remove the folder of the job: {why}");
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.cancelled.is_cancelled() {
            self.discard();
        }
    }
}

/// Everything needed to write the result of a job once it is done.
pub(super) struct Writing {
    pub(super) receiver: Box<dyn Receiver>,
    pub(super) place: Place,
    pub(super) kept: Kept,
    pub(super) begun: Instant,
}

impl Writing {
    /// Writes the result of a job that is done, then removes the job's folder.
    pub(super) async fn write(self, job: JobId, store: ResultStore, link: &Link) -> Result<JobResult, JobError> {
        let Self { receiver, place, mut kept, begun } = self;
        link.reporter.phase("merging the result");
        let results = Results { store, cancelled: link.cancelled.clone() };
        let writing = tokio::task::spawn_blocking(move || receiver.write(results));
        let written = link.unless_cancelled(writing).await?;
        let written = written.map_err(|why| JobError::Panicked("writing the result", why))?;
        let written = written.map_err(|why| JobError::Write { job, why })?;
        if let Some(stats) = written {
            link.reporter.written(stats);
        }
        kept.discard();
        let stats = written.unwrap_or_default();
        let seconds = begun.elapsed().as_secs_f64();
        Ok(JobResult { job, lines: stats.lines, keys: stats.keys, bytes: stats.bytes, seconds, place })
    }
}
