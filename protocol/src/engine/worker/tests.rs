use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::job::WorkerJob;
use super::{Worker, choice};
use crate::engine::Memory;
use crate::engine::blobs::Blobs;
use crate::engine::core::{Core, Pending};
use crate::engine::jobs::Change;
use crate::engine::shuffler::Shuffler;
use crate::epoch::{self, Epoch};
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Action, RequestId, TaskFailure, TaskOutput, TaskResult, Work};
use crate::limits;
use crate::manifest::{Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify};
use crate::membership::{Advert, Kind, Roles};
use crate::message::{Claim, Failure, Gossip, Request, Response, Seals, ShardLeft, Summary};
use crate::pack::{Index, Layout, PackRef};
use crate::sign::{Keypair, Signed};
use crate::time::Time;

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
        Self::with_roles(Roles { worker: true, ..Roles::default() })
    }

    fn with_roles(roles: Roles) -> Self {
        let advert = Advert { kind: Kind::Node, roles, threads: 1, weight: 1, addresses: vec![], agent: String::new() };
        Self {
            worker: Worker::new(&advert, Memory::native(1 << 30)),
            core: Core::new(me(), 1, advert),
            blobs: Blobs::default(),
            shuffler: Shuffler::new(limits::TABLE_BYTES),
            actions: VecDeque::new(),
        }
    }

    /// Opens a job whose shuffle `shuffler` holds, with its module here.
    fn open(&mut self, plan: &Plan, shuffler: PeerKey) -> JobId {
        self.open_as(plan, plan.manifest(), shuffler)
    }

    /// The same of a manifest that is not quite as planned.
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
        self.go_on(Duration::ZERO);
    }

    /// Lets time pass; what blobs it looks for are here.
    fn go_on(&mut self, time: Duration) {
        self.core.now = self.core.now + time;
        self.worker.go_on(&mut self.core, &mut self.blobs, &self.shuffler);
        while let Some(action) = self.core.actions.pop_front() {
            if let Action::LoadBlob { hash } = action
                && hash != Hash([NOWHERE; 32])
            {
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
        let pending = self.core.pending.remove(&id);
        let Some(Pending::Bucket { job, unit, owner, from, got }) = pending else { panic!("no bucket is awaited") };
        self.worker.on_bucket_answer(&mut self.core, job, unit, (owner, from), got, Ok((response, body)));
        self.go_on(Duration::ZERO);
    }

    /// The authority says that all of the first stage is done, and its partitions sealed.
    fn hear_sealed(&mut self, plan: &Plan, job: JobId, epoch: Signed<Epoch>) {
        let seals = (0..BUCKETS).map(|p| (p, ROOT)).collect();
        let shards = vec![ShardLeft { blocks: u32::from(BUCKETS), workers: 1 }];
        let done = vec![plan.tasks, 0];
        let summary = Summary { epoch, reopened: 0, done, seals, shards, peers: vec![] };
        self.worker.on_summary(&mut self.core, job, 1, 0, Ok((Response::Summary(summary), Bytes::new())));
        self.go_on(Duration::from_secs(1));
    }

    /// Answers whoever asks about a stage of two shards of eight blocks, of which so many are left, those with the
    /// highest numbers; gives the shards asked about.
    fn answer_summaries(&mut self, job: JobId, epoch: &Signed<Epoch>, reopened: u32, left: [u32; 2]) -> Vec<u16> {
        let mut asked = Vec::new();
        while let Some(shard) = self.take(|action| match action {
            Action::Request { request: Request::Summary { shard, .. }, .. } => Some(*shard),
            _ => None,
        }) {
            asked.push(shard);
            let done = Bytes::from(vec![0xff >> left[usize::from(shard)]]);
            let shards = left.iter().map(|&blocks| ShardLeft { blocks, workers: 1 }).collect();
            let (epoch, peers) = (epoch.clone(), vec![]);
            let summary = Summary { epoch, reopened, done: vec![16 - left[0] - left[1]], seals: vec![], shards, peers };
            self.worker.on_summary(&mut self.core, job, 0, shard, Ok((Response::Summary(summary), done)));
        }
        self.go_on(Duration::ZERO);
        asked
    }

    /// Runs units one after another, each task for so long, and takes all output; gives whose units ran.
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

    /// Runs a unit, if there is any, each of its tasks for so long, and takes its output; gives whose it was and how
    /// many tasks.
    fn run_unit(&mut self, task_time: Duration) -> Option<(JobId, usize)> {
        let work = self.run()?;
        let crate::io::WorkInput::Numbers { tasks } = &work.input else { panic!("not a map") };
        let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: Bytes::from_static(b"x") };
        let result = |task| TaskResult { task, elapsed: task_time, outcome: Ok(output.clone()) };
        let results: Vec<_> = tasks.clone().map(result).collect();
        self.core.now = self.core.now + task_time * results.len() as u32;
        let ran = (work.job, results.len());
        self.worker.on_results(&mut self.core, work.run, results, true);
        self.go_on(Duration::ZERO);
        self.take_outputs();
        Some(ran)
    }

    fn idle(&mut self, time: Duration) {
        self.worker.tick(&mut self.core, &mut self.blobs);
        self.go_on(time);
    }

    fn take_outputs(&mut self) {
        let outputs: Vec<_> = self.core.pending.extract_if(.., |_, p| matches!(p, Pending::Output { .. })).collect();
        for (_, output) in outputs {
            if let Pending::Output { job, stage, task } = output {
                self.worker.on_output_answer(&mut self.core, job, stage, task, Ok((Response::Ok, Bytes::new())));
            }
        }
        self.go_on(Duration::ZERO);
    }

    fn results(&mut self, work: &Work, tasks: impl IntoIterator<Item = u32>, last: bool) {
        self.results_of(work, tasks, last, 1);
    }

    /// Results of so many bytes each.
    fn results_of(&mut self, work: &Work, tasks: impl IntoIterator<Item = u32>, last: bool, bytes: usize) {
        let elapsed = Duration::from_millis(10);
        let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: vec![0; bytes].into() };
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
    /// Tasks of its first stage,
    tasks: u32,
    /// and of each block of it.
    block: u32,
    /// The name of its module; all but [`NOWHERE`] are here.
    module: u8,
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
            block: self.block,
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
        let epoch = Epoch { job, number, previous, shufflers: vec![epoch::Shuffler { peer: shuffler, weight: 1 }] };
        let signed = self.key().sign(&epoch);
        (Arc::new(epoch), signed)
    }
}

