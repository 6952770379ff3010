//! What the engine asks of the threads that run tasks, and what they give.

use std::time::Duration;

use bytes::Bytes;

use super::RunId;
use crate::id::{Hash, JobId, PeerKey};
use crate::manifest::{Operator, Sink, TaskLimits};
use crate::message::Cause;
use crate::part::{StageId, StageRef, TaskId};
use crate::ranges::Run;
use crate::segment::Attempt;

/// Something for the threads that run tasks to do.
#[derive(Debug)]
pub enum RunAction {
    /// Run tasks; answered by [`Event::RunProgress`](super::Event::RunProgress).
    Start(Box<Work>),
    /// End one run, under way or waiting, without results: its thread is needed for others.
    Cancel {
        /// The run.
        run: RunId,
    },
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
    /// The owner of the job.
    pub owner: PeerKey,
    /// The stage.
    pub stage: StageId,
    /// The hash of the module, which has been loaded or stored before.
    pub module: Hash,
    /// The limits of each task.
    pub limits: TaskLimits,
    /// The operator of the stage.
    pub operator: Operator,
    /// The tasks, consecutive.
    pub tasks: Run<TaskId>,
    /// Their inputs, one port for each source of the stage.
    pub inputs: Vec<Port>,
    /// The sink of their output.
    pub output: Sink,
}

/// The input of a unit's tasks from one source.
#[derive(Debug)]
pub enum Port {
    /// Documents of one pack.
    Documents {
        /// The pack.
        pack: Bytes,
        /// The place of the first task's first document in the pack.
        first_document: u32,
        /// Documents per task.
        docs_per_task: u32,
    },
    /// Numbers: the only document of task *t* is *t* in decimal.
    Numbers,
    /// The records that the only task reads of a shuffle: those of each task that wrote any, in order of task.
    Records(Vec<Bytes>),
}

impl Work {
    /// The stage of its job.
    pub fn stage_ref(&self) -> StageRef {
        StageRef { job: self.job, stage: self.stage }
    }

    /// What of this a guest of this version of the interface cannot do.
    pub fn unsupported(&self, interface: u8) -> Option<&'static str> {
        self.operator.unsupported(self.inputs.len(), self.output, interface)
    }
}

/// The outcome of one task of a run.
#[derive(Debug)]
pub struct TaskResult {
    /// The task.
    pub task: TaskId,
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
