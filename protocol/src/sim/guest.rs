//! The guest that simulated peers run, and its expected output.
//!
//! A map task emits some keys drawn from its number, each with that number as its value. A reduce outputs for each key
//! the number of its values, their sum, and a hash over them and the ports at which they were read, in order: a task
//! that is missing, counted twice, out of order or read at another port changes the result. A reduce that feeds a
//! shuffle emits another key for each of its own, with a value that depends on all of that.
//!
//! Attempts that are not repeatable carry a mark, which differs from attempt to attempt and goes into every bucket. It
//! affects only the last bytes of a result. These must be equal in all results of a job; otherwise some were computed
//! from one attempt and others from another.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::rng::draw;
use super::scenario::Node;
use crate::part::{ShuffleShape, StageId, TaskId};
use crate::segment::Attempt;
use crate::split::Split;

/// Keys that a map task emits.
const EMITS: u64 = 3;
/// Bytes of one record: key and value.
const RECORD: usize = 8;
/// Bytes at the end of a result that identify the attempts from which it was computed.
const MARKS: usize = 8;
/// Number of keys: few enough that most come from several tasks, enough that few buckets stay empty.
const KEYS: u64 = 5_000;
/// The key of marks.
const MARK: u32 = u32::MAX;

/// A key with a value.
type Pair = (u32, u32);

/// The output of a task: its pairs, and the mark that it passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pairs: Vec<Pair>,
    mark: Option<u32>,
}

fn bucket_of(key: u32, buckets: u32) -> u32 {
    (draw(&[4, u64::from(key)]) % u64::from(buckets)) as u32
}

fn mapped(stage: StageId, task: TaskId) -> Vec<Pair> {
    let key = |i| (draw(&[3, u64::from(stage.0), u64::from(task.0), i]) % KEYS) as u32;
    (0..EMITS).map(|i| (key(i), task.0)).collect()
}

/// Runs a map task.
pub(super) fn map(stage: StageId, task: TaskId, mark: Option<u32>) -> Given {
    Given { pairs: mapped(stage, task), mark }
}

impl Given {
    /// The output as segments for shufflers.
    pub(super) fn shuffled(&self, shape: ShuffleShape) -> Attempt {
        let ShuffleShape { partitions, buckets } = shape;
        let of = |&(key, value): &Pair| (bucket_of(key, buckets), key, value);
        let mut records: Vec<(u32, u32, u32)> = self.pairs.iter().map(of).collect();
        records.extend(self.mark.into_iter().flat_map(|mark| (0..buckets).map(move |bucket| (bucket, MARK, mark))));
        records.sort_by_key(|&(bucket, _, _)| bucket);
        let mut data = Vec::with_capacity(records.len() * RECORD);
        let mut offsets = vec![0u32; buckets as usize + 1];
        for &(bucket, key, value) in &records {
            data.extend_from_slice(&key.to_le_bytes());
            data.extend_from_slice(&value.to_le_bytes());
            offsets[bucket as usize + 1] += RECORD as u32;
        }
        for i in 1..offsets.len() {
            offsets[i] += offsets[i - 1];
        }
        Attempt::cut(&data, &offsets, partitions).expect("buckets are a multiple of partitions in every manifest")
    }

    /// The output as a result of the job. A map's mark is left out: nothing is computed from it.
    pub(super) fn collected(&self) -> Bytes {
        let pairs = self.pairs.iter().flat_map(|(key, value)| [key.to_le_bytes(), value.to_le_bytes()].concat());
        pairs.chain([0; MARKS]).collect::<Vec<u8>>().into()
    }
}

/// The values of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    count: u32,
    sum: u64,
    order: u64,
}

/// The values of all keys in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    keys: BTreeMap<u32, Total>,
    /// A hash over the marks in order; 0 if there are none.
    marks: u64,
    /// The last mark; an attempt writes the same one into every bucket.
    last_mark: Option<u32>,
}

impl Totals {
    fn add(&mut self, port: usize, (key, value): Pair) {
        if key == MARK {
            if self.last_mark.replace(value) != Some(value) {
                self.marks = draw(&[self.marks, u64::from(value)]);
            }
            return;
        }
        let total = self.keys.entry(key).or_default();
        total.count += 1;
        total.sum += u64::from(value);
        total.order = draw(&[total.order, port as u64, u64::from(value)]);
    }

    /// The input of the next shuffle.
    pub(super) fn given(&self) -> Given {
        let next = |(&key, total): (&u32, &Total)| {
            let value = draw(&[u64::from(total.count), total.sum, total.order]);
            ((draw(&[8, u64::from(key)]) % KEYS) as u32, value as u32)
        };
        let mark = (self.marks != 0).then_some(self.marks as u32);
        Given { pairs: self.keys.iter().map(next).collect(), mark }
    }

    /// The output as a result of the job.
    pub(super) fn collected(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.keys.len() * 24 + MARKS);
        for (key, total) in &self.keys {
            out.extend_from_slice(&key.to_le_bytes());
            out.extend_from_slice(&total.count.to_le_bytes());
            out.extend_from_slice(&total.sum.to_le_bytes());
            out.extend_from_slice(&total.order.to_le_bytes());
        }
        out.extend_from_slice(&self.marks.to_le_bytes());
        out.into()
    }
}

/// Reduces the records of one bucket, of each port one after another.
pub(super) fn reduce(ports: &[&[Bytes]]) -> Totals {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("half a record"));
    let mut totals = Totals::default();
    for (port, records) in ports.iter().enumerate() {
        for record in records.iter().flat_map(|r| r.chunks_exact(RECORD)) {
            totals.add(port, (number(&record[..4]), number(&record[4..])));
        }
    }
    totals
}

