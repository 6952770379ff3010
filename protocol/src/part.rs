//! The parts of a job: its stages, their tasks, shards and partitions. Each kind is counted from zero, and each has a
//! number type of its own, so that a task's number cannot be passed for a partition's.
//!
//! On the wire all of them are bare numbers. Three kinds of number are bare everywhere: counts, such as the number of tasks
//! of a stage, which are compared and divided more than passed on; blocks, which only claims and the worker's stages know,
//! where they are added, divided and cut into runs; and buckets, which occur only as the bounds of ranges.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::JobId;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($bare:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $bare);

        impl $name {
            /// The number of the element with this index in a list, which must be short enough to be numbered.
            pub fn of_index(index: usize) -> Self {
                debug_assert!(index <= <$bare>::MAX as usize);
                Self(index as $bare)
            }

            /// As an index into a list.
            pub fn index(self) -> usize {
                self.0 as usize
            }

            /// All numbers below `count`, ascending.
            pub fn below(count: $bare) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
                (0..count).map(Self)
            }

            /// The elements of a list, each with its number.
            pub fn enumerate<I: IntoIterator>(list: I) -> impl Iterator<Item = (Self, I::Item)> {
                list.into_iter().enumerate().map(|(index, element)| (Self::of_index(index), element))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// A stage of a job: its index in the manifest.
    StageId(u8);
    /// A task of a stage.
    TaskId(u32);
    /// A partition of what a stage writes to a shuffle.
    PartitionId(u16);
    /// A shard of a stage's task space.
    ShardId(u16);
    /// A generation of what a stage wrote: the number of the last revocation that affected it, 0 before the first. Like
    /// the numbers of epochs, generations may skip values.
    Generation(u32);
}

impl Generation {
    /// The generation of whatever was never revoked.
    pub const FIRST: Self = Self(0);
}

/// A stage of one of many jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StageRef {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
}

/// A task of one of many jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskRef {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The task.
    pub task: TaskId,
}

/// A partition of one of many jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionRef {
    /// The job.
    pub job: JobId,
    /// The stage that writes it.
    pub stage: StageId,
    /// The partition.
    pub partition: PartitionId,
}

/// A shard of one of many jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardRef {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The shard.
    pub shard: ShardId,
}

impl StageRef {
    /// A task of this stage.
    pub fn task(self, task: TaskId) -> TaskRef {
        let Self { job, stage } = self;
        TaskRef { job, stage, task }
    }

    /// A partition of what this stage writes.
    pub fn partition(self, partition: PartitionId) -> PartitionRef {
        let Self { job, stage } = self;
        PartitionRef { job, stage, partition }
    }

    /// A shard of this stage.
    pub fn shard(self, shard: ShardId) -> ShardRef {
        let Self { job, stage } = self;
        ShardRef { job, stage, shard }
    }
}

impl PartitionRef {
    /// The stage that writes it.
    pub fn stage_ref(self) -> StageRef {
        StageRef { job: self.job, stage: self.stage }
    }
}

impl ShardRef {
    /// Its stage.
    pub fn stage_ref(self) -> StageRef {
        StageRef { job: self.job, stage: self.stage }
    }
}

/// How a shuffle is divided: into partitions, slices of the key space that have one owner each, and those into buckets,
/// the smallest slices that a task can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffleShape {
    /// The number of partitions.
    pub partitions: u16,
    /// The number of all buckets, a multiple of `partitions`. Bucket *b* lies in partition
    /// `b / buckets_per_partition()`.
    pub buckets: u32,
}

impl ShuffleShape {
    /// The number of buckets of each partition; 0 if there is no partition, which no checked manifest has.
    pub fn buckets_per_partition(self) -> u32 {
        self.buckets.checked_div(u32::from(self.partitions)).unwrap_or(0)
    }
}
