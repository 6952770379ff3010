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
    /// How many of the workers, the first ones, give a task less memory than it may ask for.
    pub small: u32,
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
    /// The time after which peers that cannot hear each other give up their connection: 10 s over QUIC, 18 to 28 s over
    /// TCP.
    pub silence: Duration,
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
    /// Buckets of its shuffle.
    pub buckets: u32,
    /// Bytes that a task of its last stage should read; with few, each reads one bucket.
    pub reduce_bytes: u64,
    /// Its stages; a map and a reduce where there are none.
    pub graph: Vec<Node>,
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
    /// The submitter keeps the job's log.
    pub kept: bool,
    /// The submitter takes the job back so long after it was submitted.
    pub cancelled_after: Option<Duration>,
    /// Documents in packs of so many tasks, instead of bare numbers.
    pub pack: Option<u32>,
    /// Everyone has the module already.
    pub warm: bool,
}

/// A stage of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The stages whose shuffles it reduces, all of the same partitions and buckets; a map of the job's inputs without any.
    pub reads: Vec<u8>,
    /// Partitions and buckets of its shuffle; the last stage has none.
    pub shuffle: Option<(u16, u32)>,
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
    /// A shuffler of the first job is cut off from all others, until [`Fault::Heal`]: that of this number in the newest
    /// epoch.
    CutShuffler(usize),
    /// The disks of the workers of these numbers are full from now on: no segment that is sent to them can be kept.
    FillDisks(std::ops::Range<u32>),
    /// The submitter of the first job is killed, and started again after this time with its key, its logs and its disk:
    /// as they were, or with the logs of all its jobs damaged.
    RestartHome(Duration, Option<Damage>),
    /// A worker does nothing for some time, and goes on: its process is stopped, or its machine sleeps.
    Sleep(u32, Duration),
    /// The same of a submitter.
    SubmitterSleeps(u32, Duration),
    /// A worker leaves in order.
    Leave(u32),
    /// So many new workers join.
    Join(u32),
    /// The workers of these numbers are cut off from all others, until [`Fault::Heal`].
    Cut(std::ops::Range<u32>),
    /// All are connected again.
    Heal,
}

/// How a log is damaged; where is drawn at random.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// It ends within a batch.
    Torn,
    /// One bit is another.
    BitFlipped,
    /// Whole batches are missing at its end, which nobody can see.
    LastBatchesLost,
}