/// A module that nobody has.
const NOWHERE: u8 = 255;
const REDUCES: Plan = Plan { owner: 1, nonce: 1, tasks: 4, block: 4, module: 7, reduces: true };
const COLLECTS: Plan = Plan { owner: 1, nonce: 1, tasks: 4, block: 4, module: 7, reduces: false };

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
    bench.answer_bucket(id, Response::Piece { of: 0 }, Bytes::new());
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
fn buckets_of_a_shuffler_that_works_are_its_own_first_and_all_others_anyones_at_once() {
    for works in [true, false] {
        let mut bench = Bench::new();
        let roles = Roles { worker: works, shuffler: true, ..Roles::default() };
        let advert = Advert { roles, ..bench.core.advert.clone() };
        bench.core.directory.heard(bench.core.now, other(), advert);
        let job = bench.open(&REDUCES, other());
        let seals = (0..BUCKETS).map(|p| (p, ROOT)).collect();
        bench.worker.on_seals(&mut bench.core, other(), &Seals { job, stage: 0, epoch: 0, seals });
        bench.go_on(Duration::ZERO);
        assert_eq!(bench.bucket_asked().is_none(), works);
        bench.go_on(Duration::from_secs(1));
        assert!(bench.bucket_asked().is_some(), "its owner has had its time");
    }
}

