//! What one peer asks of another.

use serde::{Deserialize, Serialize};

use super::{Announce, Attempts, End, Push};
use crate::codec::{Wire, at_most};
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::membership::Advert;
use crate::sign::Signed;

/// What one peer asks of another. A body of raw bytes may follow; the variant says what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Who are you? Sent by both sides once a connection stands.
    Hello(Advert),
    /// A job for a peer that may be idle, straight from its submitter (rule 7).
    Offer {
        /// What is announced.
        announce: Announce,
        /// A place to start from: the sender offers to `of` peers, this one is number `slot`.
        slot: u32,
        /// How many peers are offered the job.
        of: u32,
    },
    /// The signed manifest of a job.
    Manifest {
        /// The job.
        job: JobId,
    },
    /// What is done in one shard, which partitions are sealed, and the epoch (anti-entropy).
    Summary {
        /// The job.
        job: JobId,
        /// The stage.
        stage: u8,
        /// The shard.
        shard: u16,
    },
    /// The claims of all workers in one shard, as the answerer has heard them: for who enters it.
    Claims {
        /// The job.
        job: JobId,
        /// The stage.
        stage: u8,
        /// The shard.
        shard: u16,
    },
    /// A blob. The answer's body holds it.
    Blob {
        /// Its name.
        hash: Hash,
    },
    /// Attempts' segments for a shuffler; the body holds them one after another.
    Push(Push),
    /// Attempts that the sender holds for all its partitions under an epoch.
    Commit {
        /// The job.
        job: JobId,
        /// The stage.
        stage: u8,
        /// The epoch under which the sender owns the partitions.
        epoch: u32,
        /// When the sender opened the job, in a measure of its own. A greater number than before means that it has
        /// forgotten what it held: it was started anew, or took the job for over.
        opened: u64,
        /// The partitions; empty means all that it owns.
        partitions: Vec<u16>,
        /// The attempts.
        attempts: Attempts,
        /// Bytes that workers have pushed to the sender since it opened the job, of attempts that are in these and in
        /// earlier commits: by their sum the authority settles how many tasks read them.
        bytes: u64,
    },
    /// Digests that the authority accepts.
    Accept {
        /// The job.
        job: JobId,
        /// The stage.
        stage: u8,
        /// The epoch in which the receiver owns something.
        epoch: u32,
        /// The attempts.
        attempts: Attempts,
        /// How many buckets of a partition make one task of the stage that reads them ([`crate::split`]). Known, and the
        /// same ever after, once an attempt of every task is accepted.
        width: Option<u32>,
    },
    /// A partition is complete (rule 12).
    Sealed {
        /// The job.
        job: JobId,
        /// The stage that wrote it.
        stage: u8,
        /// The epoch under which the sender owns it.
        epoch: u32,
        /// The partition.
        partition: u16,
        /// The root over its accepted digests.
        root: Hash,
    },
    /// A new epoch, to everyone whom it concerns.
    NewEpoch(Signed<Epoch>),
    /// All segments of a partition that the answerer holds: for a new owner (rule 2).
    Pull {
        /// The job.
        job: JobId,
        /// The stage.
        stage: u8,
        /// The partition.
        partition: u16,
        /// Tasks from this one on; the answer says where the next begins.
        from: u32,
    },
    /// The attempts that the answerer holds for a partition, those that wrote nothing for it included:
    /// [`Response::Pulled`](super::Response::Pulled) without segments. Asked before a pull, which tells of written segments only.
    Held {
        /// The job.
        job: JobId,
        /// The stage.
        stage: u8,
        /// The partition.
        partition: u16,
        /// Tasks from this one on; the answer says where the next begins.
        from: u32,
    },
    /// The records that a task reads of a shuffle, in order of the tasks that wrote them, each one's behind a `u32`
    /// length: a piece of them, as [`Response::Piece`](super::Response::Piece).
    Bucket {
        /// The job.
        job: JobId,
        /// The stage that wrote them.
        stage: u8,
        /// The task that reads them.
        task: u32,
        /// How many buckets it reads.
        width: u32,
        /// The root that the reducer means to read.
        root: Hash,
        /// Where the piece begins, in bytes.
        from: u64,
    },
    /// A task's result for the authority; the body holds it.
    Output {
        /// The job.
        job: JobId,
        /// The stage.
        stage: u8,
        /// The task.
        task: u32,
        /// The hash of the body.
        digest: Hash,
        /// The root of the partition that was read, for a stage that reads a shuffle.
        root: Option<Hash>,
        /// Those of the stage's further sources, in the order of its ports.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "at_most::<{ limits::FURTHER_SOURCES }, _, _>"
        )]
        further: Vec<Hash>,
    },
    /// A task gave no result.
    Failed(Failure),
    /// The sender cannot work on a job: its tasks may ask for more memory than it gives, or the job for a newer version of
    /// the protocol than it speaks.
    Decline {
        /// The job.
        job: JobId,
        /// What it gives, in bytes.
        memory: u64,
        /// The minor version of the protocol that it speaks, where that is the reason.
        #[serde(default)]
        minor: Option<u16>,
    },
    /// The sender has lost segments of this job that it acknowledged, and does not shuffle for the job any more.
    Resign {
        /// The job.
        job: JobId,
        /// How they were lost, for people: at most [`limits::TEXT_BYTES`].
        #[serde(default)]
        why: String,
    },
    /// A job is over.
    Ended(Signed<End>),
    /// The jobs that the answerer knows.
    Jobs,
    /// The peers that the answerer knows.
    Peers,
    /// Those of them at which jobs are at home, with addresses: [`Response::Peers`](super::Response::Peers) with [`limits::HOMES`] at most. For
    /// who comes late, or hears a job announced and does not know its home.
    Homes {
        /// That home, and no other.
        wanted: Option<PeerKey>,
    },
    /// Compile the source in the body.
    Compile {
        /// What diagnostics shall call it.
        name: String,
    },
    /// I am leaving.
    Goodbye,
}

/// Why a task gave no result. Evidence of trouble, never of a lie (rule 9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: u8,
    /// The task.
    pub task: u32,
    /// The document within the task, where one is to blame.
    pub document: Option<u32>,
    /// What happened, for people.
    pub why: String,
    /// What the failure is put down to.
    pub cause: Cause,
}

/// What a failed attempt is put down to: it decides whether the attempt counts, and what the user can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The worker lacks something, such as the module: the attempt does not count against the task.
    Worker,
    /// The task ran longer than it may.
    TimeLimit,
    /// The task asked for more memory than it may have.
    MemoryLimit,
    /// The task gave more bytes than it may.
    OutputLimit,
    /// What the task reads takes more memory than it may have.
    InputLimit,
    /// The job's code or its data; and whatever a later version names.
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
            Request::Commit { partitions, .. } if partitions.len() > usize::from(limits::PARTITIONS) => {
                Err("too many partitions")
            }
            Request::Commit { attempts, .. } | Request::Accept { attempts, .. } => attempts.check(),
            Request::Resign { why, .. } if why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            Request::Failed(failure) if failure.why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            Request::Compile { name } if name.len() > limits::NAME_BYTES => Err("a name that is too long"),
            _ => Ok(()),
        }
    }
}
