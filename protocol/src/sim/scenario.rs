//! What is simulated: a mesh, its network, the jobs that are submitted, and what goes wrong.

use std::time::Duration;

use super::rng::{self, Rng};
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::manifest::{Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify};

/// A simulation, whole: run twice, it goes the same way.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Everything that is random is drawn from this.
    pub seed: u64,
    /// Workers that are there from the start.
    pub peers: u32,
    /// Tasks that each runs at once.
    pub threads: u16,
    /// How many of the workers are shufflers too. With none, a submitter is one for its own jobs.
    pub shufflers: u32,
    /// Peers beside the workers that submit jobs and run nothing.
    pub submitters: u32,
    /// The slowest peer takes so many times as long for a task as the fastest; the others lie between.
    pub slowest: f64,
    /// The network.
    pub links: Links,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// What goes wrong, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// So often a random worker is killed and a new one joins.
    pub churn: Option<Duration>,
    /// The simulation is given up after so much virtual time.
    pub deadline: Duration,
    /// Every claim, run, request and answer is noted in [`super::Report::log`].
    pub watched: bool,
}

/// The network between peers.
#[derive(Clone, Debug)]
pub struct Links {
    /// The least and the most that a message takes from one peer to another; drawn for each pair.
    pub delay: (Duration, Duration),
    /// What is added to that at most; drawn for each message.
    pub jitter: Duration,
    /// What each peer can send, and receive, in a second.
    pub bytes_per_second: u64,
    /// The share of messages that is lost: gossip for good; a request or an answer is sent again after a while.
    pub loss: f64,
    /// Connections that each peer opens when it joins, to peers drawn at random, beside those to submitters.
    pub connections: u32,
    /// A killed peer is noticed by those connected to it after so long.
    pub detection: Duration,
}

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct Job {
    /// When.
    pub at: Duration,
    /// By which of the submitters.
    pub submitter: u32,
    /// Tasks of its map stage.
    pub tasks: u32,
    /// Tasks per block.
    pub block: u32,
    /// Shards of its map stage.
    pub shards: u16,
    /// Partitions of its shuffle.
    pub partitions: u16,
    /// Buckets of its shuffle: tasks of its reduce stage.
    pub buckets: u32,
    /// Copies of each partition.
    pub replicas: u8,
    /// How long a task takes on the fastest peer.
    pub task_time: Duration,
    /// Tasks take up to so much more or less than that, as a share of it; drawn for each task.
    pub spread: f64,
    /// How often a task is tried again.
    pub retries: u8,
    /// A map task that fails wherever it is tried.
    pub fails: Option<u32>,
    /// Each attempt at a map task gives other bytes, as that of a guest which reads a clock would; the reduces do not
    /// look at what differs.
    pub unrepeatable: bool,
    /// The submitter takes the job back so long after it was submitted.
    pub cancelled_after: Option<Duration>,
    /// Documents in packs of so many tasks, instead of bare numbers.
    pub pack: Option<u32>,
    /// Everyone has the module already.
    pub warm: bool,
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A peer is killed: the worker of this number.
    Kill(u32),
    /// A shuffler of the first job is killed: that of this number in the newest epoch.
    KillShuffler(usize),
    /// A shuffler of the first job is killed and started again with its key and nothing else, before anybody has
    /// given it up: that of this number in the newest epoch.
    RestartShuffler(usize),
    /// A shuffler of the first job hangs: its connections stand, and it does nothing any more.
    MuteShuffler(usize),
    /// The disk of a shuffler of the first job fails: what it held is lost, and it knows.
    FailStore(usize),
    /// A worker leaves in order.
    Leave(u32),
    /// So many new workers join.
    Join(u32),
    /// The workers of these numbers are cut off from all others, until [`Fault::Heal`].
    Cut(std::ops::Range<u32>),
    /// All are connected again.
    Heal,
}

