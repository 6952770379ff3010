//! The guest that simulated peers run, and what its output must be.
//!
//! Map task *t* emits some keys drawn from *t*, each with the value *t*. A reduce gives for each key how often it
//! was emitted, the sum of its values, and a hash over them in order: a task that is missing, counted twice or
//! out of order changes the result.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::rng::draw;
use crate::segment::Attempt;

/// Keys that a task emits.
const EMITS: u64 = 3;
/// Bytes of one record: key and value.
const RECORD: usize = 8;
/// Different keys: few enough that most come from several tasks, enough that few buckets stay empty.
const KEYS: u64 = 5_000;
/// The key of records that reduces do not look at.
const MARK: u32 = u32::MAX;

fn keys_of(task: u32) -> impl Iterator<Item = u32> {
    (0..EMITS).map(move |i| (draw(&[3, u64::from(task), i]) % KEYS) as u32)
}

fn bucket_of(key: u32, buckets: u32) -> u32 {
    (draw(&[4, u64::from(key)]) % u64::from(buckets)) as u32
}

/// Runs map task `task`. An attempt with a `mark` has other bytes than one with another, and means the same.
pub(super) fn map(task: u32, partitions: u16, buckets: u32, mark: Option<u32>) -> Attempt {
    let mut records: Vec<(u32, u32, u32)> = keys_of(task).map(|key| (bucket_of(key, buckets), key, task)).collect();
    records.extend(mark.map(|mark| (bucket_of(MARK, buckets), MARK, mark)));
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

/// What is known of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    count: u32,
    sum: u64,
    order: u64,
}

impl Total {
    fn add(&mut self, value: u32) {
        self.count += 1;
        self.sum += u64::from(value);
        self.order = draw(&[self.order, u64::from(value)]);
    }
}

fn encode(totals: &BTreeMap<u32, Total>) -> Bytes {
    let mut out = Vec::with_capacity(totals.len() * 24);
    for (key, total) in totals {
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&total.count.to_le_bytes());
        out.extend_from_slice(&total.sum.to_le_bytes());
        out.extend_from_slice(&total.order.to_le_bytes());
    }
    out.into()
}

/// Runs a reduce over the records of one bucket.
pub(super) fn reduce(records: &[Bytes]) -> Bytes {
    let mut totals: BTreeMap<u32, Total> = BTreeMap::new();
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("half a record"));
    for record in records.iter().flat_map(|r| r.chunks_exact(RECORD)) {
        let key = number(&record[..4]);
        if key != MARK {
            totals.entry(key).or_default().add(number(&record[4..]));
        }
    }
    encode(&totals)
}

/// What every bucket's reduce must give, computed without shuffle or mesh.
pub(super) fn expected(tasks: u32, buckets: u32) -> Vec<Bytes> {
    let mut of_bucket: Vec<BTreeMap<u32, Total>> = vec![BTreeMap::new(); buckets as usize];
    for task in 0..tasks {
        for key in keys_of(task) {
            of_bucket[bucket_of(key, buckets) as usize].entry(key).or_default().add(task);
        }
    }
    of_bucket.iter().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment;

    #[test]
    fn a_job_by_hand_gives_what_is_expected_and_a_task_too_many_does_not() {
        let run = |tasks: Vec<u32>| -> Vec<Bytes> {
            let attempts: Vec<Attempt> = tasks.into_iter().map(|t| map(t, 2, 6, None)).collect();
            let records = |bucket: u32| -> Vec<Bytes> {
                let of = |a: &Attempt| {
                    let segment = a.segments.iter().find(|(p, _)| u32::from(*p) == bucket / 3);
                    segment.map(|(_, s)| Bytes::copy_from_slice(segment::bucket(s, bucket % 3).unwrap()))
                };
                attempts.iter().filter_map(of).collect()
            };
            (0..6).map(|b| reduce(&records(b))).collect()
        };
        assert_eq!(run((0..50).collect()), expected(50, 6));
        assert_ne!(run((0..50).chain([7]).collect()), expected(50, 6));
        assert_ne!(run((0..50).rev().collect()), expected(50, 6));
    }
}
