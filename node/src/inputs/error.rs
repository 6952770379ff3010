//! Errors in inputs. Every message names the input and says what to do.

use std::io;
use std::path::PathBuf;

use webmesh_protocol::limits;

use super::format::Format;
use super::{DOCUMENTS, LINE_BYTES, MAX_CHUNK_BYTES, WHOLE_FILE_BYTES};
use crate::advice::for_disk;
use crate::terminal::shell_word;

/// Why inputs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file or folder does not exist, or may not be read.
    #[error("cannot read {}: {source}{}", path.display(), remedy(source))]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A dangling symbolic link.
    #[error("{} is a dead link: it leads to {}, which does not exist; remove it, or leave it out with --skip-unreadable", path.display(), to.display())]
    DeadLink {
        /// The link.
        path: PathBuf,
        /// Its target.
        to: PathBuf,
    },
    /// No inputs are left after those that cannot be read were left out.
    #[error("none of the inputs can be read")]
    NothingReadable,
    /// A folder without any file to read.
    #[error("there are no files to read in {}; names that begin with a dot are left out unless they are given as arguments, and so is the job's own output", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// The result would overwrite an input.
    #[error("{} is both an input of the job and the file for its result: choose another file for one of them", path.display())]
    IsOutput {
        /// The file.
        path: PathBuf,
    },
    /// `-` was given twice.
    #[error("standard input (-) can be given only once")]
    StdinTwice,
    /// Standard input cannot be copied to disk.
    #[error("cannot keep {what} in {}: {source}; {}", dir.display(), for_disk(source, "choose another disk with --data"))]
    Spool {
        /// What was being copied.
        what: String,
        /// Where to.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The copied input has no end, or the disk is too small for it.
    #[error("{what} has more than {} MiB, and less than {} MiB would be left free in {}, where it is kept while the job runs: is it endless? If not, free some space there or choose another disk with --data", copied >> 20, reserve >> 20, dir.display())]
    SpoolFull {
        /// What was being copied.
        what: String,
        /// Where to.
        dir: PathBuf,
        /// Bytes copied so far.
        copied: u64,
        /// Bytes that are left free.
        reserve: u64,
    },
    /// A file changed while the job needed it.
    #[error("{name} changed since the job began to read it; run the job again when nothing writes to it")]
    Changed {
        /// The file.
        name: String,
    },
    /// A file can no longer be read.
    #[error("{name} could be read when the job began, but not now: {source}; put it back and run the job again")]
    Lost {
        /// The file.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// A line too long to cut the file.
    #[error("line {line} of {name} is longer than {} MiB, and files are cut at line ends only; {}", LINE_BYTES >> 20, long_line_remedy(*bytes))]
    LineTooLong {
        /// The file.
        name: String,
        /// The line's number, counted from 1.
        line: u64,
        /// The file's length in bytes.
        bytes: u64,
    },
    /// The same in a file that is not plain text, and has no lines.
    #[error("{name} is {}, and cannot be cut at line ends", if format.is_text() { format!("{} text", format.name()) } else { format!("compressed ({})", format.name()) })]
    NoLines {
        /// The file.
        name: String,
        /// Its format.
        format: Format,
    },
    /// A file that must not be cut and is too large for that.
    #[error("{name} has {bytes} bytes, and a file that is not cut can have at most {WHOLE_FILE_BYTES}; without --whole-files it is cut at line ends, which needs lines of at most {} MiB; or split the file", LINE_BYTES >> 20)]
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
        /// The number of tasks.
        tasks: u64,
    },
    /// The same for a job without input, whose number of tasks was given.
    #[error("--tasks {tasks} cannot be used: a job has from 1 to {} tasks", limits::TASKS)]
    Numbers {
        /// The number of tasks.
        tasks: u32,
    },
    /// More documents than a job can have.
    #[error("{documents} documents; a job has at most {DOCUMENTS}: give a larger --chunk")]
    TooManyDocuments {
        /// The number of documents, at least.
        documents: u64,
    },
    /// An invalid chunk size.
    #[error("--chunk {chunk} cannot be used: a chunk has from 1 byte to {} MiB", MAX_CHUNK_BYTES >> 20)]
    Chunk {
        /// The given size, in bytes.
        chunk: u64,
    },
}

impl InputError {
    /// Whether the command line has to change, rather than the inputs.
    pub fn is_usage(&self) -> bool {
        use InputError::{Chunk, IsOutput, Numbers, StdinTwice, TaskTooLarge};
        matches!(self, StdinTwice | Chunk { .. } | Numbers { .. } | TaskTooLarge { .. } | IsOutput { .. })
    }

    /// The shell command whose output can be piped into the job in place of an input that it cannot use as it is.
    pub fn unpacked_by(&self) -> Option<String> {
        match self {
            Self::NoLines { name, format } => Some(format.unpacked_by(&shell_word(name))),
            _ => None,
        }
    }

    /// The corresponding error for a file that could be read when the job was planned.
    pub(super) fn after_planning(self) -> Self {
        match self {
            Self::Unreadable { path, source } => Self::Lost { name: path.display().to_string(), source },
            other => other,
        }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "",
        io::ErrorKind::PermissionDenied => {
            "; change its permissions, or leave out what cannot be read with --skip-unreadable"
        }
        _ => "; leave out what cannot be read with --skip-unreadable",
    }
}

fn long_line_remedy(bytes: u64) -> String {
    if bytes <= WHOLE_FILE_BYTES {
        return "break the line, or take the file whole with --whole-files".to_owned();
    }
    format!(
        "break the line before (a JSON array, for one: jq -c '.[]' FILE): the file has {bytes} bytes, and one that is \
         not cut can have at most {WHOLE_FILE_BYTES}"
    )
}
