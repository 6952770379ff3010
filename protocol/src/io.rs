//! What goes into the engine and what comes out: its whole contact with the world.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::decisions::State;
use crate::id::{Hash, JobId, PeerKey};
use crate::manifest::{Manifest, TaskLimits};
use crate::membership::Roles;
use crate::message::{Cause, End, Failure, Gossip, Outcome, Push, Request, Response, Topic};
use crate::ranges::Run;
use crate::segment::Attempt;
use crate::sign::{Keypair, Signed};
use crate::split::Place;

/// Names a request that this engine sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a request that this engine has to answer. Chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a unit of work given to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// Names a read of the segment store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A connection to `peer` stands (the first, if there are several).
    Connected {
        /// Who.
        peer: PeerKey,
    },
    /// The last connection to `peer` is gone.
    Disconnected {
        /// Who.
        peer: PeerKey,
    },
    /// A round trip to `peer` took so long.
    Rtt {
        /// Who.
        peer: PeerKey,
        /// There and back.
        rtt: Duration,
    },
    /// Gossip arrived, decoded, its sender proven.
    Gossip {
        /// Who published it.
        from: PeerKey,
        /// What it says.
        message: Gossip,
    },
    /// A peer asks; the answer is an [`Action::Respond`] with the same token.
    Request {
        /// Who asks.
        from: PeerKey,
        /// What to answer by.
        token: Token,
        /// What it asks.
        request: Request,
        /// The bytes behind it.
        body: Bytes,
    },
    /// A request of this engine was answered, or was not.
    Response {
        /// Which request.
        id: RequestId,
        /// The answer and its body, or why there is none.
        outcome: Result<(Response, Bytes), RequestError>,
    },
    /// The answer to [`Action::LoadBlob`].
    BlobLoaded {
        /// Which blob.
        hash: Hash,
        /// Its bytes, if this peer has it.
        bytes: Option<Bytes>,
    },
    /// Some tasks of a run ended.
    RunProgress {
        /// Which run.
        run: RunId,
        /// What became of them, in order.
        results: Vec<TaskResult>,
        /// No more will come of this run.
        last: bool,
    },
    /// The answer to [`Action::ReadBucket`]: the records of each task that wrote any, in order of task.
    BucketRead {
        /// Which read.
        read: ReadId,
        /// The records, or why they cannot be read.
        records: Result<Vec<Bytes>, ReadError>,
    },
    /// Segments that this peer acknowledged cannot be kept (a full disk): it is no shuffler for that job.
    StoreFailed {
        /// The job.
        job: JobId,
        /// Why, for people.
        why: String,
    },
    /// The answer to [`Action::Persist`].
    Persisted {
        /// The job.
        job: JobId,
        /// The batch's number.
        number: u64,
        /// Why it could not be written (a full disk). The job then ends.
        result: Result<(), String>,
    },
    /// The result of a task of this peer's own job lies safe.
    OutputStored {
        /// The job.
        job: JobId,
        /// The task of its last stage.
        task: u32,
        /// Why not, if it could not be stored (a full disk).
        result: Result<(), String>,
    },
    /// Inputs of this peer's own jobs cannot be read any more.
    InputLost {
        /// The index that lists them.
        index: Hash,
        /// Which input, and why, for people.
        why: String,
    },
    /// This peer's user submits a job.
    Submit(Box<Submission>),
    /// A job that an earlier run of this peer began, and whose log it kept, goes on. To be said before there is any
    /// connection: a peer that asks the home about a job that it does not know takes the job for over.
    Resume(Box<Resumption>),
    /// This peer's user takes a job back. Only its owner can.
    Cancel {
        /// The job.
        job: JobId,
        /// The owner's key.
        key: Box<Keypair>,
    },
    /// A job's end, signed by its owner, came by another way than the mesh: a tab that closes has no time to spread it
    /// itself. If it is valid and news, it is published.
    EndBrought(Box<Signed<End>>),
    /// This peer's user changes the number of threads that run tasks, or its roles. A peer that stops working
    /// releases its claims; one that begins takes part in the jobs that it knows.
    Capacity {
        /// Threads that run tasks from now on; without the role of worker, none do.
        threads: u16,
        /// What it does for others from now on.
        roles: Roles,
    },
    /// This peer is about to leave: claims are released, goodbyes said.
    Leave,
    /// Nothing but time has passed.
    Tick,
}

/// A job to be submitted. Module, index and packs must lie where [`Action::LoadBlob`] finds them.
#[derive(Debug)]
pub struct Submission {
    /// The manifest.
    pub manifest: Manifest,
    /// The owner's key.
    pub key: Keypair,
    /// Whether its decisions are kept ([`Action::Persist`]), so that another run of this peer can go on with the job.
    pub kept: bool,
}

