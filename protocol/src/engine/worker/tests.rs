use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Worker;
use crate::engine::blobs::Blobs;
use crate::engine::core::{Core, Pending};
use crate::engine::jobs::Change;
use crate::engine::shuffler::Shuffler;
use crate::epoch::{self, Epoch};
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Action, RequestId, TaskOutput, TaskResult, Work};
use crate::manifest::{Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify};
use crate::membership::{Advert, Kind, Roles};
use crate::message::{Failure, Request, Response, Seals, Summary};
use crate::sign::{Keypair, Signed};

const ROOT: Hash = Hash([1; 32]);
/// Buckets of the shuffles below, each a partition of its own.
const BUCKETS: u16 = 4;

fn me() -> PeerKey {
    PeerKey([1; 32])
}

fn other() -> PeerKey {
    PeerKey([2; 32])
}

/// A worker with what it needs around it, and what it wants done.
struct Bench {
    core: Core,
    blobs: Blobs,
    shuffler: Shuffler,
    worker: Worker,
    actions: VecDeque<Action>,
}

impl Bench {
    fn new() -> Self {
        let roles = Roles { worker: true, ..Roles::default() };
        let advert = Advert { kind: Kind::Node, roles, threads: 1, weight: 1, addresses: vec![], agent: String::new() };
        Self {
            worker: Worker::new(&advert),
            core: Core::new(me(), 1, advert),
            blobs: Blobs::default(),
            shuffler: Shuffler::default(),
            actions: VecDeque::new(),
        }
    }

    /// Opens a job whose shuffle `shuffler` holds, with its module here.
    fn open(&mut self, plan: &Plan, shuffler: PeerKey) -> JobId {
        let manifest = plan.manifest();
        let job = Manifest::id_of(&plan.key().sign(&manifest));
        let (epoch, signed_epoch) = plan.epoch(job, 0, shuffler);
        let stages = manifest.stages.len();
        let change =
            Change::Open { manifest: Arc::new(manifest), epoch, signed_epoch, done: vec![0; stages], reopened: 0 };
        self.change(&job, &change);
        job
    }

    fn change(&mut self, job: &JobId, change: &Change) {
        self.shuffler.on_job(&mut self.core, job, change);
        self.worker.on_job(&mut self.core, &mut self.blobs, job, change);
        self.go_on(Duration::ZERO);
    }

    /// Lets time pass; what blobs it looks for are here.
    fn go_on(&mut self, time: Duration) {
        self.core.now = self.core.now + time;
        self.worker.go_on(&mut self.core, &mut self.blobs, &self.shuffler);
        while let Some(action) = self.core.actions.pop_front() {
            if let Action::LoadBlob { hash } = action {
                let loaded = self.blobs.loaded(&mut self.core, hash, Some(Bytes::new()));
                let (hash, bytes) = loaded.expect("a blob that is waited for");
                self.worker.on_blob(&mut self.core, hash, bytes);
                self.worker.go_on(&mut self.core, &mut self.blobs, &self.shuffler);
            } else {
                self.actions.push_back(action);
            }
        }
    }

    /// Takes the first action for which `pick` gives something.
    fn take<T>(&mut self, pick: impl Fn(&Action) -> Option<T>) -> Option<T> {
        let at = self.actions.iter().position(|a| pick(a).is_some())?;
        pick(&self.actions.remove(at)?)
    }

    fn run(&mut self) -> Option<Box<Work>> {
        let at = self.actions.iter().position(|a| matches!(a, Action::Run(_)))?;
        match self.actions.remove(at) {
            Some(Action::Run(work)) => Some(work),
            _ => None,
        }
    }

    fn bucket_asked(&mut self) -> Option<(RequestId, PeerKey)> {
        self.take(|action| match action {
            Action::Request { id, to, request: Request::Bucket { .. }, .. } => Some((*id, *to)),
            _ => None,
        })
    }

    fn failure(&mut self) -> Option<Failure> {
        self.take(|action| match action {
            Action::Request { request: Request::Failed(failure), .. } => Some(failure.clone()),
            _ => None,
        })
    }

    fn answer_bucket(&mut self, id: RequestId, response: Response, body: Bytes) {
        let Some(Pending::Bucket { job, unit }) = self.core.pending.remove(&id) else { panic!("no bucket is awaited") };
        self.worker.on_bucket_answer(&mut self.core, job, unit, Ok((response, body)));
        self.go_on(Duration::ZERO);
    }

    /// The authority says that all of the first stage is done, and its partitions sealed.
    fn hear_sealed(&mut self, plan: &Plan, job: JobId, epoch: Signed<Epoch>) {
        let seals = (0..BUCKETS).map(|p| (p, ROOT)).collect();
        let shards = vec![crate::message::ShardLeft { blocks: u32::from(BUCKETS), workers: 1 }];
        let done = vec![plan.tasks, 0];
        let summary = Summary { epoch, reopened: 0, done, seals, shards, peers: vec![] };
        self.worker.on_summary(&mut self.core, job, 1, 0, Ok((Response::Summary(summary), Bytes::new())));
        self.go_on(Duration::from_secs(1));
    }

    fn results(&mut self, work: &Work, tasks: impl IntoIterator<Item = u32>, last: bool) {
        let elapsed = Duration::from_millis(10);
        let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: Bytes::from_static(b"x") };
        let results = tasks.into_iter().map(|task| TaskResult { task, elapsed, outcome: Ok(output.clone()) }).collect();
        self.worker.on_results(&mut self.core, work.run, results, last);
        self.go_on(Duration::ZERO);
    }
}

