//! The manifest: everything about a job that is settled before it starts, signed by its owner.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::{Wire, at_most};
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::part::{ShardId, ShuffleShape, StageId, TaskId, TaskRef};
use crate::ranges::Run;
use crate::sign::{Document, Signed};
use crate::split::Split;
use crate::version;

/// A blob, named by its hash.
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
    /// The owner: the key that signs the manifest, its epochs and its end.
    pub owner: PeerKey,
    /// The peer at which the authority can be reached. One owner may submit from many peers.
    pub home: PeerKey,
    /// Makes two submissions of the same job two jobs.
    pub nonce: u64,
    /// The name shown to people.
    pub name: String,
    /// The lowest minor version of the protocol that can run the job ([`crate::version`]).
    #[serde(default)]
    pub minor: u16,
    /// The WebAssembly module.
    pub module: BlobRef,
    /// The input of the first stage.
    pub inputs: Inputs,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// The authority.
    pub authority: Authority,
    /// How results of untrusted workers are verified.
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

/// The authority: the keys that sign a job's epochs, acceptances and end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authority {
    /// The owner's key, while the submitter runs: an attached job.
    Owner,
    /// A majority of these peers: a detached job.
    Stewards(Vec<PeerKey>),
}

/// How results are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verify {
    /// The first result is accepted.
    Off,
    /// Results of workers without a record are checked, those of others occasionally.
    Adaptive,
    /// This many equal results are required.
    Quorum(u8),
}

/// One stage: the same operator over many tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The operator.
    pub operator: Operator,
    /// The source of its tasks' inputs.
    pub source: Source,
    /// Further sources of its tasks, in the order of its ports: shuffles with the same partitions and buckets as the
    /// first one, of which each task reads the same buckets. A job with such a stage needs
    /// [`version::SEVERAL_SOURCES`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<{ limits::FURTHER_SOURCES }, _, _>"
    )]
    pub further: Vec<Source>,
    /// The destination of its tasks' outputs.
    pub sink: Sink,
    /// The number of its tasks. A stage that reads a shuffle has one task per bucket. If it gives the result, that is
    /// the maximum: the number is settled once all its input is written ([`crate::split`]).
    pub tasks: u32,
    /// How many bytes of a shuffle one task should read: that decides how many buckets make a task.
    pub task_bytes: u64,
    /// The number of shards of its task space, each with its own claim topic.
    pub shards: u16,
    /// Tasks per block, the unit in which claims are made and settled.
    pub block: u32,
    /// The limits of one task.
    pub limits: TaskLimits,
}

/// The operation of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The guest's `map`, a document at a time.
    Map,
    /// The guest's `reduce`, a key with all its values at a time.
    Reduce,
}

/// What an operator reads and what it can write. This table is the only place that says so: the manifest's check, the
/// engine, executors and the simulator all follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What a task reads of each source.
    pub reads: Reads,
    /// The first version of the guest interface in which it can have several sources; `None` if it cannot.
    pub several_from: Option<u8>,
    /// The first version of the guest interface in which its output can go to a shuffle.
    pub shuffles_from: u8,
    /// The first version of the guest interface in which its output can be the job's result.
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
    /// What the operator reads and what it can write.
    pub fn signature(self) -> Signature {
        match self {
            Self::Map => Signature { reads: Reads::Documents, several_from: None, shuffles_from: 1, collects_from: 2 },
            Self::Reduce => {
                Signature { reads: Reads::Bucket, several_from: Some(2), shuffles_from: 2, collects_from: 1 }
            }
        }
    }

    /// Why a guest of this version of the interface cannot read this many sources and write its output to this sink;
    /// `None` if it can.
    pub fn unsupported(self, sources: usize, sink: Sink, interface: u8) -> Option<&'static str> {
        let signature = self.signature();
        if sources > 1 && signature.several_from.is_none_or(|from| from > interface) {
            return Some(
                "a stage that reads several shuffles, which this version's guests cannot do: \
                 let one map write all that it reads",
            );
        }
        let from = match sink {
            Sink::Shuffle(_) => signature.shuffles_from,
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

/// The source of a stage's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The job's inputs.
    Inputs,
    /// Buckets of an earlier stage's shuffle: each task reads neighbouring ones of one partition.
    Shuffle {
        /// The index of that stage.
        stage: StageId,
    },
}

/// The destination of a stage's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sink {
    /// Shufflers, by key.
    Shuffle(ShuffleShape),
    /// The authority: the job's result.
    Collect,
}

impl Sink {
    /// The shape of the shuffle; `None` if this is not one.
    pub fn shuffle(self) -> Option<ShuffleShape> {
        match self {
            Self::Shuffle(shape) => Some(shape),
            Self::Collect => None,
        }
    }
}

