//! What the engine tells the user.

use std::time::Duration;

use crate::id::{JobId, PeerKey};
use crate::message::{Failure, Outcome};
use crate::part::StageId;

/// Something that the user, or a log, should know.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A job of this peer's user was announced.
    Submitted {
        /// The job.
        job: JobId,
    },
    /// A submission was refused before anything started.
    SubmitRefused {
        /// The manifest's nonce, which names the submission.
        nonce: u64,
        /// The reason, for people.
        why: String,
    },
    /// A job of this peer's user made progress; sent every hundred milliseconds at most.
    Progress(Progress),
    /// A task of this peer's own job failed and is tried again.
    TaskFailed {
        /// The failure.
        failure: Failure,
        /// The worker that ran the task.
        worker: PeerKey,
        /// Retries that remain.
        retries_left: u8,
    },
    /// No task of a job of this peer's user has ended for a while. Sent when that begins, and when the cause changes.
    Waiting {
        /// The job.
        job: JobId,
        /// The peer that the job waits for, if it is a single one.
        peer: Option<PeerKey>,
        /// What the job waits for and what happens next, for people.
        why: String,
        /// The time since a task last ended, or since the job was submitted.
        quiet: Duration,
    },
    /// A task of a job ended after [`Notice::Waiting`] was sent.
    WaitingOver {
        /// The job.
        job: JobId,
        /// The time for which no task had ended.
        quiet: Duration,
    },
    /// Acceptances were revoked: their tasks, and those that had been computed from them, are open again.
    Revoked {
        /// The job.
        job: JobId,
        /// The stage whose attempts no longer stand.
        stage: StageId,
        /// The number of tasks that are open again, those of later stages included.
        tasks: u32,
    },
    /// A job of this peer's user is over.
    Ended {
        /// The job.
        job: JobId,
        /// How it ended.
        outcome: Outcome,
        /// The failure that ended it, if one did.
        failure: Option<Failure>,
    },
    /// A cancel was refused.
    CancelRefused {
        /// The job.
        job: JobId,
        /// The reason, for people.
        why: String,
    },
    /// A line for the log.
    Log(String),
}

/// The progress of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The job.
    pub job: JobId,
    /// Finished tasks and all tasks, by stage. The number of tasks of a stage that reads a shuffle is settled once the
    /// shuffle is written; until then it is the number of partitions.
    pub stages: Vec<(u32, u32)>,
    /// The number of peers that have worked on it.
    pub workers: u32,
    /// The number of shufflers in the newest epoch.
    pub shufflers: u32,
    /// The number of failed attempts so far.
    pub failures: u32,
}