/// A job to be.
#[derive(Clone)]
struct Plan {
    owner: u8,
    nonce: u64,
    /// Tasks of its first stage, which are one block.
    tasks: u32,
    /// Whether a second stage reads what the first one wrote; otherwise that one collects.
    reduces: bool,
}

impl Plan {
    fn key(&self) -> Keypair {
        Keypair::from_secret([self.owner; 32])
    }

    fn manifest(&self) -> Manifest {
        let limits = TaskLimits { millis: 1_000, memory: 64 << 20, output: 8 << 20, retries: 3 };
        let shuffle = Sink::Shuffle { partitions: BUCKETS, buckets: u32::from(BUCKETS) };
        let first = Stage {
            operator: Operator::Map,
            source: Source::Inputs,
            sink: if self.reduces { shuffle } else { Sink::Collect },
            tasks: self.tasks,
            shards: 1,
            block: self.tasks,
            limits,
        };
        let second = Stage {
            operator: Operator::Reduce,
            source: Source::Shuffle { stage: 0 },
            sink: Sink::Collect,
            tasks: u32::from(BUCKETS),
            shards: 1,
            block: 1,
            limits,
        };
        Manifest {
            owner: self.key().public(),
            home: PeerKey([9; 32]),
            nonce: self.nonce,
            name: String::new(),
            priority: 0,
            module: BlobRef { hash: Hash([7; 32]), len: 1 },
            inputs: Inputs::Numbers,
            stages: if self.reduces { vec![first, second] } else { vec![first] },
            authority: Authority::Owner,
            verify: Verify::Off,
            replicas: 1,
        }
    }

    fn epoch(&self, job: JobId, number: u32, shuffler: PeerKey) -> (Arc<Epoch>, Signed<Epoch>) {
        let previous = (number > 0).then_some(ROOT);
        let epoch = Epoch { job, number, previous, shufflers: vec![epoch::Shuffler { peer: shuffler, weight: 1 }] };
        let signed = self.key().sign(&epoch);
        (Arc::new(epoch), signed)
    }
}

const REDUCES: Plan = Plan { owner: 1, nonce: 1, tasks: 4, reduces: true };
const COLLECTS: Plan = Plan { owner: 1, nonce: 1, tasks: 4, reduces: false };

#[test]
fn a_seal_of_an_older_epoch_opens_nothing() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (epoch, before) = REDUCES.epoch(job, 0, other());
    let (newer, signed_epoch) = REDUCES.epoch(job, 1, PeerKey([3; 32]));
    assert_eq!(epoch.number, 0);
    bench.change(&job, &Change::Epoch { epoch: newer, signed_epoch: signed_epoch.clone() });
    bench.hear_sealed(&REDUCES, job, before);
    assert_eq!(bench.bucket_asked(), None, "whoever sealed it then is not its owner now");
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    assert_eq!(bench.bucket_asked().map(|(_, owner)| owner), Some(PeerKey([3; 32])));
}

#[test]
fn what_this_peer_did_not_seal_is_not_read_from_its_store() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, me());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, me());
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    let read = bench.take(|action| if let Action::ReadBucket { bucket, .. } = action { Some(*bucket) } else { None });
    assert_eq!(read, None, "its shuffler holds nothing");
    assert_eq!(bench.worker.in_hand(), 1, "the map tasks alone");
}

#[test]
fn a_run_that_ends_early_gives_its_block_back() {
    let mut bench = Bench::new();
    bench.open(&COLLECTS, other());
    let work = bench.run().expect("a block to run");
    assert_eq!(bench.worker.load().0, 1, "it holds the block");
    bench.results(&work, 0..2, true);
    assert_eq!(bench.worker.load().0, 0, "two of its tasks gave no result");
    bench.go_on(Duration::from_secs(1));
    assert!(bench.run().is_some(), "it is tried again");
}

#[test]
fn a_result_names_the_root_that_was_read() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    let map = bench.run().expect("the map tasks");
    assert_eq!(map.stage, 0);
    bench.answer_bucket(id, Response::Body, Bytes::new());
    let reduce = bench.run().expect("its reduce");
    // Sealed anew while it runs: what it read is the old data.
    let seals = (0..BUCKETS).map(|p| (p, Hash([2; 32]))).collect();
    bench.worker.on_seals(&mut bench.core, other(), &Seals { job, stage: 0, epoch: 0, seals });
    let crate::io::WorkInput::Bucket { task, .. } = reduce.input else { panic!("not a reduce") };
    bench.results(&reduce, [task], true);
    let root = bench.take(|action| match action {
        Action::Request { request: Request::Output { root, .. }, .. } => Some(*root),
        _ => None,
    });
    assert_eq!(root, Some(Some(ROOT)));
}

#[test]
fn a_bucket_that_its_owner_cannot_read_counts_as_a_failure_of_its_task() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(id, Response::Missing, Bytes::new());
    assert_eq!(bench.failure(), None, "it may lie elsewhere by now");
    bench.go_on(Duration::from_secs(3));
    let (id, _) = bench.bucket_asked().expect("the next bucket");
    bench.answer_bucket(id, Response::Refused("the disk is broken".to_owned()), Bytes::new());
    let failure = bench.failure().expect("a word to the authority");
    assert!(failure.why.contains("the disk is broken") && !failure.worker_fault, "{failure:?}");
}

#[test]
fn a_malformed_bucket_counts_as_a_failure_of_its_task() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(id, Response::Body, Bytes::from_static(b"no records"));
    assert!(bench.failure().is_some_and(|f| f.why.contains("malformed")));
}
