//! Builds a manifest from the user's options.

use std::time::Duration;

use webmesh_protocol::limits;
use webmesh_protocol::manifest::{
    Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify,
};
use webmesh_protocol::{PeerKey, ShuffleShape, StageId};

/// Target input of a reduce task, in bytes: some tens of milliseconds of work.
const REDUCE_BYTES: u64 = 2 << 20;
/// A reduce task should read at most one part in this many of its memory limit. Short records without a combiner take
/// some ten times their bytes: the input, a table of the keys, the values in order, the results.
const REDUCE_PART_OF_MEMORY: u64 = 64;
/// Minimum number of buckets. If all were of [`REDUCE_BYTES`], 2 GiB would be written, however little is read; with the
/// usual memory of a task, it is 32 GiB. An empty bucket costs each map task a few nanoseconds.
const MIN_BUCKETS: u64 = 1024;
/// Bytes of input for each bucket beyond those.
const BYTES_PER_BUCKET: u64 = 1 << 20;
/// Buckets for each partition that the user asks for, so that more partitions always mean smaller buckets.
const BUCKETS_PER_PARTITION: u64 = 64;
/// Bytes of input for each partition. Beyond [`MAX_PARTITIONS`] of them, partitions grow.
const BYTES_PER_PARTITION: u64 = 8 << 20;
/// Default maximum number of partitions. With 64, each partition of a gigabyte of intermediate data fits into the memory
/// that an embedded mesh has for sorting it by task (`store::shelf`).
const MAX_PARTITIONS: u64 = 64;
/// Tasks without input for each partition. Their output is not known, and grows with their number; each partition costs
/// a reduce task.
const NUMBERS_PER_PARTITION: u64 = 128;
/// Maximum number of partitions of jobs without input, most of which write little.
const MAX_PARTITIONS_OF_NUMBERS: u64 = 32;
/// Workers that share a shard: few enough that each may send a message every two or three seconds within the budget of
/// rule 6 (docs/rules.md).
const WORKERS_PER_SHARD: u32 = 20;
/// Target maximum number of blocks of a stage, well within [`limits::BLOCKS`]; small jobs have one task for each block.
const MAX_BLOCKS: u32 = 1 << 16;

/// The user's options for a job.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// The job's name.
    pub name: String,
    /// Partitions of the shuffle, each read by at least one reduce task; `None` to choose by the size of the input.
    pub partitions: Option<u16>,
    /// Copies of each partition, the owner's included.
    pub replicas: u8,
    /// Time limit of a task (elapsed time).
    pub task_timeout: Duration,
    /// Memory limit of a task, in bytes.
    pub task_memory: u64,
    /// Retry limit of a task.
    pub retries: u8,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            partitions: None,
            replicas: 2,
            task_timeout: Duration::from_secs(30),
            task_memory: 512 << 20,
            retries: 3,
        }
    }
}

/// Facts about a job that its manifest states.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// The module.
    pub module: BlobRef,
    /// The inputs.
    pub inputs: Inputs,
    /// Number of map tasks.
    pub tasks: u32,
    /// Number of known workers, by which the task space is divided.
    pub workers: u32,
    /// Makes this submission different from any other.
    pub nonce: u64,
}

/// The manifest of a job with a map and a reduce stage.
pub fn map_reduce(options: &JobOptions, facts: JobFacts) -> Manifest {
    let shape = shuffle_shape(&facts.inputs, facts.tasks, options.partitions);
    let limits = TaskLimits {
        millis: u32::try_from(options.task_timeout.as_millis()).unwrap_or(u32::MAX).min(limits::TASK_MILLIS),
        memory: options.task_memory,
        output: limits::TASK_OUTPUT_BYTES,
        retries: options.retries,
    };
    let map = Stage {
        operator: Operator::Map,
        source: Source::Inputs,
        further: Vec::new(),
        sink: Sink::Shuffle(shape),
        tasks: facts.tasks,
        task_bytes: 0,
        shards: 1,
        block: facts.tasks.div_ceil(MAX_BLOCKS).next_power_of_two(),
        limits,
    };
    let reduce = Stage {
        operator: Operator::Reduce,
        source: Source::Shuffle { stage: StageId(0) },
        further: Vec::new(),
        sink: Sink::Collect,
        tasks: shape.buckets,
        task_bytes: REDUCE_BYTES.min(options.task_memory / REDUCE_PART_OF_MEMORY),
        shards: 1,
        block: 1,
        limits,
    };
    Manifest {
        // The engine enters the owner's key and the home.
        owner: PeerKey([0; 32]),
        home: PeerKey([0; 32]),
        nonce: facts.nonce,
        name: options.name.clone(),
        minor: 0,
        module: facts.module,
        inputs: facts.inputs,
        stages: [map, reduce].map(|stage| sharded(stage, facts.workers)).to_vec(),
        authority: Authority::Owner,
        verify: Verify::Off,
        replicas: options.replicas,
    }
}

fn sharded(mut stage: Stage, workers: u32) -> Stage {
    let most = u32::from(limits::SHARDS).min(stage.blocks());
    stage.shards = workers.div_ceil(WORKERS_PER_SHARD).clamp(1, most) as u16;
    stage
}

/// The shape of the shuffle. How many buckets a reduce task reads is decided later, by how much is
/// written.
fn shuffle_shape(inputs: &Inputs, tasks: u32, asked: Option<u16>) -> ShuffleShape {
    let (partitions, bytes) = match inputs {
        Inputs::Packs { bytes, .. } => ((bytes / BYTES_PER_PARTITION).min(MAX_PARTITIONS), *bytes),
        Inputs::Numbers => ((u64::from(tasks) / NUMBERS_PER_PARTITION).min(MAX_PARTITIONS_OF_NUMBERS), 0),
    };
    let chosen = partitions.max(1).next_power_of_two() as u16;
    let partitions = asked.unwrap_or(chosen).clamp(1, limits::PARTITIONS);
    let least = MIN_BUCKETS.max(asked.map_or(0, |asked| u64::from(asked) * BUCKETS_PER_PARTITION));
    let buckets = (bytes / BYTES_PER_BUCKET).max(least).min(u64::from(limits::BUCKETS / 2)) as u32;
    ShuffleShape { partitions, buckets: buckets.next_multiple_of(u32::from(partitions)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use webmesh_protocol::Hash;
    use webmesh_protocol::codec::Wire;

    proptest! {
        #[test]
        fn every_job_gets_a_valid_manifest(
            tasks in 1..=limits::TASKS, bytes in 0u64..1 << 42, workers in 0u32..100_000,
            partitions in prop::option::of(1..=limits::PARTITIONS), replicas in 1u8..=5,
        ) {
            let blob = BlobRef { hash: Hash::of(b""), len: 0 };
            let inputs = Inputs::Packs { index: blob, documents: 1, bytes };
            let options = JobOptions { partitions, replicas, ..JobOptions::default() };
            let manifest = map_reduce(&options, JobFacts { module: blob, inputs, tasks, workers, nonce: 0 });
            prop_assert_eq!(manifest.check(), Ok(()));
        }
    }
}
