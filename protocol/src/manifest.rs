//! The manifest: everything about a job that is settled before it starts, signed by its owner.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::{Wire, at_most};
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::sign::{Document, Signed};
use crate::split::Split;
use crate::version;

/// Some bytes by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// Their hash.
    pub hash: Hash,
    /// Their length in bytes.
    pub len: u64,
}

/// A job, as its owner signed it. Its id is the hash of the encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Whose job it is: the key that signs the manifest, its epochs and its end.
    pub owner: PeerKey,
    /// The peer at which the authority is to be reached. One owner may submit from many peers.
    pub home: PeerKey,
    /// Makes two submissions of the same thing two jobs.
    pub nonce: u64,
    /// What people call it.
    pub name: String,
    /// The least minor version of the protocol whose peers can work on it ([`crate::version`]).
    #[serde(default)]
    pub minor: u16,
    /// The WebAssembly module.
    pub module: BlobRef,
    /// What the first stage reads.
    pub inputs: Inputs,
    /// What is done, in order.
    pub stages: Vec<Stage>,
    /// Who decides the few common facts.
    pub authority: Authority,
    /// How results of strangers are checked.
    pub verify: Verify,
    /// How many shufflers hold each partition, the owner included.
    pub replicas: u8,
}

/// Where documents come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inputs {
    /// No input: task *t* maps one document that holds *t* in decimal.
    Numbers,
    /// Packs of documents, listed in an index (see [`crate::pack`]).
    Packs {
        /// The encoded [`crate::pack::Index`].
        index: BlobRef,
        /// How many documents there are in all.
        documents: u64,
        /// How many bytes they have in all.
        bytes: u64,
    },
}

/// Who signs a job's epochs, acceptances and end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authority {
    /// The owner's key, while the submitter lives: an attached job.
    Owner,
    /// A majority of these peers: a detached job.
    Stewards(Vec<PeerKey>),
}

/// How results are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verify {
    /// The first answer stands.
    Off,
    /// Unproven workers are checked, proven ones at times.
    Adaptive,
    /// So many equal answers are needed.
    Quorum(u8),
}

/// One stage: the same operator over many tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// What is done to each task.
    pub operator: Operator,
    /// Where its tasks' inputs come from.
    pub source: Source,
    /// What each of its tasks reads besides, in the order of its ports: shuffles of the same partitions and buckets as the
    /// first one's, of which it reads the same buckets. A job with such a stage needs [`version::SEVERAL_SOURCES`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<{ limits::FURTHER_SOURCES }, _, _>"
    )]
    pub further: Vec<Source>,
    /// Where their outputs go.
    pub sink: Sink,
    /// How many tasks it has. One that reads a shuffle has one for each bucket; if it gives the result, that is the most:
    /// how many there are is settled once all that it reads is written ([`crate::split`]).
    pub tasks: u32,
    /// How many bytes of a shuffle one task should read: that many buckets make a task.
    pub task_bytes: u64,
    /// Into how many shards its task space is cut, each with a claim topic of its own.
    pub shards: u16,
    /// Tasks per block, the unit in which claims are made and settled.
    pub block: u32,
    /// What one task may use.
    pub limits: TaskLimits,
}

/// What a stage does to its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The guest's `map`, a document at a time.
    Map,
    /// The guest's `reduce`, a key with all its values at a time.
    Reduce,
}

/// What an operator reads and what it can give. This table is the only place that says so: the manifest's check, the
/// engine, executors and the simulator all follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What a task reads of each source.
    pub reads: Reads,
    /// The version of the guest interface from which on it can have several sources; `None` where it has one ever.
    pub several_from: Option<u8>,
    /// The version of the guest interface from which on its output can go to a shuffle.
    pub shuffles_from: u8,
    /// The version of the guest interface from which on its output can be the job's result.
    pub collects_from: u8,
}

/// What a task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Documents of the job's inputs.
    Documents,
    /// One bucket of a shuffle.
    Bucket,
}

