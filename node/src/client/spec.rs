//! What a job is made of.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::inputs;
use crate::job::JobOptions;
use crate::job_folder::Cutting;
use crate::submit::cut_name;

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// C++, as docs/writing-jobs.md says.
    pub source: Bytes,
    /// What peers call the job, and diagnostics its source.
    pub name: String,
    /// Files, folders (walked), or `-` for standard input. Peers are given their contents when a task needs them. None:
    /// the job's documents are numbers.
    pub inputs: Vec<PathBuf>,
    /// How many numbers, where there are no inputs.
    pub tasks: u32,
    /// The size in bytes of the documents into which large files are cut, at line ends.
    pub chunk: u64,
    /// Whether all files are cut between the records of CSV, not only those whose names say that they are tables.
    pub csv: bool,
    /// Whether no file is cut.
    pub whole_files: bool,
    /// Documents that one task is given; by their size, if it is not said.
    pub documents_per_task: Option<NonZeroU32>,
    /// Whether inputs that cannot be read are left out. Otherwise they are an error.
    pub skip_unreadable: bool,
    /// Partitions of the shuffle; by the size of the inputs, if it is not said.
    pub partitions: Option<u16>,
    /// Copies of each partition, each on a peer of its own.
    pub replicas: u8,
    /// How often a task that failed is tried again.
    pub retries: u8,
    /// Wall time that a task may take.
    pub task_timeout: Duration,
    /// Bytes of memory that a task may take.
    pub task_memory: u64,
    /// The file for the result, which appears under its name once it is whole. Without it, the result lies in a temporary
    /// file.
    pub output: Option<PathBuf>,
    /// The command that runs this job on standard input, for the advice to unpack a compressed input into it.
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
