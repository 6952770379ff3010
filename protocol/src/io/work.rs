//! What the engine asks of the threads that run tasks, and what they give.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::RunId;
use crate::id::{Hash, JobId};
use crate::manifest::TaskLimits;
use crate::message::Cause;
use crate::segment::Attempt;

/// Something for the threads that run tasks to do.
#[derive(Debug)]
pub enum RunAction {
    /// Run tasks; answered by [`Event::RunProgress`](super::Event::RunProgress).
    Start(Box<Work>),
    /// End the runs of a job that are under way or wait.
    Stop {
        /// The job.
        job: JobId,
    },
}

/// A unit of work for one thread.
#[derive(Debug)]
pub struct Work {
    /// Names the work in its results.
    pub run: RunId,
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: u8,
    /// The hash of the module, which has been loaded or stored before.
    pub module: Hash,
    /// The limits of each task.
    pub limits: TaskLimits,
    /// The tasks and their inputs.
    pub input: WorkInput,
    /// The number of partitions and of buckets to write; `None` if the tasks give the job's result.
    pub shuffle: Option<(u16, u32)>,
}

/// The inputs of a unit of work.
#[derive(Debug)]
pub enum WorkInput {
    /// Map documents of one pack.
    Pack {
        /// The pack.
        pack: Bytes,
        /// The tasks, consecutive.
        tasks: Range<u32>,
        /// The place of the first task's first document in the pack.
        first_document: u32,
        /// Documents per task.
        docs_per_task: u32,
    },
    /// Map numbers: the document of task *t* is *t* in decimal.
    Numbers {
        /// The tasks.
        tasks: Range<u32>,
    },
    /// Reduce one bucket.
    Bucket {
        /// The task.
        task: u32,
        /// Its records, in order of the tasks that wrote them.
        records: Vec<Bytes>,
    },
}

/// The outcome of one task of a run.
#[derive(Debug)]
pub struct TaskResult {
    /// The task.
    pub task: u32,
    /// Its run time.
    pub elapsed: Duration,
    /// Its output, or why it has none.
    pub outcome: Result<TaskOutput, TaskFailure>,
}

/// The output of a task.
#[derive(Clone, Debug)]
pub enum TaskOutput {
    /// Segments for shufflers.
    Shuffle(Attempt),
    /// A sorted blob for the authority, with its hash.
    Collect {
        /// The hash of the bytes.
        digest: Hash,
        /// The bytes.
        bytes: Bytes,
    },
}

/// Why a task has no output.
#[derive(Clone, Debug)]
pub struct TaskFailure {
    /// The document within the task at which it failed, where one is to blame.
    pub document: Option<u32>,
    /// The error, for people.
    pub why: String,
    /// The cause: [`Cause::Worker`] where this peer could not run the task at all (a module that does not load, a
    /// cancelled run).
    pub cause: Cause,
}
