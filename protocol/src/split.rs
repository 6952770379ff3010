//! How the buckets of a shuffle are shared out among the tasks that read it.
//!
//! What a map emits can be a thousandth of what it read, or a thousand times as much, and nobody knows before it has
//! run. So the manifest sorts keys into many more buckets than most jobs need, and says how many bytes one task should
//! read. Once every task that writes is accepted, the authority knows how much was written and settles the rest with
//! one number: how many neighbouring buckets of a partition make one task.

use serde::{Deserialize, Serialize};

use crate::part::{PartitionId, ShuffleShape, TaskId};

/// The settled division of a shuffle's buckets into tasks.
///
/// Tasks are numbered partition by partition; within a partition each reads the next `width` buckets, the last one what
/// is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    partitions: u16,
    /// Buckets of each partition.
    buckets: u32,
    /// Buckets that a task reads.
    width: u32,
}

/// What one task reads: buckets `run * width..(run + 1) * width` of a partition, as far as they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The partition.
    pub partition: PartitionId,
    /// The index of the run within its partition.
    pub run: u32,
    /// Buckets in each run.
    pub width: u32,
}

impl Split {
    /// The division of a shuffle in which a task reads about `per_task` bytes, or one bucket if that holds more.
    /// `shape` comes from a checked manifest; `written` is the number of bytes written to the shuffle.
    pub fn by_size(shape: ShuffleShape, written: u64, per_task: u64) -> Self {
        let (partitions, each) = (shape.partitions, shape.buckets_per_partition());
        // Keys are assigned to partitions by hash, so partitions have about the same size.
        let of_partition = written / u64::from(partitions);
        let tasks = of_partition.div_ceil(per_task.max(1)).clamp(1, u64::from(each.max(1))) as u32;
        Self { partitions, buckets: each, width: each.div_ceil(tasks).max(1) }
    }

    /// The division in which each task reads `width` buckets; `None` if a partition does not have that many.
    pub fn of_width(shape: ShuffleShape, width: u32) -> Option<Self> {
        let each = shape.buckets_per_partition();
        (1..=each).contains(&width).then_some(Self { partitions: shape.partitions, buckets: each, width })
    }

    /// How many neighbouring buckets a task reads.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// How many tasks read each partition.
    fn per_partition(&self) -> u32 {
        self.buckets.div_ceil(self.width)
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> u32 {
        self.per_partition() * u32::from(self.partitions)
    }

    /// What a task reads; `None` for a task that does not exist.
    pub fn place(&self, task: TaskId) -> Option<Place> {
        let partition = u16::try_from(task.0 / self.per_partition()).ok().filter(|p| *p < self.partitions)?;
        Some(Place { partition: PartitionId(partition), run: task.0 % self.per_partition(), width: self.width })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_bucket_is_read_by_exactly_one_task(
            partitions in 1u16..40, each in 1u32..200, written in 0u64..1 << 20, per_task in 0u64..1 << 12,
        ) {
            let shape = ShuffleShape { partitions, buckets: u32::from(partitions) * each };
            let split = Split::by_size(shape, written, per_task);
            let mut read = vec![0; usize::from(partitions) * each as usize];
            for task in TaskId::below(split.tasks()) {
                let place = split.place(task).unwrap();
                let first = place.run * place.width;
                prop_assert!(first < each, "task {task} reads nothing");
                for bucket in first..(first + place.width).min(each) {
                    read[place.partition.index() * each as usize + bucket as usize] += 1;
                }
            }
            prop_assert!(read.iter().all(|&times| times == 1), "{read:?}");
            prop_assert_eq!(split.place(TaskId(split.tasks())), None);
            prop_assert_eq!(Split::of_width(shape, split.width()), Some(split));
        }

        #[test]
        fn tasks_keep_to_the_wanted_size_if_keys_are_spread_evenly(
            per_bucket in 1u64..5_000, each in 1u32..200, per_task in 5_000u64..1 << 20,
        ) {
            let written = per_bucket * u64::from(each) * 4;
            let split = Split::by_size(ShuffleShape { partitions: 4, buckets: each * 4 }, written, per_task);
            prop_assert!(u64::from(split.width()) * per_bucket <= per_task + per_bucket);
        }
    }

    const SHAPE: ShuffleShape = ShuffleShape { partitions: 4, buckets: 400 };

    #[test]
    fn little_output_makes_one_task_per_partition_and_much_output_one_per_bucket() {
        assert_eq!(Split::by_size(SHAPE, 0, 1 << 20).tasks(), 4);
        assert_eq!(Split::by_size(SHAPE, 1 << 60, 1 << 20).tasks(), 400);
    }

    #[test]
    fn a_width_of_no_bucket_or_more_than_a_partition_has_is_refused() {
        assert_eq!(Split::of_width(SHAPE, 0), None);
        assert_eq!(Split::of_width(SHAPE, 101), None);
    }
}
