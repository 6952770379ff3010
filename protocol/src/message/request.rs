//! Requests from one peer to another.

use serde::{Deserialize, Serialize};

use super::{Announce, Attempts, End, Push};
use crate::codec::{Wire, at_most};
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::membership::Advert;
use crate::part::{PartitionId, PartitionRef, ShardRef, StageId, StageRef, TaskId};
use crate::sign::Signed;

/// A request from one peer to another. A body of raw bytes may follow; the variant says what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// The sender's advert; both sides send it once a connection is established.
    Hello(Advert),
    /// An offer of a job to a peer that may be idle, directly from its submitter (rule 7).
    Offer {
        /// The announcement of the job.
        announce: Announce,
        /// The starting place: the sender offers the job to `of` peers, and this one is number `slot`.
        slot: u32,
        /// Number of peers that are offered the job.
        of: u32,
    },
    /// Asks for the signed manifest of a job.
    Manifest {
        /// The job.
        job: JobId,
    },
    /// Asks for the state of one shard: what is done, which partitions are sealed, and the epoch (anti-entropy).
    Summary(ShardRef),
    /// Asks for the claims of all workers in one shard, as far as the answerer has heard them; sent when a worker
    /// enters it.
    Claims(ShardRef),
    /// Asks for a blob. The answer's body holds it.
    Blob {
        /// The blob's hash.
        hash: Hash,
    },
    /// Attempts' segments for a shuffler; the body holds them one after another.
    Push(Push),
    /// Attempts that the sender holds for all its partitions under an epoch.
    Commit(Commit),
    /// Digests that the authority has accepted.
    Accept(Accept),
    /// A partition is complete (rule 12).
    Sealed(Sealed),
    /// A new epoch, sent to all peers that it concerns.
    NewEpoch(Signed<Epoch>),
    /// Asks for all segments of a partition that the answerer holds; sent by a new owner (rule 2).
    Pull {
        /// The job.
        job: JobId,
        /// The stage.
        stage: StageId,
        /// The partition.
        partition: PartitionId,
        /// The first task to send; the answer names the next one.
        from: TaskId,
    },
    /// Asks for the attempts that the answerer holds for a partition, including those that wrote nothing for it:
    /// [`Response::Pulled`](super::Response::Pulled) without segments. Sent before a pull, which only returns attempts
    /// with segments.
    Held {
        /// The job.
        job: JobId,
        /// The stage.
        stage: StageId,
        /// The partition.
        partition: PartitionId,
        /// The first task to list; the answer names the next one.
        from: TaskId,
    },
    /// Asks for a piece of the records that a task reads of a shuffle ([`Response::Piece`](super::Response::Piece)).
    /// They are in order of the tasks that wrote them, each task's behind a `u32` length.
    Bucket(BucketPiece),
    /// A task's result for the authority; the body holds it.
    Output(Output),
    /// A task gave no result.
    Failed(Failure),
    /// The sender cannot work on a job: its tasks may need more memory than it gives, or the job needs a newer version
    /// of the protocol.
    Decline {
        /// The job.
        job: JobId,
        /// The memory that the sender gives to a task, in bytes.
        memory: u64,
        /// The minor version of the protocol that the sender speaks, if that is the reason.
        #[serde(default)]
        minor: Option<u16>,
    },
    /// The sender has lost segments of this job that it acknowledged, and no longer shuffles for the job.
    Resign {
        /// The job.
        job: JobId,
        /// How they were lost, for people: at most [`limits::TEXT_BYTES`].
        #[serde(default)]
        why: String,
    },
    /// A job is over.
    Ended(Signed<End>),
    /// Asks for the jobs that the answerer knows.
    Jobs,
    /// Asks for the peers that the answerer knows.
    Peers,
    /// Asks for known homes of jobs, with addresses: [`Response::Peers`](super::Response::Peers) with at most
    /// [`limits::HOMES`]. Sent by a peer that joins late, or that hears a job announced and does not know its home.
    Homes {
        /// Only this home; `None` for any.
        wanted: Option<PeerKey>,
    },
    /// Asks to compile the source in the body.
    Compile {
        /// The file name for diagnostics.
        name: String,
    },
    /// The sender leaves.
    Goodbye,
}

