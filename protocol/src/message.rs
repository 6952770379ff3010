//! What peers say to each other: gossip for everyone, requests for one.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::Wire;
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::manifest::Manifest;
use crate::membership::Advert;
use crate::ranges::{Run, check_runs};
use crate::sign::{Document, Signed};

/// A gossip topic. There is a fixed number of them: strangers cannot create any (rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Jobs announced and ended. Everyone listens.
    Jobs,
    /// Adverts of peers with a role. Everyone listens.
    Peers,
    /// Claims of the shards that hash to this number, below [`limits::CLAIM_TOPICS`].
    Claims(u8),
}

impl Topic {
    /// The topic of a shard's claims: the shards of a stage have different ones, as far as there are enough.
    pub fn of_shard(job: JobId, stage: u8, shard: u16) -> Self {
        let draw = Hash::of_parts("webmesh 1 claim topic", &[&job.0, &[stage]]).draw();
        Topic::Claims((draw.wrapping_add(u64::from(shard)) % u64::from(limits::CLAIM_TOPICS)) as u8)
    }

    /// Its name on the wire.
    pub fn name(&self) -> String {
        match self {
            Topic::Jobs => "webmesh/1/jobs".to_owned(),
            Topic::Peers => "webmesh/1/peers".to_owned(),
            Topic::Claims(n) => format!("webmesh/1/claims/{n}"),
        }
    }

    /// Every topic there is.
    pub fn all() -> impl Iterator<Item = Topic> {
        [Topic::Jobs, Topic::Peers].into_iter().chain((0..limits::CLAIM_TOPICS).map(Topic::Claims))
    }
}

/// A message for everyone on a topic. Gossipsub signs it with its sender's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "messages are moved a few times each, and matched often")]
pub enum Gossip {
    /// A job lives (topic [`Topic::Jobs`]); repeated every [`limits::ANNOUNCE_INTERVAL`] or so.
    Announce(Announce),
    /// A job is over (topic [`Topic::Jobs`]), in its owner's word.
    Ended(Signed<End>),
    /// The sender's claims in one shard, with its progress (topic [`Topic::Claims`]).
    Claim(Claim),
    /// Partitions that the sender sealed (topic [`Topic::Claims`] of every shard of the stage that reads them).
    Seals(Seals),
    /// The sender's roles (topic [`Topic::Peers`]).
    Advert(Advert),
}

/// A job lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announce {
    /// Its id.
    pub job: JobId,
    /// Its owner.
    pub owner: PeerKey,
    /// Where its authority is reached.
    pub home: PeerKey,
    /// The signed manifest, where it is small (rule 7); otherwise it is asked for.
    pub manifest: Option<Signed<Manifest>>,
    /// The newest epoch.
    pub epoch: Signed<Epoch>,
    /// Tasks done, per stage.
    pub done: Vec<u32>,
    /// Counts up whenever a task that was done is not any more: who sees it grow asks for a summary.
    pub reopened: u32,
    /// Seconds since the job was submitted.
    pub age: u32,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The job.
    pub job: JobId,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// With its result.
    Done,
    /// Its owner took it back.
    Cancelled,
    /// It cannot succeed.
    Failed(String),
}

/// A worker's whole standing in one shard: claim, renewal, release and progress are this one message. It
/// states, it does not change: a lost one is made good by the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: u8,
    /// The shard.
    pub shard: u16,
    /// Counts the sender's messages in this stage, from 1: gossip may bring an old one after a newer one.
    pub number: u32,
    /// Blocks that the sender holds and has not finished, by term, ascending.
    pub holds: Vec<Hold>,
    /// Blocks that it finished last, as many as fit.
    pub done: Vec<Run>,
    /// How many blocks of this shard it has finished in all.
    pub finished: u32,
}

/// Blocks held under one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The blocks.
    pub run: Run,
    /// 0 for a first claim; one more than the claim that lapsed before it.
    pub term: u8,
    /// A second attempt beside a claim that still stands.
    pub speculative: bool,
    /// It has stood for so long that all should have heard it.
    pub settled: bool,
}