/// The expected results of a graph, except for marks, computed without shuffles or a mesh. `inputs` is the number of
/// tasks of stages that read the job's inputs; `split` is how the last stage divides what it reads.
pub(super) fn expected(graph: &[Node], inputs: u32, split: Option<Split>) -> Vec<Bytes> {
    // The pairs that each task of each stage emits.
    let mut emitted: Vec<Vec<Vec<Pair>>> = Vec::new();
    for (stage, node) in StageId::enumerate(graph) {
        let Some(&first) = node.reads.first() else {
            emitted.push(TaskId::below(inputs).map(|task| mapped(stage, task)).collect());
            continue;
        };
        let shape = graph[first.index()].shuffle.expect("only shuffles are read");
        let mut totals = vec![Totals::default(); shape.buckets as usize];
        for (port, &read) in node.reads.iter().enumerate() {
            for &pair in emitted[read.index()].iter().flatten() {
                totals[bucket_of(pair.0, shape.buckets) as usize].add(port, pair);
            }
        }
        if node.shuffle.is_none() {
            let split = split.expect("a job whose last stage reduces settles how");
            return divided(&totals, shape, split);
        }
        emitted.push(totals.iter().map(|totals| totals.given().pairs).collect());
    }
    let last = emitted.pop().unwrap_or_default();
    last.into_iter().map(|pairs| without_marks(&Given { pairs, mark: None }.collected())).collect()
}

/// The results of tasks that each read neighbouring buckets.
fn divided(of_bucket: &[Totals], shape: ShuffleShape, split: Split) -> Vec<Bytes> {
    let each = shape.buckets_per_partition() as usize;
    let places = TaskId::below(split.tasks()).filter_map(|task| split.place(task));
    let results = places.map(|place| {
        let (start, width) = ((place.run * place.width) as usize, place.width as usize);
        let first = place.partition.index() * each;
        let read = &of_bucket[first + start..first + (start + width).min(each)];
        // A key lies in one bucket only.
        let keys = read.iter().flat_map(|totals| totals.keys.iter().map(|(&key, &total)| (key, total))).collect();
        without_marks(&Totals { keys, ..Totals::default() }.collected())
    });
    results.collect()
}

/// A result without the bytes that depend on the attempts.
pub(super) fn without_marks(result: &Bytes) -> Bytes {
    result.slice(..result.len().saturating_sub(MARKS))
}

/// The bytes of a result that depend on the attempts.
pub(super) fn marks(result: &Bytes) -> Bytes {
    result.slice(result.len().saturating_sub(MARKS)..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment;

    fn records(attempts: &[Attempt], bucket: u32) -> Vec<Bytes> {
        let of = |a: &Attempt| {
            let segment = a.segments.iter().find(|(p, _)| u32::from(p.0) == bucket / 3);
            segment.map(|(_, s)| Bytes::copy_from_slice(segment::buckets(s, bucket % 3..bucket % 3 + 1).unwrap()))
        };
        attempts.iter().filter_map(of).collect()
    }

    /// Two maps, a reduce of what both wrote that feeds a shuffle, and a reduce.
    fn graph() -> Vec<Node> {
        let shuffle = Some(SHAPE);
        let nodes = [(vec![], shuffle), (vec![], shuffle), (vec![0, 1], shuffle), (vec![2], None)];
        nodes.map(|(reads, shuffle)| Node::reading(reads, shuffle)).into()
    }

    const SHAPE: ShuffleShape = ShuffleShape { partitions: 2, buckets: 6 };

    fn run(tasks: Vec<(u32, Option<u32>)>) -> Vec<Bytes> {
        let mapped = |stage| {
            tasks.iter().map(|&(t, mark)| map(stage, TaskId(t), mark).shuffled(SHAPE)).collect::<Vec<Attempt>>()
        };
        let (first, second) = (mapped(StageId(0)), mapped(StageId(1)));
        let next = |b| reduce(&[&records(&first, b), &records(&second, b)]).given().shuffled(SHAPE);
        let reduced: Vec<Attempt> = (0..6).map(next).collect();
        (0..6).map(|b| reduce(&[&records(&reduced, b)]).collected()).collect()
    }

    #[test]
    fn a_job_run_by_hand_gives_the_expected_results_unless_a_task_runs_twice() {
        let results = |tasks: Vec<u32>| -> Vec<Bytes> {
            run(tasks.into_iter().map(|t| (t, None)).collect()).iter().map(without_marks).collect()
        };
        assert_eq!(results((0..50).collect()), expected(&graph(), 50, Split::of_width(SHAPE, 1)));
        assert_ne!(results((0..50).chain([7]).collect()), expected(&graph(), 50, Split::of_width(SHAPE, 1)));
        assert_ne!(results((0..50).rev().collect()), expected(&graph(), 50, Split::of_width(SHAPE, 1)));
    }

    #[test]
    fn marks_are_equal_in_all_results_and_differ_between_attempts() {
        let marked = |mark: u32| run((0..50).map(|t| (t, Some(t * 2 + mark))).collect());
        let (one, other) = (marked(0), marked(1));
        assert!(one.iter().all(|result| marks(result) == marks(&one[0])));
        assert_ne!(marks(&one[0]), marks(&other[0]));
        assert_eq!(
            one.iter().map(without_marks).collect::<Vec<_>>(),
            expected(&graph(), 50, Split::of_width(SHAPE, 1))
        );
    }
}