impl Operator {
    /// What the operator reads and what it can give.
    pub fn signature(self) -> Signature {
        match self {
            Self::Map => Signature { reads: Reads::Documents, several_from: None, shuffles_from: 1, collects_from: 2 },
            Self::Reduce => {
                Signature { reads: Reads::Bucket, several_from: Some(2), shuffles_from: 2, collects_from: 1 }
            }
        }
    }

    /// What a guest of this version of the interface cannot do, if it is to read so many sources and give its output
    /// there.
    pub fn unsupported(self, sources: usize, sink: Sink, interface: u8) -> Option<&'static str> {
        let signature = self.signature();
        if sources > 1 && signature.several_from.is_none_or(|from| from > interface) {
            return Some(
                "a stage that reads several shuffles, which this version's guests cannot do: \
                 let one map write all that it reads",
            );
        }
        let from = match sink {
            Sink::Shuffle { .. } => signature.shuffles_from,
            Sink::Collect => signature.collects_from,
        };
        if from <= interface {
            return None;
        }
        Some(match self {
            Self::Map => {
                "a map that gives the result itself, which this version's guests cannot do: let a reduce give it"
            }
            Self::Reduce => {
                "a reduce that feeds a shuffle, which this version's guests cannot do: \
                 submit what follows as a job of its own that reads the result of the first"
            }
        })
    }
}

impl Source {
    fn reads(self) -> Reads {
        match self {
            Self::Inputs => Reads::Documents,
            Self::Shuffle { .. } => Reads::Bucket,
        }
    }
}

/// Where a stage's tasks read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The job's inputs.
    Inputs,
    /// The buckets that an earlier stage's shuffle made: each task reads some neighbouring ones of a partition.
    Shuffle {
        /// That stage's place in the list.
        stage: u8,
    },
}

/// Where a stage's tasks write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sink {
    /// Shufflers, by key.
    Shuffle {
        /// Slices of the key space that are owned as a whole.
        partitions: u16,
        /// Slices into which keys are sorted, the least that a task can read; a multiple of `partitions`. Bucket *b*
        /// lies in partition `b / (buckets / partitions)`.
        buckets: u32,
    },
    /// The authority: the job's result.
    Collect,
}

impl Sink {
    /// Partitions and buckets of the shuffle, if it is one.
    pub fn shuffle(self) -> Option<(u16, u32)> {
        match self {
            Self::Shuffle { partitions, buckets } => Some((partitions, buckets)),
            Self::Collect => None,
        }
    }
}

/// What one task may use before it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLimits {
    /// Wall time in milliseconds.
    pub millis: u32,
    /// Linear memory in bytes.
    pub memory: u64,
    /// Output in bytes.
    pub output: u64,
    /// How often it is tried again after its first failure.
    pub retries: u8,
}

impl TaskLimits {
    /// The wall time.
    pub fn time(&self) -> Duration {
        Duration::from_millis(u64::from(self.millis))
    }
}

impl Stage {
    /// What each of its tasks reads, in the order of its ports.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        std::iter::once(self.source).chain(self.further.iter().copied())
    }

    /// The stages whose shuffles its tasks read, in the order of its ports; none for a stage that reads documents.
    pub fn reads(&self) -> impl Iterator<Item = u8> + '_ {
        self.sources().filter_map(|source| match source {
            Source::Shuffle { stage } => Some(stage),
            Source::Inputs => None,
        })
    }

    /// Whether its tasks read documents.
    pub fn reads_inputs(&self) -> bool {
        self.source == Source::Inputs
    }

    /// Partitions and buckets of its shuffle, if it has one.
    pub fn shuffle(&self) -> Option<(u16, u32)> {
        self.sink.shuffle()
    }

    /// How many blocks its tasks make.
    pub fn blocks(&self) -> u32 {
        self.tasks.div_ceil(self.block.max(1))
    }

    /// The blocks of shard `shard`; empty, past the last block, if there is no such shard.
    pub fn shard_blocks(&self, shard: u16) -> std::ops::Range<u32> {
        let (blocks, shards) = (u64::from(self.blocks()), u64::from(self.shards.max(1)));
        let at = |s: u64| (blocks * s.min(shards) / shards) as u32;
        at(u64::from(shard))..at(u64::from(shard) + 1)
    }

    /// The tasks of a run of blocks.
    pub fn tasks_of_blocks(&self, blocks: std::ops::Range<u32>) -> std::ops::Range<u32> {
        let at = |b: u32| b.saturating_mul(self.block).min(self.tasks);
        at(blocks.start)..at(blocks.end)
    }

    /// This stage with the tasks that it has once what it reads is written.
    pub fn settled(&self, split: &Split) -> Stage {
        let mut settled = Stage { tasks: split.tasks(), ..self.clone() };
        settled.shards = self.shards.min(u16::try_from(settled.blocks()).unwrap_or(u16::MAX));
        settled
    }

    /// The shard in which a block lies; the last one for blocks that do not exist.
    pub fn shard_of_block(&self, block: u32) -> u16 {
        let (blocks, shards) = (u64::from(self.blocks().max(1)), u64::from(self.shards.max(1)));
        // The inverse of `shard_blocks`: the greatest s with blocks * s / shards <= block.
        (((u64::from(block) + 1) * shards - 1) / blocks).min(shards - 1) as u16
    }
}

