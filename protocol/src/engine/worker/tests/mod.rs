//! The worker with the parts of a peer that it needs.

mod capacity;
mod claims;
mod inputs;
mod preempt;
mod turns;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::job::WorkerJob;
use super::{Worker, choice};
use crate::codec::Wire;
use crate::engine::Memory;
use crate::engine::blobs::Blobs;
use crate::engine::core::Core;
use crate::engine::jobs::Change;
use crate::engine::pending::{Pending, WorkerRequest};
use crate::engine::shuffler::Shuffler;
use crate::epoch::{self, Epoch};
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{
    Action, BlobAction, NetAction, RequestId, RunAction, SegmentAction, StoreAction, TaskFailure, TaskOutput,
    TaskResult, Work,
};
use crate::limits;
use crate::manifest::{Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify};
use crate::membership::{Advert, Kind, Roles};
use crate::message::{Claim, Failure, Gossip, Request, Response, Seals, ShardLeft, Summary};
use crate::pack::{Index, Layout, PackRef};
use crate::part::{Generation, PartitionId, ShardId, ShardRef, ShuffleShape, StageId, TaskId};
use crate::sign::{Keypair, Signed};
use crate::time::Time;
use crate::version;

const ROOT: Hash = Hash([1; 32]);
/// Buckets of the shuffles below, one per partition.
const BUCKETS: u16 = 4;

fn me() -> PeerKey {
    PeerKey([1; 32])
}

fn other() -> PeerKey {
    PeerKey([2; 32])
}

fn shard(job: JobId, stage: u8, shard: u16) -> ShardRef {
    ShardRef { job, stage: StageId(stage), shard: ShardId(shard) }
}

/// A worker with the state that it shares with other roles, and its actions.
struct Bench {
    core: Core,
    blobs: Blobs,
    shuffler: Shuffler,
    worker: Worker,
    actions: VecDeque<Action>,
}

impl Bench {
    fn new() -> Self {
        Self::with_roles(Roles { worker: true, ..Roles::default() })
    }

    fn with_roles(roles: Roles) -> Self {
        let advert = Advert {
            kind: Kind::Node,
            roles,
            threads: 1,
            weight: 1,
            addresses: vec![],
            agent: String::new(),
            minor: 0,
        };
        Self {
            worker: Worker::new(&advert, Memory::native(1 << 30, 1 << 40)),
            core: Core::new(me(), 1, advert, 1),
            blobs: Blobs::default(),
            shuffler: Shuffler::new(Memory::native(1 << 30, 1 << 40)),
            actions: VecDeque::new(),
        }
    }

    /// Opens a job whose shuffle `shuffler` holds, with its module present here.
    fn open(&mut self, plan: &Plan, shuffler: PeerKey) -> JobId {
        self.open_as(plan, plan.manifest(), shuffler)
    }

    /// The same with another manifest than the planned one.
    fn open_as(&mut self, plan: &Plan, manifest: Manifest, shuffler: PeerKey) -> JobId {
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
        self.drive(Duration::ZERO);
    }

    /// Lets time pass; requested blobs are present here.
    fn drive(&mut self, time: Duration) {
        self.core.now = self.core.now + time;
        self.worker.drive(&mut self.core, &mut self.blobs, &self.shuffler);
        while let Some(action) = self.core.actions.pop_front() {
            if let Action::Store(StoreAction::Blobs(BlobAction::Load { hash })) = action
                && hash != Hash([NOWHERE; 32])
            {
                let loaded = self.blobs.loaded(&mut self.core, hash, Some(Bytes::new()));
                let (hash, bytes) = loaded.expect("a blob that is waited for");
                self.worker.on_blob(&mut self.core, hash, bytes);
                self.worker.drive(&mut self.core, &mut self.blobs, &self.shuffler);
            } else {
                self.actions.push_back(action);
            }
        }
    }

    /// Takes the first action for which `pick` returns a value.
    fn take<T>(&mut self, pick: impl Fn(&Action) -> Option<T>) -> Option<T> {
        let at = self.actions.iter().position(|a| pick(a).is_some())?;
        pick(&self.actions.remove(at)?)
    }

    fn run(&mut self) -> Option<Box<Work>> {
        let at = self.actions.iter().position(|a| matches!(a, Action::Run(RunAction::Start(_))))?;
        match self.actions.remove(at) {
            Some(Action::Run(RunAction::Start(work))) => Some(work),
            _ => None,
        }
    }

