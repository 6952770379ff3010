//! The segment store as seen from outside: with any amount of memory, every bucket is read back complete and in order.

use bytes::Bytes;
use proptest::prelude::*;
use webmesh_protocol::io::{BucketRef, KeptSegment};
use webmesh_protocol::message::{AttemptId, Push, PushEntry};
use webmesh_protocol::segment::{Attempt, buckets};
use webmesh_protocol::split::Place;
use webmesh_protocol::{Hash, JobId, PartitionId, PartitionRef, StageId, TaskId};

use super::segments::{SegmentStore, StoreError};

const JOB: JobId = JobId([7; 32]);
const STAGE: StageId = StageId(0);

/// One task's output, derived from a seed so that two attempts can differ.
fn attempt(task: u32, seed: u32, partitions: u16, buckets: u32, size: usize) -> Attempt {
    let mut data = Vec::new();
    let mut offsets = vec![0];
    for b in 0..buckets {
        // Some buckets are empty, and lengths differ.
        let len = (task as usize * 31 + b as usize * 17 + seed as usize) % (size + 1);
        if !(task + b).is_multiple_of(3) {
            data.extend((0..len).map(|i| (task as usize + b as usize * 7 + i + seed as usize) as u8));
        }
        offsets.push(data.len() as u32);
    }
    Attempt::cut(&data, &offsets, partitions).unwrap()
}

fn push_of(attempts: &[(u32, &Attempt)]) -> (Push, Vec<KeptSegment>, Bytes) {
    let mut push = Push { job: JOB, stage: STAGE, epoch: 1, replica: false, entries: Vec::new(), authors: Vec::new() };
    let (mut keep, mut body) = (Vec::new(), Vec::new());
    for (entry, (task, attempt)) in (0..).zip(attempts) {
        let segments = attempt.segments.iter().map(|(p, s)| (*p, s.len() as u32)).collect();
        push.entries.push(PushEntry { task: TaskId(*task), digest: attempt.digest, segments });
        for (partition, segment) in &attempt.segments {
            keep.push(KeptSegment { entry, partition: *partition });
            body.extend_from_slice(segment);
        }
    }
    (push, keep, body.into())
}

fn kept((entry, partition): (u32, u16)) -> KeptSegment {
    KeptSegment { entry, partition: PartitionId(partition) }
}

fn partition(partition: u16) -> PartitionRef {
    PartitionRef { job: JOB, stage: STAGE, partition: PartitionId(partition) }
}

/// A limit above the size of every bucket in these tests.
const NO_LIMIT: u64 = u32::MAX as u64;

fn at(partition: u16, bucket: u32) -> BucketRef {
    run_at(partition, bucket, 1)
}

fn run_at(partition: u16, run: u32, width: u32) -> BucketRef {
    BucketRef { job: JOB, stage: STAGE, place: Place { partition: PartitionId(partition), run, width } }
}

/// The expected content of a bucket, by the protocol's own slicing.
fn expected(attempts: &[Attempt], partition: u16, bucket: u32) -> Vec<Vec<u8>> {
    expected_run(attempts, partition, bucket, 1)
}

/// The expected content of a range of buckets.
fn expected_run(attempts: &[Attempt], partition: u16, run: u32, width: u32) -> Vec<Vec<u8>> {
    let of_partition = attempts.iter().filter_map(|a| a.segments.iter().find(|(p, _)| p.0 == partition));
    let records = of_partition.map(|(_, segment)| buckets(segment, run * width..(run + 1) * width).unwrap().to_vec());
    records.filter(|r| !r.is_empty()).collect()
}

fn read(store: &mut SegmentStore, partition: u16, bucket: u32) -> Vec<Vec<u8>> {
    read_run(store, partition, bucket, 1)
}