/// A job to go on with. Module, index and packs must lie where [`Action::LoadBlob`] finds them.
#[derive(Debug)]
pub struct Resumption {
    /// What its log says, as [`crate::decisions::replay`] reads it.
    pub state: State,
    /// The owner's key.
    pub key: Keypair,
    /// Tasks of its last stage whose results the log names and the disk does not have.
    pub lost: Vec<Run>,
}

/// What became of one task of a run.
#[derive(Debug)]
pub struct TaskResult {
    /// The task.
    pub task: u32,
    /// How long it ran.
    pub elapsed: Duration,
    /// What it gave.
    pub outcome: Result<TaskOutput, TaskFailure>,
}

/// What a task gave.
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

/// Why a task gave nothing.
#[derive(Clone, Debug)]
pub struct TaskFailure {
    /// The document within the task, where one is to blame.
    pub document: Option<u32>,
    /// What happened, for people.
    pub why: String,
    /// What it is put down to: [`Cause::Worker`] where this peer could not run it at all (a module that does not load,
    /// a cancelled run).
    pub cause: Cause,
}

/// Why records of a shuffle cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// They have this many bytes, more than the task that reads them may take.
    TooLarge(u64),
    /// They cannot be read, for this reason, for people.
    Failed(String),
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No connection, and none could be made.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// It speaks another protocol, or nonsense.
    #[error("the peer does not speak our protocol: {0}")]
    Protocol(String),
    /// The bytes do not have the hash that was asked for.
    #[error("the peer sent bytes that are not what was asked for")]
    Corrupt,
}

/// What shall be done.
#[derive(Debug)]
pub enum Action {
    /// Publish to a topic.
    Publish {
        /// Where.
        topic: Topic,
        /// What.
        message: Gossip,
    },
    /// Listen to a topic, or stop.
    Subscribe {
        /// Which.
        topic: Topic,
        /// Whether to listen.
        on: bool,
    },
    /// Ask a peer. `to` may be this peer itself: the driver hands it back as an [`Event::Request`].
    Request {
        /// What the answer will be known by.
        id: RequestId,
        /// Whom.
        to: PeerKey,
        /// What.
        request: Request,
        /// The bytes behind it, in parts so that nothing need be copied.
        body: Vec<Bytes>,
    },
    /// Answer a peer.
    Respond {
        /// Which request.
        token: Token,
        /// The answer.
        response: Response,
        /// The bytes behind it.
        body: Bytes,
    },
    /// Answer a peer with a blob: [`Response::Body`], or [`Response::Missing`].
    ServeBlob {
        /// Which request.
        token: Token,
        /// Which blob.
        hash: Hash,
    },
    /// Answer a peer with a piece of what a task reads of a shuffle, the records of each task that wrote any behind a
    /// `u32` length: [`Response::Piece`], or [`Response::Refused`] with the reason why they cannot be read.
    ServeBucket {
        /// Which request.
        token: Token,
        /// Which buckets.
        bucket: BucketRef,
        /// Where the piece begins, in bytes.
        from: u64,
        /// Of more bytes than the task that reads them may take, the number alone is told: the piece is empty.
        most: u64,
    },
    /// Answer a peer with segments of a partition: [`Response::Pulled`], about a mebibyte of them.
    ServePull {
        /// Which request.
        token: Token,
        /// The job.
        job: JobId,
        /// The stage that wrote them.
        stage: u8,
        /// The partition.
        partition: u16,
        /// The first task.
        from: u32,
    },
    /// Look for a blob on this peer; answered by [`Event::BlobLoaded`].
    LoadBlob {
        /// Which.
        hash: Hash,
    },
    /// Keep a blob whose hash was verified, for this peer and others.
    StoreBlob {
        /// Which.
        hash: Hash,
        /// Its bytes.
        bytes: Bytes,
        /// What it is, which says how long it is worth keeping.
        class: BlobClass,
    },
    /// Note where a peer may be reached, as another peer has it.
    Learn {
        /// Who.
        peer: PeerKey,
        /// Multiaddresses, as many as an advert may have.
        addresses: Vec<String>,
    },
    /// Run tasks; answered by [`Event::RunProgress`].
    Run(Box<Work>),
    /// End the runs of a job that are under way or wait.
    StopRuns {
        /// The job.
        job: JobId,
    },
    /// Hold segments of a push in the segment store. The body has the length that the push says.
    Stage {
        /// What the body holds.
        push: Push,
        /// The entries (by their place in the push) and partitions that are to be held.
        keep: Vec<(u32, u16)>,
        /// The segments.
        body: Bytes,
    },
    /// Forget a segment: its attempt was not the accepted one.
    DropSegment {
        /// The job.
        job: JobId,
        /// The stage that wrote it.
        stage: u8,
        /// The partition.
        partition: u16,
        /// The task.
        task: u32,
        /// The attempt's digest.
        digest: Hash,
    },
    /// Read what a task reads of a shuffle from the segment store; answered by [`Event::BucketRead`].
    ReadBucket {
        /// What the answer will be known by.
        read: ReadId,
        /// Which buckets.
        bucket: BucketRef,
        /// More bytes than the task may take are not read.
        most: u64,
    },
    /// Append a batch of decisions to the log of this peer's own job, and answer with [`Event::Persisted`] once it would
    /// survive the end of this process. Nothing follows from the batch before.
    Persist {
        /// The job.
        job: JobId,
        /// The batch's number; they come in order.
        number: u64,
        /// What to append, as [`crate::decisions::replay`] reads it back.
        bytes: Bytes,
        /// It has to survive the loss of power, too: an authority that had forgotten it would contradict itself. What
        /// another batch decides can be decided again.
        binding: bool,
    },
    /// Keep the result of a task of this peer's own job; answered by [`Event::OutputStored`].
    StoreOutput {
        /// The job.
        job: JobId,
        /// The task of its last stage.
        task: u32,
        /// Its result records, sorted.
        bytes: Bytes,
    },
    /// Free everything that is held for a job: segments, runs, inputs.
    DropJob {
        /// The job.
        job: JobId,
    },
    /// Something the user, or a log, should know.
    Notify(Notice),
}