    fn bucket_asked(&mut self) -> Option<(RequestId, PeerKey)> {
        self.take(|action| match action {
            Action::Net(NetAction::Request { id, to, request: Request::Bucket(_), .. }) => Some((*id, *to)),
            _ => None,
        })
    }

    fn failure(&mut self) -> Option<Failure> {
        self.take(|action| match action {
            Action::Net(NetAction::Request { request: Request::Failed(failure), .. }) => Some(failure.clone()),
            _ => None,
        })
    }

    fn answer_bucket(&mut self, id: RequestId, response: Response, body: Bytes) {
        let pending = self.core.pending.remove(&id);
        let Some(Pending::Worker(request @ WorkerRequest::Bucket(_))) = pending else { panic!("no bucket is awaited") };
        self.worker.on_response(&mut self.core, &self.shuffler, request, Ok((response, body)));
        self.drive(Duration::ZERO);
    }

    /// The authority reports that the first stage is done and its partitions are sealed.
    fn report_sealed(&mut self, plan: &Plan, job: JobId, epoch: Signed<Epoch>) {
        let seals = PartitionId::below(BUCKETS).map(|p| (p, ROOT)).collect();
        let shards = vec![ShardLeft { blocks: u32::from(BUCKETS), workers: 1 }];
        let done = vec![plan.tasks, 0];
        let (further, peers) = (vec![], vec![]);
        let summary = Summary { epoch, reopened: 0, done, seals, further, width: Some(1), shards, peers, proven: None };
        self.answer_summary(shard(job, 1, 0), summary, Bytes::new());
        self.drive(Duration::from_secs(1));
    }

    /// Answers requests for summaries of a stage with two shards of eight blocks, of which `left` are left, those with
    /// the highest numbers; returns the requested shards.
    fn answer_summaries(&mut self, epoch: &Signed<Epoch>, reopened: u32, left: [u32; 2]) -> Vec<ShardId> {
        let mut asked = Vec::new();
        while let Some(of) = self.take(|action| match action {
            Action::Net(NetAction::Request { request: Request::Summary(of), .. }) => Some(*of),
            _ => None,
        }) {
            asked.push(of.shard);
            let done = Bytes::from(vec![0xff >> left[of.shard.index()]]);
            let shards = left.iter().map(|&blocks| ShardLeft { blocks, workers: 1 }).collect();
            let (epoch, peers) = (epoch.clone(), vec![]);
            let done_tasks = vec![16 - left[0] - left[1]];
            let (seals, width) = (vec![], None);
            let further = vec![];
            let summary =
                Summary { epoch, reopened, done: done_tasks, seals, further, width, shards, peers, proven: None };
            self.answer_summary(of, summary, done);
        }
        self.drive(Duration::ZERO);
        asked
    }

    /// Runs units one after another, with this time per task, and takes all output; returns the job of each unit.
    fn run_units(&mut self, units: usize, task_time: Duration) -> Vec<JobId> {
        let mut ran = Vec::new();
        while ran.len() < units {
            match self.run_unit(task_time) {
                Some((job, _)) => ran.push(job),
                None => self.idle(Duration::from_millis(200)),
            }
        }
        ran
    }