impl Scenario {
    /// A mesh of so many peers of one thread each on a network of homes, without jobs yet.
    pub fn new(seed: u64, peers: u32) -> Self {
        Self {
            seed,
            peers,
            threads: 1,
            small: 0,
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
                silence: Duration::from_secs(10),
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
            job.kept = pick(1) == 0;
            job.reduce_bytes = [1, 200, 1 << 20][pick(2) as usize];
            job.pack = (pick(2) == 0).then(|| 1 + pick(40));
            if pick(1) == 0 {
                let partitions = job.partitions;
                job.graph = random_graph(&mut pick, partitions);
            }
            // One thread alone could do it in that time, twice; beyond, something hangs.
            let tasks = f64::from(job.all_tasks()) * scenario.slowest;
            patience += job.task_time.mul_f64(2.0 * tasks);
            scenario.jobs.push(job);
        }
        scenario.deadline = patience;
        for _ in 0..pick(3) {
            let at = Duration::from_millis(5_000 + u64::from(pick(15_000)));
            let victim = pick(peers as usize - 2);
            let sleep = Duration::from_secs(1 + u64::from(pick(59)));
            scenario.faults.push((
                at,
                match pick(12) {
                    0 => Fault::KillShuffler(pick(2) as usize),
                    6 => Fault::RestartShuffler(pick(2) as usize),
                    7 => Fault::MuteShuffler(pick(2) as usize),
                    8 => Fault::FailStore(pick(2) as usize),
                    9 => Fault::Sleep(victim, sleep),
                    10 => Fault::SubmitterSleeps(pick(scenario.submitters as usize - 1), sleep),
                    11 => Fault::CutShuffler(pick(2) as usize),
                    12 => Fault::FillDisks(0..victim),
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
        scenario.jobs.iter_mut().for_each(|job| job.unrepeatable = pick(2) == 0);
        if pick(4) == 0 {
            // By then all jobs are submitted, if no submitter sleeps. Those that are at home there go on only if their logs are kept.
            let home = scenario.jobs[0].submitter;
            scenario.faults.retain(|(_, fault)| !matches!(fault, Fault::SubmitterSleeps(..)));
            scenario.jobs.iter_mut().filter(|job| job.submitter == home).for_each(|job| job.kept = true);
            let down = Duration::from_millis([500, 5_000, 60_000][pick(2) as usize]);
            let at = Duration::from_millis(9_500 + u64::from(pick(15_000)));
            let damages = [None, Some(Damage::Torn), Some(Damage::BitFlipped), Some(Damage::LastBatchesLost)];
            scenario.faults.push((at, Fault::RestartHome(down, damages[pick(3) as usize])));
            scenario.deadline += 3 * down;
            if pick(3) == 0 {
                // Once more, soon after it has come back.
                let again = at + down + Duration::from_millis(u64::from(pick(10_000)));
                scenario.faults.push((again, Fault::RestartHome(down, damages[pick(3) as usize])));
                scenario.deadline += 3 * down;
            }
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
            graph: Vec::new(),
            partitions: 8,
            buckets: 32.max(workers.next_multiple_of(8)).min(limits::BUCKETS),
            reduce_bytes: 1,
            replicas: 1,
            task_time,
            spread: 0.5,
            retries: 3,
            fails: None,
            unrepeatable: false,
            kept: false,
            cancelled_after: None,
            pack: None,
            warm: false,
        }
    }

    /// Its stages.
    pub(super) fn stages(&self) -> Vec<Node> {
        if !self.graph.is_empty() {
            return self.graph.clone();
        }
        let map = Node { reads: vec![], shuffle: Some((self.partitions, self.buckets)) };
        vec![map, Node { reads: vec![0], shuffle: None }]
    }

    /// How many tasks a stage has.
    pub(super) fn tasks_of(&self, node: &Node) -> u32 {
        let read = node.reads.first().and_then(|&stage| self.stages()[usize::from(stage)].shuffle);
        read.map_or(self.tasks, |(_, buckets)| buckets)
    }

    /// Tasks of all stages.
    pub(super) fn all_tasks(&self) -> u32 {
        self.stages().iter().map(|node| self.tasks_of(node)).sum()
    }

    /// How long map task `task` takes on the fastest peer.
    pub(super) fn time_of(&self, seed: u64, stage: u8, task: u32) -> Duration {
        let draw = rng::unit(rng::draw(&[seed, 2, u64::from(stage), u64::from(task)]));
        self.task_time.mul_f64(1.0 - self.spread + 2.0 * self.spread * draw)
    }

    /// The manifest that its submitter signs.
    pub(super) fn manifest(&self, nonce: u64, module: BlobRef, index: Option<BlobRef>) -> Manifest {
        let limits = TaskLimits { millis: 600_000, memory: TASK_MEMORY, output: 8 << 20, retries: self.retries };
        let inputs = match index {
            Some(index) => Inputs::Packs { index, documents: u64::from(self.tasks), bytes: u64::from(self.tasks) * 8 },
            None => Inputs::Numbers,
        };
        let stages = self.stages().into_iter().map(|node| {
            let map = Stage {
                operator: Operator::Map,
                source: Source::Inputs,
                further: Vec::new(),
                sink: node.shuffle.map_or(Sink::Collect, |(partitions, buckets)| Sink::Shuffle { partitions, buckets }),
                tasks: self.tasks_of(&node),
                task_bytes: self.reduce_bytes,
                shards: self.shards,
                block: self.block,
                limits,
            };
            let mut sources = node.reads.iter().map(|&stage| Source::Shuffle { stage });
            match sources.next() {
                None => map,
                Some(source) => Stage {
                    operator: Operator::Reduce,
                    source,
                    further: sources.collect(),
                    shards: shards_for(map.tasks, u32::from(self.shards) * SHARD),
                    block: 1,
                    ..map
                },
            }
        });
        Manifest {
            owner: PeerKey([0; 32]),
            home: PeerKey([0; 32]),
            nonce,
            name: "simulated".to_owned(),
            minor: 0,
            module,
            inputs,
            stages: stages.collect(),
            authority: Authority::Owner,
            verify: Verify::Off,
            replicas: self.replicas,
        }
    }
}

/// Stages of a random graph.
const GRAPH: usize = 6;

/// A graph of up to six stages: a map alone, or maps and reduces of some of the shuffles before them. The last stage reads
/// whatever nobody else does.
fn random_graph(pick: &mut impl FnMut(usize) -> u32, partitions: u16) -> Vec<Node> {
    let last = pick(GRAPH - 1) as usize;
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..last {
        let shuffle = Some((partitions, u32::from(partitions) * (1 + pick(2))));
        let reads = if nodes.is_empty() || pick(3) == 0 { Vec::new() } else { some_of(pick, &nodes) };
        nodes.push(Node { reads, shuffle });
    }
    let is_read = |stage: &usize| nodes.iter().any(|node| node.reads.contains(&(*stage as u8)));
    let unread: Vec<usize> = (0..last).filter(|stage| !is_read(stage)).collect();
    let mut reads: Vec<u8> = unread.iter().map(|&stage| stage as u8).collect();
    if let Some(&first) = unread.first() {
        let shuffle = nodes[first].shuffle;
        unread.iter().for_each(|&stage| nodes[stage].shuffle = shuffle);
        let others = some_of(pick, &nodes);
        reads.extend(others.into_iter().filter(|&stage| {
            let alike = nodes[usize::from(stage)].shuffle == shuffle;
            alike && !unread.contains(&usize::from(stage))
        }));
    }
    nodes.push(Node { reads, shuffle: None });
    nodes
}

/// Some stages whose shuffles can be read together, in any order.
fn some_of(pick: &mut impl FnMut(usize) -> u32, nodes: &[Node]) -> Vec<u8> {
    let first = pick(nodes.len() - 1) as usize;
    let alike = (0..nodes.len()).filter(|&stage| stage != first && nodes[stage].shuffle == nodes[first].shuffle);
    let others: Vec<u8> = alike.filter(|_| pick(1) == 0).map(|stage| stage as u8).collect();
    std::iter::once(first as u8).chain(others).collect()
}

/// What a task may ask for, and what the workers give that are [`Scenario::small`].
const TASK_MEMORY: u64 = 64 << 20;
pub(super) const SMALL_MEMORY: u64 = TASK_MEMORY / 2;

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