/// Neighbouring buckets in the segment store: what one task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketRef {
    /// The job.
    pub job: JobId,
    /// The stage that wrote them.
    pub stage: u8,
    /// Where they lie.
    pub place: Place,
}

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobClass {
    /// A module: small, asked for by many, wanted again.
    Module,
    /// An input index: small, asked for by many, of one job.
    Index,
}

/// A unit of work for one thread.
#[derive(Debug)]
pub struct Work {
    /// What its results will be known by.
    pub run: RunId,
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: u8,
    /// The module, which has been loaded or stored before.
    pub module: Hash,
    /// What a task may use.
    pub limits: TaskLimits,
    /// The tasks and their inputs.
    pub input: WorkInput,
    /// Partitions and buckets to write, or `None` to collect.
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
        /// The documents of the first of them begin here.
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

/// Something the user, or a log, should know.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A job of this peer's user was announced.
    Submitted {
        /// Its id.
        job: JobId,
    },
    /// A submission was refused before anything started.
    SubmitRefused {
        /// The manifest's nonce: which submission.
        nonce: u64,
        /// Why.
        why: String,
    },
    /// A job of this peer's user went on; sent at most every hundred milliseconds.
    Progress(Progress),
    /// A task of this peer's own job failed and is tried again.
    TaskFailed {
        /// What happened.
        failure: Failure,
        /// Who ran it.
        worker: PeerKey,
        /// How many more tries it has.
        retries_left: u8,
    },
    /// No task of a job of this peer's user has ended for a while. Sent when that begins, and when the cause changes.
    Waiting {
        /// The job.
        job: JobId,
        /// The peer that is waited for, where it is one.
        peer: Option<PeerKey>,
        /// What is waited for, and what follows, for people.
        why: String,
        /// How long ago a task last ended, or the job was submitted.
        quiet: Duration,
    },
    /// A task of a job ended after [`Notice::Waiting`] was sent.
    WaitingOver {
        /// The job.
        job: JobId,
        /// How long no task had ended.
        quiet: Duration,
    },
    /// Acceptances were revoked: their tasks, and those that had been computed from them, are open again.
    Revoked {
        /// The job.
        job: JobId,
        /// The stage whose attempts no longer stand.
        stage: u8,
        /// How many tasks are open again, those of later stages included.
        tasks: u32,
    },
    /// A job of this peer's user is over.
    Ended {
        /// The job.
        job: JobId,
        /// How.
        outcome: Outcome,
        /// The failure that ended it, where one did.
        failure: Option<Failure>,
    },
    /// A cancel was refused.
    CancelRefused {
        /// The job.
        job: JobId,
        /// Why.
        why: String,
    },
    /// For the log.
    Log(String),
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The job.
    pub job: JobId,
    /// Done and all tasks, per stage. A stage that reads a shuffle has one task for each partition at least; how many
    /// there are is known once what it reads is written.
    pub stages: Vec<(u32, u32)>,
    /// Peers that have worked on it.
    pub workers: u32,
    /// Shufflers of the newest epoch.
    pub shufflers: u32,
    /// Failed attempts so far.
    pub failures: u32,
}