    /// Runs the next unit, with this time per task, and takes its output; returns its job and number of tasks.
    fn run_unit(&mut self, task_time: Duration) -> Option<(JobId, usize)> {
        let work = self.run()?;
        assert!(work.operator == Operator::Map, "not a map");
        let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: Bytes::from_static(b"x") };
        let result = |task| TaskResult { task, elapsed: task_time, outcome: Ok(output.clone()) };
        let results: Vec<_> = work.tasks.iter().map(result).collect();
        self.core.now = self.core.now + task_time * results.len() as u32;
        let ran = (work.job, results.len());
        self.worker.on_results(&mut self.core, work.run, results, true);
        self.drive(Duration::ZERO);
        self.take_outputs();
        Some(ran)
    }

    fn idle(&mut self, time: Duration) {
        self.worker.tick(&mut self.core, &mut self.blobs);
        self.drive(time);
    }

    /// The home answers with the summary of a shard; `done` is the bitmap of its finished blocks.
    fn answer_summary(&mut self, of: ShardRef, summary: Summary, done: Bytes) {
        let request = WorkerRequest::Summary(of);
        self.worker.on_response(&mut self.core, &self.shuffler, request, Ok((Response::Summary(summary), done)));
    }

    fn take_outputs(&mut self) {
        let is_output = |pending: &Pending| matches!(pending, Pending::Worker(WorkerRequest::Output(_)));
        let outputs: Vec<_> = self.core.pending.extract_if(.., |_, pending| is_output(pending)).collect();
        for (_, pending) in outputs {
            if let Pending::Worker(output) = pending {
                self.worker.on_response(&mut self.core, &self.shuffler, output, Ok((Response::Ok, Bytes::new())));
            }
        }
        self.drive(Duration::ZERO);
    }

    fn results(&mut self, work: &Work, tasks: impl IntoIterator<Item = TaskId>, last: bool) {
        self.results_of(work, tasks, last, 1);
    }

    /// Results of `bytes` bytes each.
    fn results_of(&mut self, work: &Work, tasks: impl IntoIterator<Item = TaskId>, last: bool, bytes: usize) {
        let elapsed = Duration::from_millis(10);
        let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: vec![0; bytes].into() };
        let results = tasks.into_iter().map(|task| TaskResult { task, elapsed, outcome: Ok(output.clone()) }).collect();
        self.worker.on_results(&mut self.core, work.run, results, last);
        self.drive(Duration::ZERO);
    }
}

/// The plan of a job.
#[derive(Clone)]
struct Plan {
    owner: u8,
    /// The number of its home.
    home: u8,
    nonce: u64,
    /// Number of tasks of its first stage.
    tasks: u32,
    /// Tasks per block.
    block: u32,
    /// The number of its module; all but [`NOWHERE`] are present here.
    module: u8,
    /// Whether a second stage reads the output of the first one; otherwise the first one collects.
    reduces: bool,
}

impl Plan {
    fn key(&self) -> Keypair {
        Keypair::from_secret([self.owner; 32])
    }

    fn manifest(&self) -> Manifest {
        let limits = TaskLimits { millis: 1_000, memory: 64 << 20, output: 8 << 20, retries: 3 };
        let shuffle = Sink::Shuffle(ShuffleShape { partitions: BUCKETS, buckets: u32::from(BUCKETS) });
        let first = Stage {
            operator: Operator::Map,
            source: Source::Inputs,
            further: Vec::new(),
            sink: if self.reduces { shuffle } else { Sink::Collect },
            tasks: self.tasks,
            task_bytes: 1,
            shards: 1,
            block: self.block,
            limits,
        };
        let second = Stage {
            operator: Operator::Reduce,
            source: Source::Shuffle { stage: StageId(0) },
            further: Vec::new(),
            sink: Sink::Collect,
            tasks: u32::from(BUCKETS),
            task_bytes: 1,
            shards: 1,
            block: 1,
            limits,
        };
        Manifest {
            owner: self.key().public(),
            home: PeerKey([self.home; 32]),
            nonce: self.nonce,
            name: String::new(),
            minor: 0,
            module: BlobRef { hash: Hash([self.module; 32]), len: 1 },
            inputs: Inputs::Numbers,
            stages: if self.reduces { vec![first, second] } else { vec![first] },
            authority: Authority::Owner,
            verify: Verify::Off,
            replicas: 1,
        }
    }

    fn epoch(&self, job: JobId, number: u32, shuffler: PeerKey) -> (Arc<Epoch>, Signed<Epoch>) {
        let previous = (number > 0).then_some(ROOT);
        let shufflers = vec![epoch::Shuffler { peer: shuffler, weight: 1 }];
        let epoch = Epoch { job, number, previous, shufflers, generations: vec![] };
        let signed = self.key().sign(&epoch);
        (Arc::new(epoch), signed)
    }
}

/// A module that no peer has.
const NOWHERE: u8 = 255;
const REDUCES: Plan = Plan { owner: 1, home: 9, nonce: 1, tasks: 4, block: 4, module: 7, reduces: true };
const COLLECTS: Plan = Plan { owner: 1, home: 9, nonce: 1, tasks: 4, block: 4, module: 7, reduces: false };
/// A job of many short blocks.
const LONG_JOB: Plan = Plan { owner: 1, home: 9, nonce: 1, tasks: 100_000, block: 1, module: 7, reduces: false };

/// A bench with a job whose map tasks are done elsewhere, and whose buckets `other` has sealed.
fn reducing() -> (Bench, JobId) {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.report_sealed(&REDUCES, job, signed_epoch);
    (bench, job)
}