impl Scenario {
    /// A mesh of so many peers of one thread each on a network of homes, without jobs yet.
    pub fn new(seed: u64, peers: u32) -> Self {
        Self {
            seed,
            peers,
            threads: 1,
            shufflers: peers.min(2),
            submitters: 1,
            slowest: 1.0,
            links: Links {
                delay: (Duration::from_millis(5), Duration::from_millis(20)),
                jitter: Duration::from_millis(2),
                bytes_per_second: 10 << 20,
                loss: 0.0,
                connections: 20,
                detection: Duration::from_secs(3),
            },
            jobs: Vec::new(),
            faults: Vec::new(),
            churn: None,
            deadline: Duration::from_secs(900),
            watched: false,
        }
    }

    /// The same with a delay between any two peers of 50 to 200 ms.
    pub fn far_apart(mut self) -> Self {
        self.links.delay = (Duration::from_millis(50), Duration::from_millis(200));
        self.links.jitter = Duration::from_millis(10);
        self
    }

    /// The same with one more job.
    pub fn with(mut self, job: Job) -> Self {
        self.jobs.push(job);
        self
    }

    /// The same with something that goes wrong.
    pub fn but(mut self, at: Duration, fault: Fault) -> Self {
        self.faults.push((at, fault));
        self
    }

    /// A small mesh on which anything may go wrong, drawn from the seed.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(rng::draw(&[seed, 7]));
        let mut pick = |most: usize| rng.below(most + 1) as u32;
        let peers = 2 + pick(18);
        let mut scenario = Self::new(seed, peers);
        scenario.threads = 1 + pick(3) as u16;
        // The last worker is none, and no fault below finds it: somebody is there to end the jobs.
        scenario.shufflers = pick(4).min(peers - 1);
        scenario.submitters = 1 + pick(1);
        scenario.slowest = 1.0 + f64::from(pick(3));
        scenario.links.connections = 2 + pick(18);
        scenario.links.loss = if pick(2) == 0 { f64::from(pick(20)) / 100.0 } else { 0.0 };
        scenario.links.bytes_per_second = 100_000 << pick(8);
        if pick(1) == 0 {
            scenario = scenario.far_apart();
        }
        let mut patience = Duration::from_secs(300);
        for _ in 0..1 + pick(2) {
            let tasks = 1 + pick(400);
            let millis = [1, 10, 100, 500][pick(3) as usize];
            let mut job = Job::new(tasks, Duration::from_millis(millis), [peers, 60][pick(1) as usize]);
            job.at += Duration::from_millis(u64::from(pick(4_000)));
            job.submitter = pick(scenario.submitters as usize - 1);
            job.replicas = 1 + pick(2) as u8;
            job.block = 1 + pick(2).min(tasks - 1);
            job.shards = job.shards.min(tasks.div_ceil(job.block) as u16);
            job.partitions = [1, 4, 16][pick(2) as usize];
            job.buckets = u32::from(job.partitions) * (1 + pick(5));
            job.pack = (pick(2) == 0).then(|| 1 + pick(40));
            // One thread alone could do it in that time, twice; beyond, something hangs.
            let tasks = f64::from(job.tasks + job.buckets) * scenario.slowest;
            patience += job.task_time.mul_f64(2.0 * tasks);
            scenario.jobs.push(job);
        }
        scenario.deadline = patience;
        for _ in 0..pick(3) {
            let at = Duration::from_millis(5_000 + u64::from(pick(15_000)));
            let victim = pick(peers as usize - 2);
            scenario.faults.push((
                at,
                match pick(8) {
                    0 => Fault::KillShuffler(pick(2) as usize),
                    6 => Fault::RestartShuffler(pick(2) as usize),
                    7 => Fault::MuteShuffler(pick(2) as usize),
                    8 => Fault::FailStore(pick(2) as usize),
                    1 => Fault::Leave(victim),
                    2 => Fault::Join(1 + pick(3)),
                    3 => Fault::Cut(0..victim),
                    _ => Fault::Kill(victim),
                },
            ));
        }
        if pick(3) == 0 {
            // Each stays for twenty seconds or so: with less, nobody would get anything done.
            scenario.churn = Some(Duration::from_secs(20) / peers + Duration::from_millis(u64::from(pick(4_000))));
        }
        // Where a shuffler is lost with what was accepted, only a guest that repeats itself can make it good.
        if scenario.faults.is_empty() {
            scenario.jobs.iter_mut().for_each(|job| job.unrepeatable = pick(1) == 0);
        }
        let healed = Duration::from_secs(20 + u64::from(pick(40)));
        scenario.but(healed, Fault::Heal)
    }

    /// How many times as long as on the fastest a task takes on peer `peer`.
    pub(super) fn slowness(&self, peer: u32) -> f64 {
        1.0 + (self.slowest - 1.0) * rng::unit(rng::draw(&[self.seed, 1, u64::from(peer)]))
    }
}

