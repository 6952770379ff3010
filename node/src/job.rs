//! From what a person asks for to a manifest.

use std::time::Duration;

use webmesh_protocol::PeerKey;
use webmesh_protocol::limits;
use webmesh_protocol::manifest::{
    Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify,
};

/// What a reduce task should read, in bytes: some tens of milliseconds of work.
const REDUCE_BYTES: u64 = 2 << 20;
/// A reduce task should read at most this part of the memory that it may take. Short records without a combiner take
/// some ten times their bytes: what was read, a table of the keys, the values in order, the results.
const REDUCE_PART_OF_MEMORY: u64 = 64;
/// Buckets unless the input asks for more. Were they all of [`REDUCE_BYTES`], 2 GiB would be written, however little is
/// read; with the usual memory of a task, 32 GiB are. A bucket in which nothing lies costs each map task a few
/// nanoseconds.
const LEAST_BUCKETS: u64 = 1024;
/// Input for one bucket beyond those.
const BYTES_PER_BUCKET: u64 = 1 << 20;
/// Buckets for each partition that the user asks for, so that more partitions always mean smaller buckets.
const BUCKETS_PER_PARTITION: u64 = 64;
/// Input for one partition. Beyond [`MOST_PARTITIONS`] of them, partitions grow.
const BYTES_PER_PARTITION: u64 = 8 << 20;
/// Partitions unless the user says otherwise: so many that those of a gigabyte can each be sorted by task in one go
/// (`store::shelf`), within the memory that an embedded mesh has for them.
const MOST_PARTITIONS: u64 = 64;
/// Tasks without input for one partition. What they write is not known, and grows with their number; each partition
/// costs a reduce task.
const NUMBERS_PER_PARTITION: u64 = 128;
/// Partitions of jobs without input, most of which write little.
const MOST_PARTITIONS_OF_NUMBERS: u64 = 32;
/// Workers that share a shard: few enough that each may speak every two or three seconds within the budget of
/// rule 6.
const WORKERS_PER_SHARD: u32 = 20;
/// Blocks of a stage aim below this, well within [`limits::BLOCKS`]; small jobs have one task a block.
const MOST_BLOCKS: u32 = 1 << 16;

/// What the user may choose about a job.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// What it is called.
    pub name: String,
    /// Partitions of the shuffle, each read by one reduce task at least; `None` to choose by the size of the input.
    pub partitions: Option<u16>,
    /// Copies of each partition, the owner's included.
    pub replicas: u8,
    /// Wall time of one task.
    pub task_timeout: Duration,
    /// Memory of one task in bytes.
    pub task_memory: u64,
    /// How often a task is tried again.
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

/// What is known of a job when its manifest is written.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// The module.
    pub module: BlobRef,
    /// The inputs.
    pub inputs: Inputs,
    /// Map tasks.
    pub tasks: u32,
    /// Workers that are known, to cut the task space for.
    pub workers: u32,
    /// Makes this submission one of its own.
    pub nonce: u64,
}

/// The manifest of a map and a reduce.
pub fn map_reduce(options: &JobOptions, facts: JobFacts) -> Manifest {
    let (partitions, buckets) = shuffle_size(&facts.inputs, facts.tasks, options.partitions);
    let limits = TaskLimits {
        millis: u32::try_from(options.task_timeout.as_millis()).unwrap_or(u32::MAX).min(limits::TASK_MILLIS),
        memory: options.task_memory,
        output: limits::TASK_OUTPUT_BYTES,
        retries: options.retries,
    };
    let map = Stage {
        operator: Operator::Map,
        source: Source::Inputs,
        sink: Sink::Shuffle { partitions, buckets },
        tasks: facts.tasks,
        task_bytes: 0,
        shards: 1,
        block: facts.tasks.div_ceil(MOST_BLOCKS).next_power_of_two(),
        limits,
    };
    let reduce = Stage {
        operator: Operator::Reduce,
        source: Source::Shuffle { stage: 0 },
        sink: Sink::Collect,
        tasks: buckets,
        task_bytes: REDUCE_BYTES.min(options.task_memory / REDUCE_PART_OF_MEMORY),
        shards: 1,
        block: 1,
        limits,
    };
    Manifest {
        // The engine enters whose key it signs with, and where it lives.
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

/// Partitions and buckets. How many reduce tasks share the buckets out is settled by what is written to them.
fn shuffle_size(inputs: &Inputs, tasks: u32, asked: Option<u16>) -> (u16, u32) {
    let (partitions, bytes) = match inputs {
        Inputs::Packs { bytes, .. } => ((bytes / BYTES_PER_PARTITION).min(MOST_PARTITIONS), *bytes),
        Inputs::Numbers => ((u64::from(tasks) / NUMBERS_PER_PARTITION).min(MOST_PARTITIONS_OF_NUMBERS), 0),
    };
    let chosen = partitions.max(1).next_power_of_two() as u16;
    let partitions = asked.unwrap_or(chosen).clamp(1, limits::PARTITIONS);
    let least = LEAST_BUCKETS.max(asked.map_or(0, |asked| u64::from(asked) * BUCKETS_PER_PARTITION));
    let buckets = (bytes / BYTES_PER_BUCKET).max(least).min(u64::from(limits::BUCKETS / 2)) as u32;
    (partitions, buckets.next_multiple_of(u32::from(partitions)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use webmesh_protocol::Hash;
    use webmesh_protocol::codec::Wire;

    proptest! {
        #[test]
        fn any_job_gets_a_manifest_that_peers_take(
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
