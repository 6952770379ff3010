//! The description of a simulation: the mesh, its network, the jobs that are submitted, and the faults.

use std::time::Duration;

use super::rng::{self, Rng};
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::manifest::{Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify};
use crate::part::{ShuffleShape, StageId, TaskId};

/// A complete simulation: running it twice gives the same result.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed from which everything random is drawn.
    pub seed: u64,
    /// Number of workers at the start.
    pub peers: u32,
    /// Threads of each worker.
    pub threads: u16,
    /// Number of workers, the first ones, that give a task less memory than it may ask for.
    pub small: u32,
    /// Number of workers that are shufflers too. With 0, each submitter is the shuffler of its own jobs.
    pub shufflers: u32,
    /// Number of additional peers that submit jobs and run no tasks.
    pub submitters: u32,
    /// How many times as long the slowest peer takes for a task as the fastest; the others are in between.
    pub slowest: f64,
    /// The network.
    pub links: Links,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The faults, each with its time.
    pub faults: Vec<(Duration, Fault)>,
    /// Interval at which a random worker is killed and a new one joins; `None` for no churn.
    pub churn: Option<Duration>,
    /// Virtual time after which the simulation is given up.
    pub deadline: Duration,
    /// Whether every claim, run, request and answer is logged to [`super::Report::log`].
    pub watched: bool,
}

/// The network between peers.
#[derive(Clone, Debug)]
pub struct Links {
    /// Shortest and longest delay of a message between two peers; drawn per pair.
    pub delay: (Duration, Duration),
    /// Most that is added to the delay; drawn per message.
    pub jitter: Duration,
    /// Bandwidth of each peer per direction, in bytes per second.
    pub bytes_per_second: u64,
    /// Share of messages that is lost: gossip permanently, requests and answers until they are sent again after a
    /// while.
    pub loss: f64,
    /// Connections that each peer opens to random peers when it joins, besides those to submitters.
    pub connections: u32,
    /// Delay until the neighbours of a killed peer notice.
    pub detection: Duration,
    /// Time after which peers that cannot reach each other give up their connection: 10 s over QUIC, 18 to 28 s over
    /// TCP.
    pub silence: Duration,
}

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct Job {
    /// Time of submission.
    pub at: Duration,
    /// Index of the submitter.
    pub submitter: u32,
    /// Tasks of its map stage.
    pub tasks: u32,
    /// Tasks per block.
    pub block: u32,
    /// Shards of its map stage.
    pub shards: u16,
    /// Partitions of its shuffles.
    pub partitions: u16,
    /// Buckets of its shuffles.
    pub buckets: u32,
    /// Bytes that a task of its last stage should read; with a small number, each task reads one bucket.
    pub reduce_bytes: u64,
    /// Its stages; empty means a map and a reduce.
    pub graph: Vec<Node>,
    /// Copies of each partition.
    pub replicas: u8,
    /// Time of a task on the fastest peer.
    pub task_time: Duration,
    /// Random variation of that time, as a share of it; drawn per task.
    pub spread: f64,
    /// Number of further attempts after a task's first failure.
    pub retries: u8,
    /// A map task that fails on every worker.
    pub fails: Option<TaskId>,
    /// Whether each attempt of a map task outputs different bytes, as a guest that reads a clock does; the reduces
    /// ignore the difference.
    pub unrepeatable: bool,
    /// Whether the submitter keeps the job's log.
    pub kept: bool,
    /// Time from submission to cancellation; `None` if it is not cancelled.
    pub cancelled_after: Option<Duration>,
    /// Tasks per pack, if documents are in packs instead of bare numbers.
    pub pack: Option<u32>,
    /// Whether every peer has the module from the start.
    pub warm: bool,
}

/// A stage of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The stages whose shuffles it reduces, all with the same partitions and buckets; empty for a map of the job's
    /// inputs.
    pub reads: Vec<StageId>,
    /// The shape of its shuffle; `None` for the last stage.
    pub shuffle: Option<ShuffleShape>,
}

impl Node {
    /// The stage that reads these stages, given by their numbers; a map if there are none.
    pub fn reading(stages: impl IntoIterator<Item = u8>, shuffle: Option<ShuffleShape>) -> Self {
        Self { reads: stages.into_iter().map(StageId).collect(), shuffle }
    }
}