/// Partitions of a stage's shuffle that are complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seals {
    /// The job.
    pub job: JobId,
    /// The stage that wrote them.
    pub stage: u8,
    /// The epoch under which the sender owns them.
    pub epoch: u32,
    /// The partitions, with the roots over their accepted digests.
    pub seals: Vec<(u16, Hash)>,
}

impl Wire for Gossip {
    const NAME: &'static str = "gossip message";
    const MAX_BYTES: usize = limits::GOSSIP_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Gossip::Announce(a) => a.check(),
            Gossip::Ended(_) => Ok(()),
            Gossip::Claim(c) => c.check(),
            Gossip::Seals(s) if s.seals.len() > usize::from(limits::PARTITIONS) => Err("too many seals"),
            Gossip::Seals(_) => Ok(()),
            Gossip::Advert(a) => a.check(),
        }
    }
}

impl Announce {
    /// Whether its owner signed its epoch.
    pub fn is_signed_by_owner(&self) -> bool {
        self.epoch.signer() == self.owner && self.epoch.open().is_ok_and(|epoch| epoch.job == self.job)
    }

    fn check(&self) -> Result<(), &'static str> {
        let manifest = self.manifest.as_ref().map_or(0, Signed::payload_len);
        if self.done.len() > limits::STAGES || manifest > limits::INLINE_MANIFEST_BYTES {
            return Err("an announcement with too much in it");
        }
        Ok(())
    }
}

impl Claim {
    fn check(&self) -> Result<(), &'static str> {
        if self.holds.len() > limits::CLAIM_RUNS || self.done.len() > limits::CLAIM_RUNS {
            return Err("a claim with too many runs");
        }
        let holds: Vec<Run> = self.holds.iter().map(|h| h.run).collect();
        for runs in [&self.done, &holds] {
            check_runs(runs)?;
            if runs.last().is_some_and(|r| r.end() > limits::BLOCKS) {
                return Err("a claim on blocks that no stage has");
            }
        }
        Ok(())
    }
}

impl Wire for End {
    const NAME: &'static str = "end of a job";
    const MAX_BYTES: usize = limits::TEXT_BYTES + 256;

    fn check(&self) -> Result<(), &'static str> {
        match &self.outcome {
            Outcome::Failed(why) if why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            _ => Ok(()),
        }
    }
}

impl Document for End {}

/// What one peer asks of another. A body of raw bytes may follow; the variant says what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "messages are moved a few times each, and matched often")]
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
    /// [`Response::Pulled`] without segments. Asked before a pull, which tells of written segments only.
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
    /// A bucket's records, segments in order of task. The answer's body holds them.
    Bucket {
        /// The job.
        job: JobId,
        /// The stage that wrote it.
        stage: u8,
        /// The bucket.
        bucket: u32,
        /// The root that the reducer means to read.
        root: Hash,
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
    },
    /// A task gave no result.
    Failed(Failure),
    /// Of a job that the sender shuffles, it has lost what it acknowledged: to be gone on with without it.
    Resign {
        /// The job.
        job: JobId,
    },
    /// A job is over.
    Ended(Signed<End>),
    /// The jobs that the answerer knows.
    Jobs,
    /// The peers that the answerer knows.
    Peers,
    /// Compile the source in the body.
    Compile {
        /// What diagnostics shall call it.
        name: String,
    },
    /// I am leaving.
    Goodbye,
}

/// No bytes have this hash; tables keep it where they know of no attempt.
const NO_DIGEST: [u8; 32] = [0; 32];

/// Attempts' segments for one shuffler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: u8,
    /// The epoch whose ring chose the receiver.
    pub epoch: u32,
    /// Made by a partition's owner for its replica, not by a worker for the owner.
    pub replica: bool,
    /// The attempts, in the order of their bytes in the body.
    pub entries: Vec<PushEntry>,
}

