//! The description of a job to submit.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::inputs;
use crate::job::JobOptions;
use crate::job_folder::Cutting;
use crate::submit::cut_name;

/// A job to submit.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The C++ source (docs/writing-jobs.md).
    pub source: Bytes,
    /// The job's name for peers, and its source's name in compiler diagnostics.
    pub name: String,
    /// Files, folders (read recursively), or `-` for standard input. Peers fetch contents when a task needs them. If
    /// empty, the job's documents are the numbers from 0.
    pub inputs: Vec<PathBuf>,
    /// Number of tasks of a job without inputs, each with one number as its document.
    pub tasks: u32,
    /// Size in bytes of the documents into which large files are split, at line ends.
    pub chunk: u64,
    /// Whether every file is split between CSV records, not only those with the file extension of a table.
    pub csv: bool,
    /// Whether each file is one document.
    pub whole_files: bool,
    /// Documents per task. Default: by their size.
    pub documents_per_task: Option<NonZeroU32>,
    /// Whether unreadable inputs are skipped. Otherwise they are an error.
    pub skip_unreadable: bool,
    /// Partitions of the shuffle. Default: by the size of the inputs.
    pub partitions: Option<u16>,
    /// Copies of each partition, each on a different peer.
    pub replicas: u8,
    /// Maximum number of retries of a failed task.
    pub retries: u8,
    /// Wall-clock limit of a task.
    pub task_timeout: Duration,
    /// Memory limit of a task, in bytes.
    pub task_memory: u64,
    /// The file for the result, renamed into place once it is complete. If absent, the result is in a temporary file.
    pub output: Option<PathBuf>,
    /// A command that runs this job on standard input: notes on compressed inputs suggest unpacking into it.
    pub piped_command: Option<String>,
}

impl Default for JobSpec {
    fn default() -> Self {
        let (usual, cut) = (JobOptions::default(), inputs::Options::default());
        Self {
            source: Bytes::new(),
            name: "job.cpp".to_owned(),
            inputs: Vec::new(),
            tasks: cut.numbers,
            chunk: cut.chunk,
            csv: cut.csv,
            whole_files: cut.whole_files,
            documents_per_task: cut.docs_per_task,
            skip_unreadable: cut.skip_unreadable,
            partitions: usual.partitions,
            replicas: usual.replicas,
            retries: usual.retries,
            task_timeout: usual.task_timeout,
            task_memory: usual.task_memory,
            output: None,
            piped_command: None,
        }
    }
}

impl JobSpec {
    pub(super) fn cutting(&self) -> Cutting {
        let Self { chunk, csv, whole_files, documents_per_task, .. } = *self;
        Cutting { chunk, csv, whole_files, docs_per_task: documents_per_task }
    }

    pub(super) fn options(&self) -> JobOptions {
        JobOptions {
            name: cut_name(&self.name).to_owned(),
            partitions: self.partitions,
            replicas: self.replicas,
            task_timeout: self.task_timeout,
            task_memory: self.task_memory,
            retries: self.retries,
        }
    }
}