/// The limits of one task; it is ended when it exceeds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLimits {
    /// Wall time in milliseconds.
    pub millis: u32,
    /// Linear memory in bytes.
    pub memory: u64,
    /// Output in bytes.
    pub output: u64,
    /// Number of further attempts after its first failure.
    pub retries: u8,
}

impl TaskLimits {
    /// The wall time limit.
    pub fn time(&self) -> Duration {
        Duration::from_millis(u64::from(self.millis))
    }
}

impl Stage {
    /// The sources of its tasks, in the order of its ports.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        std::iter::once(self.source).chain(self.further.iter().copied())
    }

    /// The stages whose shuffles its tasks read, in the order of its ports; none for a stage that reads documents.
    pub fn reads(&self) -> impl Iterator<Item = StageId> + '_ {
        self.sources().filter_map(|source| match source {
            Source::Shuffle { stage } => Some(stage),
            Source::Inputs => None,
        })
    }

    /// Whether its tasks read documents.
    pub fn reads_inputs(&self) -> bool {
        self.source == Source::Inputs
    }

    /// The shape of its shuffle; `None` if it has none.
    pub fn shuffle(&self) -> Option<ShuffleShape> {
        self.sink.shuffle()
    }

    /// The number of blocks.
    pub fn blocks(&self) -> u32 {
        self.tasks.div_ceil(self.block.max(1))
    }

    /// The blocks of shard `shard`; empty, past the last block, if there is no such shard.
    pub fn shard_blocks(&self, shard: ShardId) -> std::ops::Range<u32> {
        let (blocks, shards) = (u64::from(self.blocks()), u64::from(self.shards.max(1)));
        let at = |s: u64| (blocks * s.min(shards) / shards) as u32;
        at(u64::from(shard.0))..at(u64::from(shard.0) + 1)
    }

    /// The tasks of consecutive blocks.
    pub fn tasks_of_blocks(&self, blocks: std::ops::Range<u32>) -> Run<TaskId> {
        let at = |b: u32| TaskId(b.saturating_mul(self.block).min(self.tasks));
        Run::between(at(blocks.start), at(blocks.end))
    }

    /// The tasks of a block.
    pub fn tasks_of_block(&self, block: u32) -> Run<TaskId> {
        self.tasks_of_blocks(block..block + 1)
    }

    /// The block of a task.
    pub fn block_of(&self, task: TaskId) -> u32 {
        task.0 / self.block
    }

    /// This stage with its final number of tasks and shards, once its input is written.
    pub fn settled(&self, split: &Split) -> Stage {
        let mut settled = Stage { tasks: split.tasks(), ..self.clone() };
        settled.shards = self.shards.min(u16::try_from(settled.blocks()).unwrap_or(u16::MAX));
        settled
    }

    /// The shard in which a block lies; the last one for blocks that do not exist.
    pub fn shard_of_block(&self, block: u32) -> ShardId {
        let (blocks, shards) = (u64::from(self.blocks().max(1)), u64::from(self.shards.max(1)));
        // The inverse of `shard_blocks`: the greatest s with blocks * s / shards <= block.
        ShardId((((u64::from(block) + 1) * shards - 1) / blocks).min(shards - 1) as u16)
    }
}