/// One attempt in a push. Partitions of the receiver that are not listed got nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushEntry {
    /// The task.
    pub task: u32,
    /// The attempt's digest.
    pub digest: Hash,
    /// Partitions with the lengths of their segments, ascending.
    pub segments: Vec<(u16, u32)>,
}

/// Tasks with one digest each: runs, and the digests of all their tasks in a row, 32 bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The tasks.
    pub runs: Vec<Run>,
    /// Their digests.
    pub digests: Bytes,
}

impl Attempts {
    /// Packs tasks with their digests; the tasks must ascend.
    pub fn pack(attempts: &[(u32, Hash)]) -> Self {
        let runs = crate::ranges::runs_of(attempts.iter().map(|a| a.0));
        let digests: Vec<u8> = attempts.iter().flat_map(|a| a.1.0).collect();
        Self { runs, digests: digests.into() }
    }

    /// The tasks with their digests.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Hash)> + '_ {
        let digests = self.digests.chunks_exact(32).map(|d| Hash(d.try_into().expect("a chunk of 32 bytes")));
        self.runs.iter().flat_map(Run::iter).zip(digests)
    }

    fn check(&self) -> Result<(), &'static str> {
        check_runs(&self.runs)?;
        if self.runs.last().is_some_and(|r| r.end() > limits::TASKS) {
            return Err("attempts at tasks that no stage has");
        }
        let tasks: u64 = self.runs.iter().map(|r| u64::from(r.len)).sum();
        if tasks * 32 != self.digests.len() as u64 {
            return Err("a number of digests that is not that of the tasks");
        }
        if self.digests.chunks_exact(32).any(|d| d == NO_DIGEST) {
            return Err("a digest that no attempt has");
        }
        Ok(())
    }
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
    /// The worker could not even start: it lacks something. Does not count against the task.
    pub worker_fault: bool,
}

/// The answer to a [`Request`]. A body may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Done, taken, noted.
    Ok,
    /// Who I am.
    Hello(Advert),
    /// The manifest asked for.
    Manifest(Signed<Manifest>),
    /// The summary asked for; the body has one bit per block of the shard.
    Summary(Summary),
    /// The claims asked for, with who made them.
    Claims(Vec<(PeerKey, Claim)>),
    /// The blob, bucket or segments asked for are in the body.
    Body,
    /// Segments pulled are in the body, described as in a push; `next` is the task to ask for next.
    Pulled {
        /// The attempts in the body.
        push: Push,
        /// Where to go on, if there is more.
        next: Option<u32>,
    },
    /// Busy with that blob; these peers have it.
    Redirect(Vec<PeerKey>),
    /// I am not, or no longer, the one to ask: here is the newest epoch that I know.
    NotOwner(Signed<Epoch>),
    /// Not here, or not yet.
    Missing,
    /// Too much to do: try again shortly.
    Busy,
    /// No, and why.
    Refused(String),
    /// The jobs known.
    Jobs(Vec<JobStatus>),
    /// The peers known.
    Peers(Vec<PeerStatus>),
    /// The module is in the body.
    Compiled {
        /// Warnings, as clang wrote them.
        warnings: String,
        /// Whether it came from the cache.
        cached: bool,
        /// How long it took.
        millis: u32,
    },
    /// It does not compile.
    CompileFailed {
        /// What clang said.
        diagnostics: String,
    },
}

/// What the authority knows of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The newest epoch.
    pub epoch: Signed<Epoch>,
    /// The count of [`Announce::reopened`] that this answer takes in.
    pub reopened: u32,
    /// Done tasks per stage.
    pub done: Vec<u32>,
    /// Sealed partitions of the shuffle that the stage reads.
    pub seals: Vec<(u16, Hash)>,
    /// Each shard of the stage.
    pub shards: Vec<ShardLeft>,
    /// Some who work on the shard asked for: to be heard through, where few neighbours listen to its topic.
    pub peers: Vec<PeerKey>,
}

/// How much is left of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLeft {
    /// Blocks that are not done.
    pub blocks: u32,
    /// Workers that were last heard of there.
    pub workers: u16,
}