/// A fault.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The worker with this number is killed.
    Kill(u32),
    /// The shuffler with this index in the newest epoch of the first job is killed.
    KillShuffler(usize),
    /// The shuffler with this index in the newest epoch of the first job is killed and restarted with only its key,
    /// before any peer gives it up.
    RestartShuffler(usize),
    /// A shuffler of the first job hangs: its connections stay open, and it does nothing.
    HangShuffler(usize),
    /// The disk of a shuffler of the first job fails: it loses its segments and notices that.
    FailStore(usize),
    /// The shuffler with this index in the newest epoch of the first job is cut off from all other peers until
    /// [`Fault::Heal`].
    CutShuffler(usize),
    /// The disks of these workers are full from now on: they cannot store any segment that is sent to them.
    FillDisks(std::ops::Range<u32>),
    /// The submitter of the first job is killed and restarted after this time with its key, its disk and its logs:
    /// intact, or damaged for all its jobs.
    RestartHome(Duration, Option<Damage>),
    /// A worker does nothing for this time, then resumes: its process is stopped, or its machine sleeps.
    Sleep(u32, Duration),
    /// The same for a submitter.
    SubmitterSleeps(u32, Duration),
    /// A worker leaves the mesh in order.
    Leave(u32),
    /// This many new workers join.
    Join(u32),
    /// These workers are cut off from all other peers until [`Fault::Heal`].
    Cut(std::ops::Range<u32>),
    /// All peers are connected again.
    Heal,
    /// Identities that run nothing claim blocks of all running jobs.
    Strangers {
        /// Number of identities.
        count: u32,
        /// Interval between the messages of each.
        every: Duration,
        /// Virtual time at which they fall silent.
        until: Duration,
        /// What they claim.
        lie: Lie,
    },
}

/// What peers claim that run nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// They hold as many blocks as newcomers may, and renew that.
    Holds,
    /// They claim blocks, and then state that all blocks are done, in turns.
    Done,
}

/// A kind of damage to a log; the place is random.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// It ends within a batch.
    Torn,
    /// One bit is flipped.
    BitFlipped,
    /// Whole batches at its end are missing, which cannot be detected.
    LastBatchesLost,
}

impl Scenario {
    /// A mesh of peers with one thread each on a network of homes, without jobs.
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

    /// The same with delays of 50 to 200 ms between peers.
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

    /// The same with one more fault.
    pub fn with_fault(mut self, at: Duration, fault: Fault) -> Self {
        self.faults.push((at, fault));
        self
    }

    /// A small mesh with random faults, drawn from the seed.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(rng::draw(&[seed, 7]));
        let mut pick = |most: usize| rng.below(most + 1) as u32;
        let peers = 2 + pick(18);
        let mut scenario = Self::new(seed, peers);
        scenario.threads = 1 + pick(3) as u16;
        // The last worker is not a shuffler, and no fault below affects it, so that the jobs can end.
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
            // A single thread could run all tasks in that time, twice; if the jobs take longer, something hangs.
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
                    7 => Fault::HangShuffler(pick(2) as usize),
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
            // Each worker stays for about twenty seconds: with less, no task would be done.
            scenario.churn = Some(Duration::from_secs(20) / peers + Duration::from_millis(u64::from(pick(4_000))));
        }
        scenario.jobs.iter_mut().for_each(|job| job.unrepeatable = pick(2) == 0);
        if pick(4) == 0 {
            // By then all jobs are submitted, if no submitter sleeps. Jobs of the restarted home continue only if their
            // logs are kept.
            let home = scenario.jobs[0].submitter;
            scenario.faults.retain(|(_, fault)| !matches!(fault, Fault::SubmitterSleeps(..)));
            scenario.jobs.iter_mut().filter(|job| job.submitter == home).for_each(|job| job.kept = true);
            let down = Duration::from_millis([500, 5_000, 60_000][pick(2) as usize]);
            let at = Duration::from_millis(9_500 + u64::from(pick(15_000)));
            let damages = [None, Some(Damage::Torn), Some(Damage::BitFlipped), Some(Damage::LastBatchesLost)];
            scenario.faults.push((at, Fault::RestartHome(down, damages[pick(3) as usize])));
            scenario.deadline += 3 * down;
            if pick(3) == 0 {
                // A second restart, soon after the first.
                let again = at + down + Duration::from_millis(u64::from(pick(10_000)));
                scenario.faults.push((again, Fault::RestartHome(down, damages[pick(3) as usize])));
                scenario.deadline += 3 * down;
            }
        }
        let healed = Duration::from_secs(20 + u64::from(pick(40)));
        scenario.with_fault(healed, Fault::Heal)
    }

    /// How many times as long a task takes on peer `peer` as on the fastest one.
    pub(super) fn slowness(&self, peer: u32) -> f64 {
        1.0 + (self.slowest - 1.0) * rng::unit(rng::draw(&[self.seed, 1, u64::from(peer)]))
    }
}