impl Manifest {
    /// Why a peer whose tasks use this version of the guest interface cannot run the job; `None` if it can. Such a job
    /// is refused, not run in part.
    pub fn unsupported(&self, interface: u8) -> Option<&'static str> {
        match (&self.authority, self.verify) {
            (Authority::Stewards(_), _) => {
                return Some("an authority of stewards, which this version does not support");
            }
            (_, Verify::Adaptive | Verify::Quorum(_)) => {
                return Some("verification of results, which this version does not support");
            }
            (Authority::Owner, Verify::Off) => {}
        }
        let beyond = |stage: &Stage| stage.operator.unsupported(stage.sources().count(), stage.sink, interface);
        self.stages.iter().find_map(beyond)
    }

    /// The lowest minor version of the protocol whose peers can run it.
    pub fn least_minor(&self) -> u16 {
        let several = self.stages.iter().any(|stage| !stage.further.is_empty());
        if several { version::SEVERAL_SOURCES } else { 0 }
    }

    /// The id of the job that this signed manifest describes.
    pub fn id_of(signed: &Signed<Manifest>) -> JobId {
        JobId(signed.hash().0)
    }

    /// Stage `stage`; `None` if the job does not have it.
    pub fn stage(&self, stage: StageId) -> Option<&Stage> {
        self.stages.get(stage.index())
    }

    /// The stages with their numbers.
    pub fn numbered_stages(&self) -> impl Iterator<Item = (StageId, &Stage)> + '_ {
        StageId::enumerate(&self.stages)
    }

    /// The numbers of the stages.
    pub fn stage_ids(&self) -> impl Iterator<Item = StageId> + use<> {
        StageId::below(self.stages.len() as u8)
    }

    /// The stages that read the shuffle of stage `stage`, in ascending order.
    pub fn readers_of(&self, stage: StageId) -> impl Iterator<Item = StageId> + '_ {
        let readers = self.numbered_stages().filter(move |(_, described)| described.reads().any(|read| read == stage));
        readers.map(|(number, _)| number)
    }

    /// The stage that gives the job's result, if it is the only reader of stage `stage` and of its other sources. Its
    /// number of tasks depends on the size of its input; other stages read bucket by bucket, since their own output is
    /// stored by task.
    pub fn flexible_reader_of(&self, stage: StageId) -> Option<StageId> {
        let reader = self.readers_of(stage).next()?;
        let described = &self.stages[reader.index()];
        let alone = |source: StageId| self.readers_of(source).eq([reader]);
        (described.sink == Sink::Collect && described.reads().all(alone)).then_some(reader)
    }

    /// How tasks divide the output of stage `stage`, if that is known from the start.
    pub fn fixed_split_of(&self, stage: StageId) -> Option<Split> {
        let shape = self.stage(stage)?.shuffle()?;
        if self.flexible_reader_of(stage).is_some() { None } else { Split::of_width(shape, 1) }
    }

    /// How tasks divide the output of stage `stage` if `width` buckets make one task.
    pub fn split_of(&self, stage: StageId, width: u32) -> Option<Split> {
        Split::of_width(self.stage(stage)?.shuffle()?, width)
    }

    /// The seed of a task's randomness: the same in every attempt and on every peer.
    pub fn task_seed(task: TaskRef) -> [u8; 32] {
        let TaskRef { job, stage, task } = task;
        Hash::of_parts("webmesh 1 task seed", &[&job.0, &[stage.0], &task.0.to_le_bytes()]).0
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
            return Err("replicas must be 1 to 5");
        }
        if self.stages.last().is_none_or(|last| last.sink != Sink::Collect) {
            return Err("the last stage must give the job's result");
        }
        if self.minor < self.least_minor() {
            return Err("a minor version that does not support what the job needs");
        }
        let mut documents = None;
        for (i, stage) in self.stages.iter().enumerate() {
            stage.check()?;
            let signature = stage.operator.signature();
            if stage.sources().any(|source| source.reads() != signature.reads) {
                return Err("a source that the stage's operator cannot read");
            }
            if !stage.further.is_empty() && signature.several_from.is_none() {
                return Err("several sources for an operator that can have only one");
            }
            if stage.reads_inputs() && documents.replace(stage.tasks).is_some_and(|tasks| tasks != stage.tasks) {
                return Err("stages that divide the same inputs into different numbers of tasks");
            }
            let mut shape = None;
            for (port, from) in stage.reads().enumerate() {
                let read = self.stages[..i].get(from.index()).and_then(Stage::shuffle);
                if read.is_none_or(|shape| shape.buckets != stage.tasks) {
                    return Err("a stage whose tasks are not the buckets of an earlier stage that it reads");
                }
                if shape.replace(read).is_some_and(|before| before != read) {
                    return Err("a stage that reads shuffles of different partitions");
                }
                if stage.reads().take(port).any(|before| before == from) {
                    return Err("a stage that reads one shuffle twice");
                }
                if stage.block != 1 {
                    return Err("a stage that reads a shuffle and has blocks of several tasks");
                }
            }
            let last = i + 1 == self.stages.len();
            if last != (stage.sink == Sink::Collect) {
                return Err("a result from a stage other than the last");
            }
            if !last && self.readers_of(StageId::of_index(i)).next().is_none() {
                return Err("a stage whose output no stage reads");
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
            return Err("no shards, more than blocks, or too many");
        }
        if self.further.len() > limits::FURTHER_SOURCES {
            return Err("a stage with too many sources");
        }
        if let Sink::Shuffle(ShuffleShape { partitions, buckets }) = self.sink {
            let fits = partitions > 0 && partitions <= limits::PARTITIONS && buckets <= limits::BUCKETS;
            if !fits || buckets == 0 || !buckets.is_multiple_of(u32::from(partitions)) {
                return Err("no partitions or buckets, too many, or buckets that are not a multiple of the partitions");
            }
        }
        let task = &self.limits;
        if task.millis == 0 || task.millis > limits::TASK_MILLIS || task.memory > limits::TASK_MEMORY_BYTES {
            return Err("a time limit of zero, or a task limit beyond what peers allow");
        }
        if task.output > limits::TASK_OUTPUT_BYTES {
            return Err("an output limit beyond what peers allow");
        }
        Ok(())
    }
}

impl Document for Manifest {}