#[test]
fn a_worker_that_may_hold_no_more_claims_again_as_soon_as_it_may() {
    let mut bench = Bench::new();
    let tasks = 200;
    bench.open(&Plan { tasks, block: 1, ..COLLECTS }, other());
    let (mut ran, mut idle) = (0, 0);
    while ran < tasks as usize {
        match bench.run_unit(Duration::from_millis(3)) {
            Some((_, tasks)) => ran += tasks,
            None => {
                bench.idle(Duration::from_millis(1));
                idle += 1;
            }
        }
    }
    // It finds its pace with one task, and speaks no oftener than every 20 ms.
    assert!(idle < 50, "idle for {idle} ms of a job of 600 ms");
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
    bench.answer_bucket(id, Response::Piece { of: 10 }, Bytes::from_static(b"no records"));
    assert!(bench.failure().is_some_and(|f| f.why.contains("malformed")));
}

#[test]
fn a_bucket_of_more_parts_than_there_were_tasks_is_malformed() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    let empty_parts = vec![0; 4 * (REDUCES.tasks as usize + 1)];
    bench.answer_bucket(id, Response::Piece { of: empty_parts.len() as u64 }, empty_parts.into());
    assert!(bench.failure().is_some_and(|f| f.why.contains("malformed")));
}

#[test]
fn a_peer_that_runs_nothing_shares_no_blobs_of_others_jobs() {
    let mut bench = Bench::with_roles(Roles::default());
    bench.open(&COLLECTS, other());
    assert_eq!(bench.blobs.shared(), 0);
}

#[test]
fn what_a_job_shared_is_shared_until_the_last_job_that_needs_it_is_over() {
    let mut bench = Bench::new();
    let jobs = [1, 2].map(|nonce| bench.open(&Plan { nonce, ..COLLECTS }, other()));
    assert_eq!(bench.blobs.shared(), 1, "both run the same module");
    bench.change(&jobs[0], &Change::Over);
    assert_eq!(bench.blobs.shared(), 1);
    bench.change(&jobs[1], &Change::Over);
    assert_eq!(bench.blobs.shared(), 0);
}

#[test]
fn output_that_nobody_takes_is_bounded_over_all_jobs_and_leaves_room_to_each() {
    let mut bench = Bench::new();
    let (mut unacked, mut jobs) = (0, std::collections::BTreeSet::new());
    let part = limits::UNACKED_BYTES / 16;
    for nonce in 0..8 {
        bench.open(&Plan { nonce, tasks: 1, block: 1, ..COLLECTS }, other());
    }
    while let Some(work) = bench.run() {
        jobs.insert(work.job);
        unacked += part;
        bench.results_of(&work, [0], true, part);
        bench.go_on(Duration::from_millis(50));
        // Its answer never comes, so it is not over; another one comes in its place.
        bench.open(&Plan { nonce: 100 + unacked as u64, tasks: 1, block: 1, ..COLLECTS }, other());
    }
    assert!(jobs.len() > 8, "{} jobs began", jobs.len());
    let in_hand = 4 * part;
    assert!(unacked <= limits::UNACKED_BYTES + in_hand, "{unacked} bytes are held");
}

/// A job of many short blocks.
const LONG_JOB: Plan = Plan { owner: 1, nonce: 1, tasks: 100_000, block: 1, module: 7, reduces: false };

#[test]
fn a_newcomer_shares_with_an_owner_that_was_served_for_long() {
    let mut bench = Bench::new();
    let old = bench.open(&LONG_JOB, other());
    bench.run_units(1_000, Duration::from_millis(100));
    let new = bench.open(&Plan { owner: 2, nonce: 2, ..LONG_JOB }, other());
    let ran = bench.run_units(200, Duration::from_millis(100));
    let of_new = ran.iter().filter(|&&job| job == new).count();
    let of_old = ran.iter().filter(|&&job| job == old).count();
    // One unit in eight goes to the youngest job.
    assert!(of_new > 80 && of_old > 60, "{of_old} units of the old job, {of_new} of the new one");
}