impl Job {
    /// A job like a word count with this many tasks of a given length, and shards for this many workers.
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
        let shape = ShuffleShape { partitions: self.partitions, buckets: self.buckets };
        let map = Node::reading([], Some(shape));
        vec![map, Node::reading([0], None)]
    }

    /// How many tasks a stage has.
    pub(super) fn tasks_of(&self, node: &Node) -> u32 {
        let read = node.reads.first().and_then(|&stage| self.stages()[stage.index()].shuffle);
        read.map_or(self.tasks, |shape| shape.buckets)
    }

    /// Number of tasks of all stages.
    pub(super) fn all_tasks(&self) -> u32 {
        self.stages().iter().map(|node| self.tasks_of(node)).sum()
    }

    /// Time of map task `task` on the fastest peer.
    pub(super) fn time_of(&self, seed: u64, stage: StageId, task: TaskId) -> Duration {
        let draw = rng::unit(rng::draw(&[seed, 2, u64::from(stage.0), u64::from(task.0)]));
        self.task_time.mul_f64(1.0 - self.spread + 2.0 * self.spread * draw)
    }

    /// Its stages as the manifest describes them.
    pub(super) fn described_stages(&self) -> Vec<Stage> {
        let limits = TaskLimits { millis: 600_000, memory: TASK_MEMORY, output: 8 << 20, retries: self.retries };
        let stages = self.stages().into_iter().map(|node| {
            let map = Stage {
                operator: Operator::Map,
                source: Source::Inputs,
                further: Vec::new(),
                sink: node.shuffle.map_or(Sink::Collect, Sink::Shuffle),
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
        stages.collect()
    }

    /// The manifest that its submitter signs.
    pub(super) fn manifest(&self, nonce: u64, module: BlobRef, index: Option<BlobRef>) -> Manifest {
        let inputs = match index {
            Some(index) => Inputs::Packs { index, documents: u64::from(self.tasks), bytes: u64::from(self.tasks) * 8 },
            None => Inputs::Numbers,
        };
        Manifest {
            owner: PeerKey([0; 32]),
            home: PeerKey([0; 32]),
            nonce,
            name: "simulated".to_owned(),
            minor: 0,
            module,
            inputs,
            stages: self.described_stages(),
            authority: Authority::Owner,
            verify: Verify::Off,
            replicas: self.replicas,
        }
    }
}

/// Most stages of a random graph.
const GRAPH: usize = 6;

/// A graph of up to six stages: a map alone, or maps and reduces of earlier shuffles. The last stage reads all outputs
/// that no other stage reads.
fn random_graph(pick: &mut impl FnMut(usize) -> u32, partitions: u16) -> Vec<Node> {
    let last = pick(GRAPH - 1) as usize;
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..last {
        let shuffle = Some(ShuffleShape { partitions, buckets: u32::from(partitions) * (1 + pick(2)) });
        let reads = if nodes.is_empty() || pick(3) == 0 { Vec::new() } else { some_of(pick, &nodes) };
        nodes.push(Node { reads, shuffle });
    }
    let is_read = |stage: &StageId| nodes.iter().any(|node| node.reads.contains(stage));
    let unread: Vec<StageId> = StageId::below(last as u8).filter(|stage| !is_read(stage)).collect();
    let mut reads = unread.clone();
    if let Some(&first) = unread.first() {
        let shuffle = nodes[first.index()].shuffle;
        unread.iter().for_each(|stage| nodes[stage.index()].shuffle = shuffle);
        let others = some_of(pick, &nodes);
        reads.extend(others.into_iter().filter(|&stage| {
            let alike = nodes[stage.index()].shuffle == shuffle;
            alike && !unread.contains(&stage)
        }));
    }
    nodes.push(Node { reads, shuffle: None });
    nodes
}

/// Stages whose shuffles can be read together, in random order.
fn some_of(pick: &mut impl FnMut(usize) -> u32, nodes: &[Node]) -> Vec<StageId> {
    let first = StageId(pick(nodes.len() - 1) as u8);
    let shuffle = nodes[first.index()].shuffle;
    let alike = StageId::enumerate(nodes).filter(|(stage, node)| *stage != first && node.shuffle == shuffle);
    let others: Vec<StageId> = alike.filter(|_| pick(1) == 0).map(|(stage, _)| stage).collect();
    std::iter::once(first).chain(others).collect()
}

/// Memory that a task may ask for; workers in [`Scenario::small`] give less.
const TASK_MEMORY: u64 = 64 << 20;
pub(super) const SMALL_MEMORY: u64 = TASK_MEMORY / 2;

/// Workers per shard: few enough that a claim reaches them all in two hops and the message budget allows each a message
/// every few seconds.
const SHARD: u32 = 20;

/// Number of shards for this many workers, as a submitter would choose it.
fn shards_for(blocks: u32, workers: u32) -> u16 {
    let most = (blocks / SHARD).clamp(1, u32::from(limits::SHARDS));
    workers.div_ceil(SHARD).clamp(1, most) as u16
}

/// The key of the peer with this number.
pub(super) fn key_of(seed: u64, peer: u32) -> PeerKey {
    PeerKey(Hash::of_parts("webmesh 1 simulated peer", &[&seed.to_le_bytes(), &peer.to_le_bytes()]).0)
}