impl Manifest {
    /// What a peer whose tasks speak this version of the guest interface cannot do of what the manifest asks for: such a
    /// job is refused, not done by halves.
    pub fn unsupported(&self, interface: u8) -> Option<&'static str> {
        match (&self.authority, self.verify) {
            (Authority::Stewards(_), _) => return Some("an authority of stewards, which this version does not have"),
            (_, Verify::Adaptive | Verify::Quorum(_)) => {
                return Some("results to be checked, which this version cannot do");
            }
            (Authority::Owner, Verify::Off) => {}
        }
        let beyond = |stage: &Stage| stage.operator.unsupported(stage.sources().count(), stage.sink, interface);
        self.stages.iter().find_map(beyond)
    }

    /// The least minor version of the protocol whose peers can work on it.
    pub fn least_minor(&self) -> u16 {
        let several = self.stages.iter().any(|stage| !stage.further.is_empty());
        if several { version::SEVERAL_SOURCES } else { 0 }
    }

    /// The id of the job that this signed manifest describes.
    pub fn id_of(signed: &Signed<Manifest>) -> JobId {
        JobId(signed.hash().0)
    }

    /// The stages that read the shuffle of stage `stage`, ascending.
    pub fn readers_of(&self, stage: u8) -> impl Iterator<Item = u8> + '_ {
        let stages =
            (0u8..).zip(&self.stages).filter(move |(_, described)| described.reads().any(|read| read == stage));
        stages.map(|(number, _)| number)
    }

    /// The stage that gives the job's result, where it alone reads what stage `stage` writes, and alone what its other
    /// sources write. How many tasks it has is settled by what is written; what other stages read is divided bucket by
    /// bucket, since their own output is kept by task.
    pub fn flexible_reader_of(&self, stage: u8) -> Option<u8> {
        let reader = self.readers_of(stage).next()?;
        let described = &self.stages[usize::from(reader)];
        let alone = |source: u8| self.readers_of(source).eq([reader]);
        (described.sink == Sink::Collect && described.reads().all(alone)).then_some(reader)
    }

    /// How tasks divide what stage `stage` writes, if that is settled from the start.
    pub fn fixed_split_of(&self, stage: u8) -> Option<Split> {
        let (partitions, buckets) = self.stages.get(usize::from(stage))?.shuffle()?;
        if self.flexible_reader_of(stage).is_some() { None } else { Split::of_width(partitions, buckets, 1) }
    }

    /// How tasks divide what stage `stage` writes if `width` buckets make one.
    pub fn split_of(&self, stage: u8, width: u32) -> Option<Split> {
        let (partitions, buckets) = self.stages.get(usize::from(stage))?.shuffle()?;
        Split::of_width(partitions, buckets, width)
    }

    /// The seed of a task's randomness: the same in every attempt and on every peer.
    pub fn task_seed(job: JobId, stage: u8, task: u32) -> [u8; 32] {
        Hash::of_parts("webmesh 1 task seed", &[&job.0, &[stage], &task.to_le_bytes()]).0
    }
}