/// One job in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its id.
    pub job: JobId,
    /// Its owner.
    pub owner: PeerKey,
    /// Its name.
    pub name: String,
    /// Done and all tasks, per stage.
    pub stages: Vec<(u32, u32)>,
    /// Seconds since it was submitted.
    pub age: u32,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
}

/// One peer in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerKey,
    /// What it says of itself.
    pub advert: Advert,
    /// Whether the answerer has a connection to it.
    pub connected: bool,
}

/// Bytes of numbers, keys and names of fields in an element of a list: more than there are, whatever the numbers.
const FIELDS: usize = 256;

impl JobStatus {
    /// How much it takes in an answer at most, in bytes.
    pub(crate) fn size(&self) -> usize {
        let why = match &self.outcome {
            Some(Outcome::Failed(why)) => why.len(),
            _ => 0,
        };
        FIELDS + self.name.len() + 12 * self.stages.len() + why
    }
}

impl PeerStatus {
    /// How much it takes in an answer at most, in bytes.
    pub(crate) fn size(&self) -> usize {
        let addresses: usize = self.advert.addresses.iter().map(|address| 4 + address.len()).sum();
        FIELDS + 64 + self.advert.agent.len() + addresses
    }
}

/// The first elements of a list, as many as fit into an answer.
pub(crate) fn as_many_as_fit<T>(list: impl Iterator<Item = T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut room = limits::HEAD_BYTES - FIELDS;
    let fits = |element: &T| {
        let size = size(element);
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    list.take_while(fits).collect()
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
            Request::Failed(failure) if failure.why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            Request::Compile { name } if name.len() > limits::NAME_BYTES => Err("a name that is too long"),
            _ => Ok(()),
        }
    }
}

impl Push {
    fn check(&self) -> Result<(), &'static str> {
        if self.entries.len() > limits::PUSH_ENTRIES {
            return Err("too many attempts in one push");
        }
        for entry in &self.entries {
            let ascend = entry.segments.is_sorted_by(|a, b| a.0 < b.0);
            if !ascend || entry.segments.last().is_some_and(|s| s.0 >= limits::PARTITIONS) {
                return Err("partitions that repeat, stand out of order or cannot be");
            }
            if entry.digest.0 == NO_DIGEST {
                return Err("a digest that no attempt has");
            }
        }
        Ok(())
    }

    /// How long the body must be.
    pub fn body_len(&self) -> u64 {
        self.entries.iter().flat_map(|e| &e.segments).map(|&(_, len)| u64::from(len)).sum()
    }
}

impl Wire for Response {
    const NAME: &'static str = "response";
    const MAX_BYTES: usize = limits::HEAD_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Response::Hello(advert) => advert.check(),
            Response::Redirect(peers) if peers.len() > limits::REDIRECTS => Err("too many peers"),
            Response::Pulled { push, .. } => push.check(),
            Response::Refused(why) if why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            Response::Jobs(jobs) if jobs.len() > limits::JOBS => Err("too many jobs"),
            Response::Peers(peers) if peers.len() > limits::ADVERTS => Err("too many peers"),
            Response::Peers(peers) => peers.iter().try_for_each(|p| p.advert.check()),
            Response::Summary(s) if s.done.len() > limits::STAGES => Err("a summary of too many stages"),
            Response::Summary(s) if s.seals.len() > usize::from(limits::PARTITIONS) => Err("too many seals"),
            Response::Summary(s) if s.shards.len() > usize::from(limits::SHARDS) => Err("too many shards"),
            Response::Summary(s) if s.peers.len() > limits::SHARD_PEERS => Err("too many peers"),
            Response::Claims(claims) if claims.len() > limits::SHARD_WORKERS => Err("the claims of too many"),
            Response::Claims(claims) => claims.iter().try_for_each(|(_, claim)| claim.check()),
            Response::CompileFailed { diagnostics } | Response::Compiled { warnings: diagnostics, .. }
                if diagnostics.len() > limits::DIAGNOSTICS_BYTES =>
            {
                Err("diagnostics that are too long")
            }
            _ => Ok(()),
        }
    }
}