fn read_run(store: &mut SegmentStore, partition: u16, run: u32, width: u32) -> Vec<Vec<u8>> {
    store.read_bucket(&run_at(partition, run, width), NO_LIMIT).unwrap().iter().map(|r| r.to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_run_of_buckets_is_read_in_order_of_task_with_any_amount_of_memory(
        width in 1u32..10,
        order in Just((0u32..60).collect::<Vec<_>>()).prop_shuffle(),
        per_push in 1usize..9,
        partitions in prop::sample::select(vec![1u16, 2, 4]),
        memory in prop::sample::select(vec![0u64, 700, 20_000, 1 << 20]),
        size in prop::sample::select(vec![3usize, 200, 3000]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SegmentStore::new(dir.path().to_owned(), memory);
        let attempts: Vec<Attempt> = (0..60).map(|t| attempt(t, 0, partitions, 8, size)).collect();
        for tasks in order.chunks(per_push) {
            let entries: Vec<_> = tasks.iter().map(|&t| (t, &attempts[t as usize])).collect();
            let (push, keep, body) = push_of(&entries);
            store.stage(&push, &keep, &body).unwrap();
        }
        let total: u64 = attempts.iter().map(|a| a.len() as u64).sum();
        let disk = store.usage().disk;
        match memory {
            // The last push is not spilled by any later one.
            0 => prop_assert!(disk > 0 && disk < total),
            1_048_576 => prop_assert_eq!(disk, 0),
            _ => {}
        }
        for partition in 0..partitions {
            for run in 0..=(8 / u32::from(partitions)).div_ceil(width) {
                let expected = expected_run(&attempts, partition, run, width);
                prop_assert_eq!(read_run(&mut store, partition, run, width), expected.clone());
                // A second reducer may read it too.
                prop_assert_eq!(read_run(&mut store, partition, run, width), expected);
            }
        }
        store.drop_job(JOB);
        prop_assert_eq!(store.usage(), Default::default());
        prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn segments_pulled_and_staged_elsewhere_read_the_same(
        tasks in prop::collection::btree_set(0u32..10_000, 1..80),
        memory in prop::sample::select(vec![0u64, 1 << 30]),
        size in prop::sample::select(vec![5usize, 40_000]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut first = SegmentStore::new(dir.path().to_owned(), memory);
        let mut second = SegmentStore::new(dir.path().to_owned(), memory);
        for &task in tasks.iter().rev() {
            let attempt = attempt(task, 0, 2, 8, size);
            let (push, keep, body) = push_of(&[(task, &attempt)]);
            first.stage(&push, &keep, &body).unwrap();
        }
        let mut from = Some(TaskId(0));
        while let Some(task) = from {
            let (push, body, next) = first.pull(partition(1), task).unwrap();
            prop_assert!(body.len() <= webmesh_protocol::limits::PUSH_BYTES);
            let keep: Vec<_> = (0..push.entries.len() as u32).map(|i| kept((i, 1))).collect();
            second.stage(&push, &keep, &body).unwrap();
            prop_assert!(next.is_none_or(|next| next > task));
            from = next;
        }
        for b in 0..4 {
            prop_assert_eq!(read(&mut first, 1, b), read(&mut second, 1, b));
        }
        prop_assert!(read(&mut second, 0, 0).is_empty());
    }
}

#[test]
fn memory_stays_bounded_while_segments_are_staged_and_read() {
    const LIMIT: u64 = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut store = SegmentStore::new(dir.path().to_owned(), LIMIT);
    let attempts: Vec<Attempt> = (0..1000).map(|t| attempt(t, 0, 4, 32, 2000)).collect();
    for (task, attempt) in (0..).zip(&attempts) {
        let (push, keep, body) = push_of(&[(task, attempt)]);
        store.stage(&push, &keep, &body).unwrap();
        assert!(store.usage().memory <= LIMIT, "{:?} after task {task}", store.usage());
    }
    assert!(store.usage().disk > 3 * LIMIT);
    for b in 0..8 {
        for partition in 0..4 {
            assert_eq!(read(&mut store, partition, b), expected(&attempts, partition, b));
            assert!(store.usage().memory <= LIMIT, "{:?}", store.usage());
        }
    }
}

#[test]
fn only_segments_to_keep_are_staged() {
    let mut store = SegmentStore::new(std::env::temp_dir(), 1 << 20);
    let attempts: Vec<Attempt> = (0..4).map(|t| attempt(t, 0, 4, 8, 50)).collect();
    let entries: Vec<_> = (0..).zip(&attempts).collect();
    let (push, _, body) = push_of(&entries);
    // Out of order, with a partition for which the entry has nothing.
    store.stage(&push, &[(3, 1), (1, 1), (1, 3), (2, 9)].map(kept), &body).unwrap();
    let of = |tasks: &[usize]| tasks.iter().map(|&t| attempts[t].clone()).collect::<Vec<_>>();
    for b in 0..2 {
        assert_eq!(read(&mut store, 1, b), expected(&of(&[1, 3]), 1, b));
        assert_eq!(read(&mut store, 3, b), expected(&of(&[1]), 3, b));
        assert!(read(&mut store, 0, b).is_empty());
    }
}

#[test]
fn a_bucket_with_two_attempts_is_read_only_after_one_is_dropped() {
    let mut store = SegmentStore::new(std::env::temp_dir(), 1 << 20);
    let (won, lost) = (attempt(5, 0, 1, 4, 90), attempt(5, 1, 1, 4, 90));
    for attempt in [&lost, &won, &won] {
        let (push, keep, body) = push_of(&[(5, attempt)]);
        store.stage(&push, &keep, &body).unwrap();
    }
    let refused = store.read_bucket(&at(0, 0), NO_LIMIT).unwrap_err();
    assert!(matches!(refused, StoreError::TwoAttempts { task: TaskId(5), partition: PartitionId(0) }), "{refused}");
    let (push, _, _) = store.pull(partition(0), TaskId(0)).unwrap();
    assert_eq!(push.entries.len(), 2, "each attempt is pulled once");

    store.drop_segment(partition(0), AttemptId { task: TaskId(5), digest: lost.digest });
    for b in 0..4 {
        assert_eq!(read(&mut store, 0, b), expected(std::slice::from_ref(&won), 0, b));
    }
    // A decision can be revoked: what is pushed again counts again.
    store.drop_segment(partition(0), AttemptId { task: TaskId(5), digest: won.digest });
    assert!(read(&mut store, 0, 0).is_empty());
    let (push, keep, body) = push_of(&[(5, &lost)]);
    store.stage(&push, &keep, &body).unwrap();
    for b in 0..4 {
        assert_eq!(read(&mut store, 0, b), expected(std::slice::from_ref(&lost), 0, b));
    }
}

#[test]
fn a_segment_staged_after_a_read_is_in_the_next_one() {
    let mut store = SegmentStore::new(std::env::temp_dir(), 1 << 20);
    let attempts: Vec<Attempt> = (0..2).map(|t| attempt(t, 0, 1, 4, 90)).collect();
    for n in 1..=2 {
        let (push, keep, body) = push_of(&[(n as u32 - 1, &attempts[n - 1])]);
        store.stage(&push, &keep, &body).unwrap();
        for b in 0..4 {
            assert_eq!(read(&mut store, 0, b), expected(&attempts[..n], 0, b));
        }
    }
}

#[test]
fn malformed_segments_are_refused_and_their_task_named() {
    let mut store = SegmentStore::new(std::env::temp_dir(), 1 << 20);
    let mut push = Push { job: JOB, stage: STAGE, epoch: 1, replica: false, entries: Vec::new(), authors: Vec::new() };
    push.entries.push(PushEntry { task: TaskId(41), digest: Hash::of(b""), segments: vec![(PartitionId(2), 3)] });
    let short = store.stage(&push, &[kept((0, 2))], &Bytes::from_static(b"ab"));
    assert!(matches!(short, Err(StoreError::BadPush(_))));
    let no_such_entry = store.stage(&push, &[kept((1, 2))], &Bytes::from_static(b"abc"));
    assert!(matches!(no_such_entry, Err(StoreError::BadPush(_))));
    let no_such_partition = store.stage(&push, &[kept((0, u16::MAX))], &Bytes::from_static(b"abc"));
    assert!(matches!(no_such_partition, Err(StoreError::BadPush(_))));
    // It claims one bucket of 100 bytes.
    store.stage(&push, &[kept((0, 2))], &Bytes::from_static(&[1, 0, 100])).unwrap();
    let error = store.read_bucket(&at(2, 0), NO_LIMIT).unwrap_err().to_string();
    assert!(error.contains("task 41") && error.contains("partition 2"), "{error}");
}

#[test]
fn a_full_disk_is_reported_with_advice_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let not_a_folder = dir.path().join("file");
    std::fs::write(&not_a_folder, b"").unwrap();
    let mut store = SegmentStore::new(not_a_folder.clone(), 4000);
    let attempts: Vec<Attempt> = (0..2).map(|t| attempt(t, 0, 1, 4, 900)).collect();
    let (push, keep, body) = push_of(&[(0, &attempts[0])]);
    store.stage(&push, &keep, &body).unwrap();
    let (push, keep, body) = push_of(&[(1, &attempts[1])]);
    let error = store.stage(&push, &keep, &body).unwrap_err().to_string();
    assert!(error.contains(&not_a_folder.display().to_string()) && error.contains("--data"), "{error}");
    for b in 0..4 {
        assert_eq!(read(&mut store, 0, b), expected(&attempts[..1], 0, b));
    }
}

#[test]
fn a_bucket_is_read_in_pieces_unless_it_is_too_large() {
    let mut store = SegmentStore::new(std::env::temp_dir(), 1 << 20);
    let attempts: Vec<Attempt> = (0..20).map(|task| attempt(task, 0, 1, 2, 4_000)).collect();
    let staged: Vec<(u32, &Attempt)> = (0..).zip(&attempts).collect();
    let (push, keep, body) = push_of(&staged);
    store.stage(&push, &keep, &body).unwrap();
    let bucket = at(0, 1);
    let (whole, of) = store.read_piece(&bucket, 0, usize::MAX, NO_LIMIT).unwrap();
    assert!(whole.len() as u64 == of && of > 3_000, "{of} bytes");
    let mut pieces = Vec::new();
    while (pieces.len() as u64) < of {
        let (piece, length) = store.read_piece(&bucket, pieces.len() as u64, 1_000, NO_LIMIT).unwrap();
        assert!(piece.len() <= 1_000 && length == of);
        pieces.extend_from_slice(&piece);
        // Another bucket is read in between.
        read(&mut store, 0, 0);
    }
    assert_eq!(pieces, whole);
    assert!(store.read_piece(&bucket, of + 1, 1_000, NO_LIMIT).unwrap().0.is_empty());
    let mut store = SegmentStore::new(std::env::temp_dir(), 1 << 20);
    store.stage(&push, &keep, &body).unwrap();
    for refused in [store.read_bucket(&bucket, of - 1).err(), store.read_piece(&bucket, 0, 1, of - 1).err()] {
        assert!(matches!(refused, Some(StoreError::TooLarge(bytes)) if bytes == of), "{refused:?}");
    }
}