#[test]
fn a_job_of_long_tasks_gets_its_turn_beside_one_of_short_tasks() {
    let mut bench = Bench::new();
    let long = bench.open(&LONG_JOB, other());
    bench.run_units(3, Duration::from_secs(1));
    bench.open(&Plan { owner: 2, nonce: 2, ..LONG_JOB }, other());
    for _ in 0..20 {
        // Whatever runs, each job's tasks take as long as they do.
        let work = loop {
            match bench.run() {
                Some(work) => break work,
                None => bench.go_on(Duration::from_millis(200)),
            }
        };
        let time = if work.job == long { Duration::from_secs(1) } else { Duration::from_millis(1) };
        let crate::io::WorkInput::Numbers { tasks } = &work.input else { panic!("not a map") };
        let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: Bytes::from_static(b"x") };
        let results = tasks.clone().map(|task| TaskResult { task, elapsed: time, outcome: Ok(output.clone()) });
        let results: Vec<_> = results.collect();
        bench.core.now = bench.core.now + time * results.len() as u32;
        bench.worker.on_results(&mut bench.core, work.run, results, true);
        bench.go_on(Duration::ZERO);
        bench.take_outputs();
        if work.job == long && bench.core.now > Time(0) + Duration::from_secs(4) {
            return;
        }
    }
    panic!("twenty units of the short job ran, and none of the long one");
}

#[test]
fn claims_are_made_ahead_in_a_few_jobs_only() {
    let mut bench = Bench::new();
    for owner in 1..=20 {
        bench.open(&Plan { owner, nonce: u64::from(owner), ..LONG_JOB }, other());
        bench.go_on(Duration::from_millis(1));
    }
    bench.run_units(100, Duration::from_millis(500));
    let claiming = bench.worker.jobs.values().filter(|j| j.has_claims()).count();
    assert!(claiming <= 5, "blocks of {claiming} jobs wait here");
}

#[test]
fn one_owners_jobs_do_not_keep_anothers_out() {
    let mut bench = Bench::new();
    for nonce in 0..2 * choice::ACTIVE_JOBS as u64 {
        bench.open(&Plan { nonce, ..LONG_JOB }, other());
    }
    let job = bench.open(&Plan { owner: 2, ..LONG_JOB }, other());
    assert!(bench.run_units(20, Duration::from_millis(100)).contains(&job));
}

#[test]
fn jobs_of_which_nothing_comes_give_their_places_away() {
    let mut bench = Bench::new();
    for owner in 0..choice::ACTIVE_JOBS as u8 {
        bench.open(&Plan { owner, module: NOWHERE, ..LONG_JOB }, other());
    }
    let jobs = [100, 101].map(|owner| bench.open(&Plan { owner, ..LONG_JOB }, other()));
    bench.go_on(choice::IDLE_JOB + Duration::from_secs(1));
    let ran = bench.run_units(20, Duration::from_millis(100));
    assert!(jobs.iter().all(|job| ran.contains(job)), "{} units ran", ran.len());
}

#[test]
fn the_youngest_job_has_a_place_however_many_are_under_way() {
    let mut bench = Bench::new();
    for owner in 0..choice::ACTIVE_JOBS as u8 - 1 {
        bench.open(&Plan { owner, ..LONG_JOB }, other());
    }
    bench.core.now = bench.core.now + Duration::from_secs(1);
    let job = bench.open(&Plan { owner: 100, ..LONG_JOB }, other());
    assert!(bench.run_units(40, Duration::from_millis(100)).contains(&job));
}

