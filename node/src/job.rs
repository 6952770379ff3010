//! From what a person asks for to a manifest.

use std::time::Duration;

use webmesh_protocol::PeerKey;
use webmesh_protocol::limits;
use webmesh_protocol::manifest::{
    Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify,
};

/// Input for one bucket: a reduce task of some tens of milliseconds, small beside any memory cap even where
/// nothing is combined.
const BYTES_PER_BUCKET: u64 = 4 << 20;
/// Input for one partition. Beyond [`MOST_PARTITIONS`] of them, partitions grow.
const BYTES_PER_PARTITION: u64 = 8 << 20;
/// Partitions unless the user says otherwise: so many that those of a gigabyte can each be sorted into buckets in one go
/// (`store::shelf`), within the memory that an embedded mesh has for them.
const MOST_PARTITIONS: u64 = 64;
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
    /// Partitions of the shuffle; `None` to choose by the size of the input.
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
        shards: 1,
        block: facts.tasks.div_ceil(MOST_BLOCKS).next_power_of_two(),
        limits,
    };
    let reduce = Stage {
        operator: Operator::Reduce,
        source: Source::Shuffle { stage: 0 },
        sink: Sink::Collect,
        tasks: buckets,
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
        priority: 0,
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

fn shuffle_size(inputs: &Inputs, tasks: u32, partitions: Option<u16>) -> (u16, u32) {
    let bytes = match inputs {
        Inputs::Packs { bytes, .. } => *bytes,
        // Numbers say nothing of what their tasks give; most give little.
        Inputs::Numbers => u64::from(tasks) * 1024,
    };
    let chosen = (bytes / BYTES_PER_PARTITION).clamp(1, MOST_PARTITIONS).next_power_of_two() as u16;
    let partitions = partitions.unwrap_or(chosen).clamp(1, limits::PARTITIONS);
    let buckets = (bytes / BYTES_PER_BUCKET).clamp(1, u64::from(limits::BUCKETS / 2)) as u32;
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
