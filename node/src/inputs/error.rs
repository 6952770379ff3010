//! What can be wrong with inputs. Every text names the input and says what to do.

use std::io;
use std::path::PathBuf;

use webmesh_protocol::limits;

use super::{DOCUMENTS, LINE_BYTES, MAX_CHUNK_BYTES};

/// Why inputs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file or folder that is not there, or may not be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder in which there is nothing to read.
    #[error("there are no files in {}; names that begin with a dot are left out unless they are given as arguments", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// `-` was given twice.
    #[error("standard input (-) can be given only once")]
    StdinTwice,
    /// Standard input cannot be kept.
    #[error("cannot keep {what} in {}: {source}; free some space there or choose another disk with --data", dir.display())]
    Spool {
        /// What was being copied.
        what: String,
        /// Where to.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that changed while the job needs it.
    #[error("{name} changed since the job began to read it; run the job again when nothing writes to it")]
    Changed {
        /// The file.
        name: String,
    },
    /// A file that cannot be read any more.
    #[error("{name} could be read when the job began, but not now: {source}; put it back and run the job again")]
    Lost {
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line at which nothing can be cut.
    #[error("line {line} of {name} is longer than {} MiB, and files are cut at line ends; break the line, or take the file whole with --whole-files", LINE_BYTES >> 20)]
    LineTooLong {
        /// The file.
        name: String,
        /// The line's number, counted from 1.
        line: u64,
    },
    /// A file that shall stay whole and is too large for it.
    #[error("{name} has {bytes} bytes, and with --whole-files a file can have at most {} MiB; leave --whole-files out to have it cut at line ends", limits::PACK_BYTES >> 20)]
    FileTooLarge {
        /// The file.
        name: String,
        /// Its length in bytes.
        bytes: u64,
    },
    /// `--docs-per-task` makes a task too large.
    #[error("--docs-per-task {docs} makes a task of {bytes} bytes; a task can have at most {} MiB: give a smaller number", limits::PACK_BYTES >> 20)]
    TaskTooLarge {
        /// Documents per task.
        docs: u32,
        /// The bytes of the first such task.
        bytes: u64,
    },
    /// More tasks than a job can have, or none.
    #[error("{tasks} tasks; a job has from 1 to {}: give a larger --chunk or --docs-per-task", limits::TASKS)]
    TooManyTasks {
        /// How many.
        tasks: u64,
    },
    /// The same for a job without input, whose tasks were asked for by number.
    #[error("--tasks {tasks} cannot be used: a job has from 1 to {} tasks", limits::TASKS)]
    Numbers {
        /// How many.
        tasks: u32,
    },
    /// More documents than a job can have.
    #[error("{documents} documents; a job has at most {DOCUMENTS}: give a larger --chunk")]
    TooManyDocuments {
        /// How many, at least.
        documents: u64,
    },
    /// A chunk size that cannot be.
    #[error("--chunk {chunk} cannot be used: a chunk has from 1 byte to {} MiB", MAX_CHUNK_BYTES >> 20)]
    Chunk {
        /// What was asked for, in bytes.
        chunk: u64,
    },
}

impl InputError {
    /// Whether it is the command line that has to change, rather than the inputs.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::StdinTwice | Self::Chunk { .. } | Self::Numbers { .. } | Self::TaskTooLarge { .. })
    }
}
