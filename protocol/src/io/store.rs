//! What the engine asks of the stores: blobs, segments, and what a home keeps of its jobs.
//!
//! Actions are serialisable, as a tab's stores live in a Worker. Bytes travel beside the encoding, so that they are
//! copied once: see [`StoreAction::body_mut`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ReadId, Token};
use crate::id::{Hash, JobId};
use crate::message::{AttemptId, Push};
use crate::part::{PartitionId, PartitionRef, StageId, TaskId};
use crate::split::Place;

/// Why a task's result was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotStored {
    /// Its records are malformed, for the reason given. Nothing of it was stored.
    Malformed(String),
    /// The store failed (a full disk); the error, for people.
    Failed(String),
}

/// Something for the stores to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum StoreAction {
    /// For the store of modules, indexes and inputs.
    Blobs(BlobAction),
    /// For the store of segments.
    Segments(SegmentAction),
    /// Append a batch of decisions to the log of one of this peer's own jobs; answered by
    /// [`Event::Persisted`](super::Event::Persisted) once the batch would survive the end of this process. Nothing follows
    /// from the batch before.
    Persist {
        /// The job.
        job: JobId,
        /// The batch's number; they come in order.
        number: u64,
        /// The bytes to append, in the form that [`decisions::replay`](crate::decisions::replay) reads back.
        #[serde(skip)]
        bytes: Bytes,
        /// Whether the batch has to survive a loss of power, too: peers act on it in a way that a home which had
        /// forgotten it would contradict. Other batches can be decided again.
        binding: bool,
    },
    /// Keep the result of a task of one of this peer's own jobs; answered by
    /// [`Event::OutputStored`](super::Event::OutputStored).
    StoreOutput {
        /// The job.
        job: JobId,
        /// The task of its last stage.
        task: TaskId,
        /// Its result records, sorted.
        #[serde(skip)]
        bytes: Bytes,
    },
    /// Free everything that is held for a job.
    DropJob {
        /// The job.
        job: JobId,
    },
}

/// Something for the store of modules, indexes and inputs to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum BlobAction {
    /// Look a blob up; answered by [`Event::BlobLoaded`](super::Event::BlobLoaded).
    Load {
        /// Its hash.
        hash: Hash,
    },
    /// Answer a peer with a blob: [`Response::Body`](crate::message::Response::Body), or
    /// [`Response::Missing`](crate::message::Response::Missing).
    Serve {
        /// The peer's request.
        token: Token,
        /// The blob's hash.
        hash: Hash,
    },
    /// Keep a blob whose hash was verified, for this peer and others.
    Store {
        /// Its hash.
        hash: Hash,
        /// Its bytes.
        #[serde(skip)]
        bytes: Bytes,
        /// The kind of blob, which decides how long it is worth keeping.
        class: BlobClass,
    },
}

/// The kind of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobClass {
    /// A module: small, asked for by many, wanted again by later jobs.
    Module,
    /// An input index: small, asked for by many, of one job.
    Index,
}

/// Something for the store of segments to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum SegmentAction {
    /// Hold segments of a push. The body has the length that the push says.
    Stage {
        /// Describes the body.
        push: Push,
        /// The segments to hold, in the order of their bytes in the body.
        keep: Vec<KeptSegment>,
        /// The segments.
        #[serde(skip)]
        body: Bytes,
    },
    /// Forget a segment: its attempt was not the accepted one.
    Drop {
        /// The partition.
        partition: PartitionRef,
        /// The attempt that wrote the segment.
        attempt: AttemptId,
    },
    /// Read the buckets of a task; answered by [`Event::BucketRead`](super::Event::BucketRead).
    ReadBucket {
        /// Names the read in its answer.
        read: ReadId,
        /// The buckets.
        bucket: BucketRef,
        /// The most bytes that the task may take; more are not read.
        most: u64,
    },
    /// Answer a peer with a piece of a task's buckets, the records of each task that wrote any behind a `u32` length:
    /// [`Response::Piece`](crate::message::Response::Piece), or [`Response::Refused`](crate::message::Response::Refused)
    /// with the reason why they cannot be read.
    ServeBucket {
        /// The peer's request.
        token: Token,
        /// The buckets.
        bucket: BucketRef,
        /// Where the piece begins, in bytes.
        from: u64,
        /// The most bytes that the task may take. Of more, only the number is told: the piece is empty.
        most: u64,
    },
    /// Answer a peer with segments of a partition, about a mebibyte of them:
    /// [`Response::Pulled`](crate::message::Response::Pulled).
    ServePull {
        /// The peer's request.
        token: Token,
        /// The partition.
        partition: PartitionRef,
        /// The first task.
        from: TaskId,
    },
    /// Forget all segments of a job: the part of [`StoreAction::DropJob`] that concerns this store.
    DropJob {
        /// The job.
        job: JobId,
    },
}

impl StoreAction {
    /// The bytes that the action carries, if its kind carries any. They are not part of its encoding.
    pub fn body_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::Blobs(BlobAction::Store { bytes, .. })
            | Self::Segments(SegmentAction::Stage { body: bytes, .. })
            | Self::Persist { bytes, .. }
            | Self::StoreOutput { bytes, .. } => Some(bytes),
            Self::Blobs(BlobAction::Load { .. } | BlobAction::Serve { .. })
            | Self::Segments(
                SegmentAction::Drop { .. }
                | SegmentAction::ReadBucket { .. }
                | SegmentAction::ServeBucket { .. }
                | SegmentAction::ServePull { .. }
                | SegmentAction::DropJob { .. },
            )
            | Self::DropJob { .. } => None,
        }
    }
}

/// A segment of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeptSegment {
    /// The place of its attempt among the entries of the push.
    pub entry: u32,
    /// Its partition.
    pub partition: PartitionId,
}

/// Neighbouring buckets in the segment store: what one task reads of a shuffle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRef {
    /// The job.
    pub job: JobId,
    /// The stage that wrote them.
    pub stage: StageId,
    /// Where they lie.
    pub place: Place,
}

impl BucketRef {
    /// Their partition.
    pub fn partition_ref(&self) -> PartitionRef {
        PartitionRef { job: self.job, stage: self.stage, partition: self.place.partition }
    }
}

/// Why records of a shuffle cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadError {
    /// They have this many bytes, more than the task that reads them may take.
    TooLarge(u64),
    /// The store cannot read them; the reason, for people.
    Failed(String),
}