#[test]
fn a_worker_in_many_jobs_speaks_as_often_as_one_in_a_single_job() {
    let said_in_two_minutes = |jobs: u8| {
        let mut bench = Bench::new();
        let neighbours: Vec<PeerKey> = (50..70).map(|n| PeerKey([n; 32])).collect();
        let jobs: Vec<JobId> = (0..jobs).map(|owner| bench.open(&Plan { owner, ..LONG_JOB }, other())).collect();
        let mut said = 0;
        for second in 0..240 {
            for (&job, &from) in jobs.iter().flat_map(|job| neighbours.iter().map(move |n| (job, n))) {
                let number = second + 1;
                let claim = Claim { job, stage: 0, shard: 0, number, holds: vec![], done: vec![], finished: 0 };
                bench.worker.on_claim(&mut bench.core, from, &claim);
            }
            bench.worker.tick(&mut bench.core, &mut bench.blobs);
            bench.run_units(10, Duration::from_millis(100));
            let claims = |action: &Action| matches!(action, Action::Publish { message: Gossip::Claims(_), .. });
            // The first messages of a job may follow each other quickly.
            said += if second < 120 { 0 } else { bench.actions.iter().filter(|a| claims(a)).count() };
            bench.actions.retain(|a| !claims(a));
        }
        said
    };
    let (one, many) = (said_in_two_minutes(1), said_in_two_minutes(8));
    assert!(one > 0 && many <= 2 * one, "{one} messages in one job, {many} in eight");
}

#[test]
fn a_job_whose_tasks_may_take_more_than_this_peer_gives_is_declined() {
    let mut bench = Bench::new();
    bench.worker.memory.tasks = COLLECTS.manifest().stages[0].limits.memory - 1;
    bench.open(&COLLECTS, other());
    assert!(bench.run().is_none());
    let declined = bench.take(|action| match action {
        Action::Request { to, request: Request::Decline { memory, .. }, .. } => Some((*to, *memory)),
        _ => None,
    });
    assert_eq!(declined, Some((COLLECTS.manifest().home, bench.worker.memory.tasks)));
    bench.worker.memory.tasks += 1;
    bench.open(&Plan { nonce: 2, ..COLLECTS }, other());
    assert!(bench.run().is_some());
}

#[test]
fn a_module_that_this_peer_lost_is_looked_for_again() {
    let mut bench = Bench::new();
    bench.open(&COLLECTS, other());
    let work = bench.run().expect("a block to run");
    let lost = TaskFailure { document: None, why: "the module is not here any more".to_owned(), worker_fault: true };
    let result = |task| TaskResult { task, elapsed: Duration::ZERO, outcome: Err(lost.clone()) };
    bench.worker.on_results(&mut bench.core, work.run, (0..4).map(result).collect(), true);
    bench.worker.go_on(&mut bench.core, &mut bench.blobs, &bench.shuffler);
    let told =
        |action: &Action| matches!(action, Action::Request { request: Request::Failed(f), .. } if f.worker_fault);
    assert!(bench.core.actions.iter().any(told));
    bench.core.now = bench.core.now + super::RETRY_MODULE;
    bench.worker.go_on(&mut bench.core, &mut bench.blobs, &bench.shuffler);
    let looks = |action: &Action| matches!(action, Action::LoadBlob { hash } if *hash == Hash([COLLECTS.module; 32]));
    assert!(bench.core.actions.iter().any(looks));
}

#[test]
fn packs_that_do_not_come_keep_a_worker_neither_from_other_jobs_nor_others_from_the_tasks() {
    let mut bench = Bench::new();
    let stalled = bench.open(&Plan { owner: 1, ..LONG_JOB }, other());
    bench.run_units(20, Duration::from_millis(50));
    // From here on its inputs lie in a pack that nobody sends.
    let blob = BlobRef { hash: Hash([NOWHERE; 32]), len: 1 };
    let layout = Layout::new(Index { packs: vec![PackRef { blob, documents: LONG_JOB.tasks, docs_per_task: 1 }] });
    bench.worker.jobs.get_mut(&stalled).expect("an open job").layout = Some(Arc::new(layout));
    while bench.run().is_some() {}
    bench.worker.running.clear();
    let job = bench.open(&Plan { owner: 2, ..LONG_JOB }, other());
    let from = bench.core.now;
    let ran = bench.run_units(40, Duration::from_millis(50));
    assert!(ran.iter().all(|of| *of == job));
    assert!(bench.core.now.since(from) < Duration::from_secs(10), "it waited for {:?}", bench.core.now.since(from));
    for _ in 0..30 {
        bench.run_units(50, Duration::from_millis(50));
        bench.worker.tick(&mut bench.core, &mut bench.blobs);
    }
    assert!(bench.core.now.since(from) > super::PACK_WAIT);
    let waiting =
        bench.worker.jobs[&stalled].waiting.values().all(|w| bench.core.now.since(w.since) < super::PACK_WAIT);
    assert!(waiting, "its units wait for ever");
}

