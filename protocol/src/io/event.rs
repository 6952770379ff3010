//! What happened: everything that goes into the engine.

use std::time::Duration;

use bytes::Bytes;

use super::{NotStored, ReadError, ReadId, RequestError, RequestId, RunId, TaskResult, Token};
use crate::decisions::State;
use crate::id::{Hash, JobId, PeerKey};
use crate::manifest::Manifest;
use crate::membership::{Network, Roles};
use crate::message::{End, Gossip, Request, Response};
use crate::part::TaskId;
use crate::ranges::Run;
use crate::sign::{Keypair, Signed};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The first connection to a peer stands.
    Connected {
        /// The peer.
        peer: PeerKey,
        /// The network of its address; `None` if a relay hides it.
        network: Option<Network>,
    },
    /// The last connection to a peer is gone.
    Disconnected {
        /// The peer.
        peer: PeerKey,
    },
    /// A round trip to a peer was measured.
    Rtt {
        /// The peer.
        peer: PeerKey,
        /// The round-trip time.
        rtt: Duration,
    },
    /// A gossip message arrived, was decoded, and its publisher's signature holds.
    Gossip {
        /// The publisher.
        from: PeerKey,
        /// The message.
        message: Gossip,
    },
    /// A peer sent a request; the answer is a [`NetAction::Respond`](super::NetAction::Respond) with the same token.
    Request {
        /// The requester.
        from: PeerKey,
        /// Names the request in its answer.
        token: Token,
        /// The request.
        request: Request,
        /// The bytes that followed it.
        body: Bytes,
    },
    /// A request of this engine was answered, or failed.
    Response {
        /// The request, as [`NetAction::Request`](super::NetAction::Request) named it.
        id: RequestId,
        /// The answer and its body, or the error.
        outcome: Result<(Response, Bytes), RequestError>,
    },
    /// The answer to [`BlobAction::Load`](super::BlobAction::Load).
    BlobLoaded {
        /// The blob's hash.
        hash: Hash,
        /// Its bytes; `None` if this peer does not have it.
        bytes: Option<Bytes>,
    },
    /// Some tasks of a run ended, or the run has begun: its module is loaded.
    RunProgress {
        /// The run.
        run: RunId,
        /// The outcomes of the tasks, in order; none if it has begun.
        results: Vec<TaskResult>,
        /// Whether these are the run's last results.
        last: bool,
    },
    /// The answer to [`SegmentAction::ReadBucket`](super::SegmentAction::ReadBucket): the records of each task that wrote
    /// any, in order of task.
    BucketRead {
        /// The read.
        read: ReadId,
        /// The records, or why they cannot be read.
        records: Result<Vec<Bytes>, ReadError>,
    },
    /// Segments that this peer acknowledged cannot be stored (a full disk): it can be no shuffler of that job.
    StoreFailed {
        /// The job.
        job: JobId,
        /// The reason, for people.
        why: String,
    },
    /// The answer to [`StoreAction::Persist`](super::StoreAction::Persist).
    Persisted {
        /// The job.
        job: JobId,
        /// The batch's number.
        number: u64,
        /// The error, for people, if the batch could not be written (a full disk). The job then ends.
        result: Result<(), String>,
    },
    /// The answer to [`StoreAction::StoreOutput`](super::StoreAction::StoreOutput).
    OutputStored {
        /// The job.
        job: JobId,
        /// The task of its last stage.
        task: TaskId,
        /// Why the result is not stored, if it is not.
        result: Result<(), NotStored>,
    },
    /// An input of this peer's own jobs can no longer be read.
    InputLost {
        /// The hash of the index that lists it.
        index: Hash,
        /// The input and the reason, for people.
        why: String,
    },
    /// This peer's user submits a job.
    Submit(Box<Submission>),
    /// Resumes a job that an earlier run of this peer began, and whose log it kept. It has to come before the first
    /// connection: peers take a job for over if its home does not know it.
    Resume(Box<Resumption>),
    /// This peer's user cancels a job. Only its owner can.
    Cancel {
        /// The job.
        job: JobId,
        /// The owner's key.
        key: Box<Keypair>,
    },
    /// A job's end, signed by its owner, arrived outside the mesh: a tab that closes has no time to spread it itself. It
    /// is published if it is valid and new.
    EndBrought(Box<Signed<End>>),
    /// This peer's user changes the number of threads that run tasks, or its roles. A peer that stops working
    /// releases its claims; one that begins takes part in the jobs that it knows.
    Capacity {
        /// Threads that run tasks from now on; without the role of worker, none do.
        threads: u16,
        /// Its roles from now on.
        roles: Roles,
    },
    /// This peer is about to leave: it releases its claims and says goodbye to its neighbours.
    Leave,
    /// A deadline has passed.
    Tick,
}

/// A job to be submitted. [`BlobAction::Load`](super::BlobAction::Load) must find its module, index and packs.
#[derive(Debug)]
pub struct Submission {
    /// The manifest.
    pub manifest: Manifest,
    /// The owner's key.
    pub key: Keypair,
    /// Whether its decisions are written to a log ([`StoreAction::Persist`](super::StoreAction::Persist)), so that a
    /// later run of this peer can resume the job.
    pub kept: bool,
}

/// A job to be resumed. [`BlobAction::Load`](super::BlobAction::Load) must find its module, index and packs.
#[derive(Debug)]
pub struct Resumption {
    /// The state that [`decisions::replay`](crate::decisions::replay) read from its log.
    pub state: State,
    /// The owner's key.
    pub key: Keypair,
    /// Tasks of its last stage whose results the log names, but which are missing on disk.
    pub lost: Vec<Run<TaskId>>,
}