/// Attempts that an owner of partitions holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The epoch under which the sender owns the partitions.
    pub epoch: u32,
    /// When the sender opened the job, in its own unit. A greater number than before means that it has lost what it
    /// held: it was restarted, or believed the job to be over.
    pub opened: u64,
    /// The partitions; empty means all that the sender owns.
    pub partitions: Vec<PartitionId>,
    /// The attempts.
    pub attempts: Attempts,
    /// Bytes that workers have pushed to the sender since it opened the job, of attempts in this and in earlier
    /// commits. The authority decides from the sum how many tasks read them.
    pub bytes: u64,
}

/// Attempts that the authority has accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accept {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The epoch in which the receiver owns partitions.
    pub epoch: u32,
    /// The attempts.
    pub attempts: Attempts,
    /// How many buckets of a partition make one task of the stage that reads them ([`crate::split`]); `None` until
    /// an attempt of every task is accepted. It does not change afterwards.
    pub width: Option<u32>,
}

/// A partition that is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// The job.
    pub job: JobId,
    /// The stage that wrote it.
    pub stage: StageId,
    /// The epoch under which the sender owns it.
    pub epoch: u32,
    /// The partition.
    pub partition: PartitionId,
    /// The root over its accepted digests.
    pub root: Hash,
}

/// A piece of the records that a task reads of a shuffle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketPiece {
    /// The job.
    pub job: JobId,
    /// The stage that wrote them.
    pub stage: StageId,
    /// The task that reads them.
    pub task: TaskId,
    /// Number of buckets that it reads.
    pub width: u32,
    /// The root of the partition that the reader expects.
    pub root: Hash,
    /// Offset of the piece in bytes.
    pub from: u64,
}

/// The hash of a task's result, and what it was computed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The task.
    pub task: TaskId,
    /// The hash of the body.
    pub digest: Hash,
    /// The root of the partition that was read; `None` for a stage that reads documents.
    pub root: Option<Hash>,
    /// The roots of the stage's further sources, in the order of its ports.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<{ limits::FURTHER_SOURCES }, _, _>"
    )]
    pub further: Vec<Hash>,
}

impl Commit {
    /// The stage whose tasks wrote it.
    pub fn stage_ref(&self) -> StageRef {
        StageRef { job: self.job, stage: self.stage }
    }
}

impl Accept {
    /// The stage whose tasks wrote it.
    pub fn stage_ref(&self) -> StageRef {
        StageRef { job: self.job, stage: self.stage }
    }
}

impl Sealed {
    /// The partition.
    pub fn partition_ref(&self) -> PartitionRef {
        PartitionRef { job: self.job, stage: self.stage, partition: self.partition }
    }
}

impl Output {
    /// The roots of the partitions that were read, one per port.
    pub fn roots(&self) -> impl Iterator<Item = Hash> + '_ {
        self.root.into_iter().chain(self.further.iter().copied())
    }
}

/// Why a task gave no result. Evidence of trouble, never of a lie (rule 9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The task.
    pub task: TaskId,
    /// The document within the task, if one is to blame.
    pub document: Option<u32>,
    /// What happened, for people.
    pub why: String,
    /// The cause.
    pub cause: Cause,
}

/// The cause of a failed attempt: it decides whether the attempt counts, and what the user can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The worker lacks something, such as the module: the attempt does not count against the task.
    Worker,
    /// The task ran longer than its limit.
    TimeLimit,
    /// The task asked for more memory than its limit.
    MemoryLimit,
    /// The task wrote more bytes than its limit.
    OutputLimit,
    /// The task's input takes more memory than its limit.
    InputLimit,
    /// The job's code or its data; also stands for causes that a later version adds.
    #[serde(other)]
    Job,
}

impl Wire for Request {
    const NAME: &'static str = "request";
    const MAX_BYTES: usize = limits::HEAD_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Request::Hello(advert) => advert.check(),
            Request::Offer { announce, .. } => announce.check(),
            Request::Push(push) => push.check(),
            Request::Commit(commit) if commit.partitions.len() > usize::from(limits::PARTITIONS) => {
                Err("too many partitions")
            }
            Request::Commit(Commit { attempts, .. }) | Request::Accept(Accept { attempts, .. }) => attempts.check(),
            Request::Resign { why, .. } if why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            Request::Failed(failure) if failure.why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            Request::Compile { name } if name.len() > limits::NAME_BYTES => Err("a name that is too long"),
            _ => Ok(()),
        }
    }
}