#[test]
fn a_bucket_that_comes_in_pieces_is_reduced_whole() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    let records = [&b"records of one task"[..], b"of another"];
    let framed: Vec<u8> =
        records.iter().flat_map(|r| (r.len() as u32).to_le_bytes().into_iter().chain(r.iter().copied())).collect();
    let of = framed.len() as u64;
    for piece in framed.chunks(7) {
        let (id, _) = bench.bucket_asked().expect("the rest of the bucket is asked for");
        bench.answer_bucket(id, Response::Piece { of }, Bytes::copy_from_slice(piece));
    }
    let reduce = std::iter::from_fn(|| bench.run()).find(|work| work.stage == 1).expect("the reduce task");
    let crate::io::WorkInput::Bucket { records: read, .. } = reduce.input else { panic!("not a reduce") };
    assert_eq!(read, records);
}

#[test]
fn a_bucket_larger_than_its_task_may_take_is_the_tasks_failure() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    let of = REDUCES.manifest().stages[1].limits.memory + 1;
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(id, Response::Piece { of }, Bytes::from_static(b"its first piece"));
    let failure = bench.failure().expect("the task fails");
    assert!(!failure.worker_fault && failure.why.contains(&format!("{of} bytes")), "{failure:?}");
}

#[test]
fn buckets_in_hand_take_no_more_together_than_tasks_may() {
    let mut bench = Bench::new();
    let memory = REDUCES.manifest().stages[1].limits.memory;
    bench.worker.memory.inputs = memory;
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.hear_sealed(&REDUCES, job, signed_epoch);
    // One record that fills most of what there is, behind its length.
    let len = memory / 4 * 3;
    let bucket: Bytes = [&(len as u32).to_le_bytes()[..], &vec![0; len as usize]].concat().into();
    let (of, start) = (bucket.len() as u64, bucket.slice(..1));
    let (first, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(first, Response::Piece { of }, start.clone());
    let (rest, _) = bench.bucket_asked().expect("it has room");
    bench.go_on(Duration::from_secs(1));
    let (second, _) = bench.bucket_asked().expect("another bucket");
    bench.answer_bucket(second, Response::Piece { of }, start.clone());
    assert_eq!(bench.bucket_asked(), None, "both together have not");
    assert_eq!(bench.failure(), None, "and that is no fault of its task");

    bench.answer_bucket(rest, Response::Piece { of }, bucket.slice(1..));
    let reduce = std::iter::from_fn(|| bench.run()).find(|work| work.stage == 1).expect("the first reduce task");
    let crate::io::WorkInput::Bucket { task, .. } = reduce.input else { panic!("not a reduce") };
    bench.results(&reduce, [task], true);
    bench.go_on(Duration::from_secs(3));
    let (next, _) = bench.bucket_asked().expect("the next one");
    bench.answer_bucket(next, Response::Piece { of }, start);
    assert!(bench.bucket_asked().is_some(), "there is room again");
}

#[test]
fn an_index_that_does_not_fit_its_manifest_is_not_fetched_again_and_again() {
    let bench = Bench::new();
    let index = BlobRef { hash: Hash([8; 32]), len: 1 };
    let inputs = Inputs::Packs { index, documents: u64::from(COLLECTS.tasks), bytes: 1 };
    let mut opened = WorkerJob::new(
        bench.core.now,
        &Arc::new(Manifest { inputs, ..COLLECTS.manifest() }),
        &COLLECTS.epoch(JobId([1; 32]), 0, other()).0,
        vec![0],
        0,
    );
    opened.take_blob(bench.core.now, index.hash, None);
    assert!(opened.retry_at().is_some(), "it may come yet");
    opened.take_blob(bench.core.now, index.hash, Some(&Bytes::from_static(b"no index")));
    assert!(!opened.is_set_up());
    assert_eq!(opened.retry_at(), None);
}

/// A bench with a job whose first stage has two shards, with its epoch and the shard that this worker begins in.
fn two_shards() -> (Bench, JobId, Signed<Epoch>, usize) {
    let mut bench = Bench::new();
    let plan = Plan { tasks: 16, block: 1, ..COLLECTS };
    let mut manifest = plan.manifest();
    manifest.stages[0].shards = 2;
    let job = bench.open_as(&plan, manifest, other());
    let (_, epoch) = plan.epoch(job, 0, other());
    let shard = bench.answer_summaries(job, &epoch, 0, [0, 0])[0];
    (bench, job, epoch, usize::from(shard))
}

#[test]
fn the_last_blocks_of_a_shard_whose_workers_hang_are_done_by_those_of_others() {
    let (mut bench, job, epoch, mine) = two_shards();
    let mut left = [2, 2];
    left[mine] = 0;
    let mut asked = Vec::new();
    for _ in 0..20 * limits::LEASE.as_secs() {
        bench.idle(Duration::from_millis(200));
        asked.extend(bench.answer_summaries(job, &epoch, 0, left));
    }
    assert!(asked.iter().filter(|&&shard| usize::from(shard) == mine).count() > 1, "they have a while to go on");
    let work = bench.run().expect("a block of the other shard to run");
    let crate::io::WorkInput::Numbers { tasks } = &work.input else { panic!("not a map") };
    assert_ne!(tasks.start / 8, mine as u32);
}

#[test]
fn a_shard_that_is_done_again_is_left_as_soon_as_any_other() {
    let (mut bench, job, epoch, mine) = two_shards();
    bench.idle(Duration::from_millis(200));
    bench.change(&job, &Change::Reopened(1));
    // All seems done until the answer is here.
    bench.idle(Duration::from_millis(200));
    let mut left = [8, 8];
    left[mine] = 1;
    assert!(!bench.answer_summaries(job, &epoch, 1, left).is_empty());
    bench.run_units(1, Duration::from_millis(10));
    for _ in 0..10 {
        bench.idle(Duration::from_millis(200));
    }
    left[mine] = 0;
    assert!(!bench.answer_summaries(job, &epoch, 1, left).is_empty());
}

#[test]
fn tasks_that_were_opened_again_are_found_whichever_stage_that_is_heard_of_with_first() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.actions.clear();
    let shards = vec![ShardLeft { blocks: u32::from(BUCKETS), workers: 1 }];
    let summary = Summary { epoch: signed_epoch, reopened: 1, done: vec![0, 0], seals: vec![], shards, peers: vec![] };
    bench.worker.on_summary(&mut bench.core, job, 1, 0, Ok((Response::Summary(summary), Bytes::new())));
    bench.change(&job, &Change::Reopened(1));
    let asked = |a: &Action| matches!(a, Action::Request { request: Request::Summary { stage: 0, .. }, .. });
    assert!(bench.actions.iter().any(asked));
}

#[test]
fn a_bucket_of_an_owner_that_was_given_up_is_not_waited_for() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, before) = REDUCES.epoch(job, 0, other());
    bench.hear_sealed(&REDUCES, job, before);
    assert_eq!(bench.bucket_asked().map(|(_, owner)| owner), Some(other()), "which hangs");
    assert!(bench.worker.in_hand() > 1);
    let (epoch, signed_epoch) = REDUCES.epoch(job, 1, PeerKey([3; 32]));
    bench.change(&job, &Change::Epoch { epoch, signed_epoch });
    assert_eq!(bench.worker.in_hand(), 1, "the map tasks alone");
}