impl Job {
    /// A word-count-like job of so many tasks of a given length, cut for a mesh of so many workers.
    pub fn new(tasks: u32, task_time: Duration, workers: u32) -> Self {
        let block = tasks.div_ceil(limits::BLOCKS).max(1);
        Self {
            at: Duration::from_secs(5),
            submitter: 0,
            tasks,
            block,
            shards: shards_for(tasks.div_ceil(block), workers),
            partitions: 8,
            buckets: 32.max(workers.next_multiple_of(8)).min(limits::BUCKETS),
            replicas: 1,
            task_time,
            spread: 0.5,
            retries: 3,
            fails: None,
            unrepeatable: false,
            cancelled_after: None,
            pack: None,
            warm: false,
        }
    }

    /// How long map task `task` takes on the fastest peer.
    pub(super) fn time_of(&self, seed: u64, stage: u8, task: u32) -> Duration {
        let draw = rng::unit(rng::draw(&[seed, 2, u64::from(stage), u64::from(task)]));
        self.task_time.mul_f64(1.0 - self.spread + 2.0 * self.spread * draw)
    }

    /// The manifest that its submitter signs.
    pub(super) fn manifest(&self, nonce: u64, module: BlobRef, index: Option<BlobRef>) -> Manifest {
        let limits = TaskLimits { millis: 600_000, memory: 64 << 20, output: 8 << 20, retries: self.retries };
        let inputs = match index {
            Some(index) => Inputs::Packs { index, documents: u64::from(self.tasks), bytes: u64::from(self.tasks) * 8 },
            None => Inputs::Numbers,
        };
        let map = Stage {
            operator: Operator::Map,
            source: Source::Inputs,
            sink: Sink::Shuffle { partitions: self.partitions, buckets: self.buckets },
            tasks: self.tasks,
            shards: self.shards,
            block: self.block,
            limits,
        };
        let reduce = Stage {
            operator: Operator::Reduce,
            source: Source::Shuffle { stage: 0 },
            sink: Sink::Collect,
            tasks: self.buckets,
            shards: shards_for(self.buckets, u32::from(self.shards) * SHARD),
            block: 1,
            limits,
        };
        Manifest {
            owner: PeerKey([0; 32]),
            home: PeerKey([0; 32]),
            nonce,
            name: "simulated".to_owned(),
            priority: 0,
            module,
            inputs,
            stages: vec![map, reduce],
            authority: Authority::Owner,
            verify: Verify::Off,
            replicas: self.replicas,
        }
    }
}

/// Workers of a shard: few enough that a claim reaches them all in two hops and the message budget leaves each a
/// word every few seconds.
const SHARD: u32 = 20;

/// Shards for so many workers, as a submitter would cut them.
fn shards_for(blocks: u32, workers: u32) -> u16 {
    let most = (blocks / SHARD).clamp(1, u32::from(limits::SHARDS));
    workers.div_ceil(SHARD).clamp(1, most) as u16
}

/// The key of the peer of this number.
pub(super) fn key_of(seed: u64, peer: u32) -> PeerKey {
    PeerKey(Hash::of_parts("webmesh 1 simulated peer", &[&seed.to_le_bytes(), &peer.to_le_bytes()]).0)
}