impl Wire for Manifest {
    const NAME: &'static str = "manifest";
    const MAX_BYTES: usize = limits::MANIFEST_BYTES;

    fn minor(&self) -> u16 {
        self.minor
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.name.len() > limits::NAME_BYTES {
            return Err("a name that is too long");
        }
        if self.module.len > limits::MODULE_BYTES as u64 {
            return Err("a module that is too large");
        }
        if matches!(self.inputs, Inputs::Packs { index, .. } if index.len > limits::INDEX_BYTES as u64) {
            return Err("an input index that is too large");
        }
        if self.stages.is_empty() || self.stages.len() > limits::STAGES {
            return Err("no stages, or too many");
        }
        if self.replicas == 0 || usize::from(self.replicas) > limits::REPLICAS {
            return Err("a number of replicas that cannot be");
        }
        if self.stages.last().is_none_or(|last| last.sink != Sink::Collect) {
            return Err("a last stage that does not give a result");
        }
        if self.minor < self.least_minor() {
            return Err("a minor version whose peers do not know what it asks for");
        }
        let mut documents = None;
        for (i, stage) in self.stages.iter().enumerate() {
            stage.check()?;
            let signature = stage.operator.signature();
            if stage.sources().any(|source| source.reads() != signature.reads) {
                return Err("a stage that cannot read what it names");
            }
            if !stage.further.is_empty() && signature.several_from.is_none() {
                return Err("a stage with several sources that can have one");
            }
            if stage.reads_inputs() && documents.replace(stage.tasks).is_some_and(|tasks| tasks != stage.tasks) {
                return Err("stages that cut the same inputs into different tasks");
            }
            let mut shape = None;
            for (port, from) in stage.reads().enumerate() {
                let read = self.stages[..i].get(usize::from(from)).and_then(Stage::shuffle);
                if read.is_none_or(|(_, buckets)| buckets != stage.tasks) {
                    return Err("a stage whose tasks are not the buckets of an earlier stage that it reads");
                }
                if shape.replace(read).is_some_and(|before| before != read) {
                    return Err("a stage that reads shuffles of different partitions");
                }
                if stage.reads().take(port).any(|before| before == from) {
                    return Err("a stage that reads one shuffle twice");
                }
                if stage.block != 1 {
                    return Err("a stage that claims several buckets as one block");
                }
            }
            let last = i + 1 == self.stages.len();
            if last != (stage.sink == Sink::Collect) {
                return Err("a result of another stage than the last");
            }
            if !last && self.readers_of(i as u8).next().is_none() {
                return Err("a stage whose output nobody reads");
            }
        }
        Ok(())
    }
}

impl Stage {
    fn check(&self) -> Result<(), &'static str> {
        if self.tasks == 0 || self.tasks > limits::TASKS {
            return Err("a stage without tasks, or with too many");
        }
        if self.block == 0 || self.blocks() > limits::BLOCKS {
            return Err("blocks that are too small for the number of tasks");
        }
        if self.shards == 0 || u32::from(self.shards) > self.blocks() || self.shards > limits::SHARDS {
            return Err("no shards, or more than there are blocks");
        }
        if self.further.len() > limits::FURTHER_SOURCES {
            return Err("a stage with too many sources");
        }
        if let Sink::Shuffle { partitions, buckets } = self.sink {
            let fits = partitions > 0 && partitions <= limits::PARTITIONS && buckets <= limits::BUCKETS;
            if !fits || buckets == 0 || !buckets.is_multiple_of(u32::from(partitions)) {
                return Err("partitions and buckets that do not fit each other");
            }
        }
        let task = &self.limits;
        if task.millis == 0 || task.millis > limits::TASK_MILLIS || task.memory > limits::TASK_MEMORY_BYTES {
            return Err("a task limit beyond what peers allow");
        }
        if task.output > limits::TASK_OUTPUT_BYTES {
            return Err("a task output beyond what peers allow");
        }
        Ok(())
    }
}

impl Document for Manifest {}
