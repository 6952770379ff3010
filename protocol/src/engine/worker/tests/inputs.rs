//! The inputs of units.

use super::*;
use crate::engine::worker::{PACK_WAIT, RETRY_MODULE};
use crate::io::Port;
use crate::message::{Cause, Hold};
use crate::ranges::Run;

/// The encoded output of one task.
const RECORD: &[u8] = b"\x06\0\0\0record";

#[test]
fn a_seal_of_an_older_epoch_opens_nothing() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (epoch, before) = REDUCES.epoch(job, 0, other());
    let (newer, signed_epoch) = REDUCES.epoch(job, 1, PeerKey([3; 32]));
    assert_eq!(epoch.number, 0);
    bench.change(&job, &Change::Epoch { epoch: newer, signed_epoch: signed_epoch.clone() });
    bench.report_sealed(&REDUCES, job, before);
    assert_eq!(bench.bucket_asked(), None, "it was sealed by a former owner");
    bench.report_sealed(&REDUCES, job, signed_epoch);
    assert_eq!(bench.bucket_asked().map(|(_, owner)| owner), Some(PeerKey([3; 32])));
}

#[test]
fn partitions_that_this_peer_did_not_seal_are_not_read_from_its_store() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, me());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, me());
    bench.report_sealed(&REDUCES, job, signed_epoch);
    let read = bench.take(|action| {
        if let Action::Store(StoreAction::Segments(SegmentAction::ReadBucket { bucket, .. })) = action {
            Some(*bucket)
        } else {
            None
        }
    });
    assert_eq!(read, None, "its shuffler holds nothing");
    assert_eq!(bench.worker.in_hand(), 1, "the map tasks alone");
}

#[test]
fn a_result_names_the_root_that_was_read() {
    let (mut bench, job) = reducing();
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    let map = bench.run().expect("the map tasks");
    assert_eq!(map.stage, StageId(0));
    bench.answer_bucket(id, Response::Piece { of: RECORD.len() as u64 }, Bytes::from_static(RECORD));
    let reduce = bench.run().expect("its reduce");
    // Sealed again while it runs: its input is outdated.
    let seals = PartitionId::below(BUCKETS).map(|p| (p, Hash([2; 32]))).collect();
    bench.worker.on_seals(&mut bench.core, other(), &Seals { job, stage: StageId(0), epoch: 0, width: 1, seals });
    bench.results(&reduce, reduce.tasks.iter(), true);
    let root = bench.take(|action| match action {
        Action::Net(NetAction::Request { request: Request::Output(output), .. }) => Some(output.root),
        _ => None,
    });
    assert_eq!(root, Some(Some(ROOT)));
}

#[test]
fn buckets_of_a_shuffler_that_is_a_worker_are_left_to_it_first() {
    for works in [true, false] {
        let mut bench = Bench::new();
        let roles = Roles { worker: works, shuffler: true, ..Roles::default() };
        let advert = Advert { roles, ..bench.core.advert.clone() };
        bench.core.directory.on_advert(bench.core.now, other(), advert);
        let job = bench.open(&REDUCES, other());
        let seals = PartitionId::below(BUCKETS).map(|p| (p, ROOT)).collect();
        bench.worker.on_seals(&mut bench.core, other(), &Seals { job, stage: StageId(0), epoch: 0, width: 1, seals });
        bench.drive(Duration::ZERO);
        assert_eq!(bench.bucket_asked().is_none(), works);
        bench.drive(Duration::from_secs(1));
        assert!(bench.bucket_asked().is_some(), "its owner has had its time");
    }
}

#[test]
fn a_bucket_that_its_owner_cannot_read_counts_as_a_failure_of_its_task() {
    let (mut bench, _) = reducing();
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(id, Response::Missing, Bytes::new());
    assert_eq!(bench.failure(), None, "it may lie elsewhere by now");
    bench.drive(Duration::from_secs(3));
    let (id, _) = bench.bucket_asked().expect("the next bucket");
    bench.answer_bucket(id, Response::Refused("the disk is broken".to_owned()), Bytes::new());
    let failure = bench.failure().expect("a report to the authority");
    assert!(failure.why.contains("the disk is broken") && failure.cause == Cause::Job, "{failure:?}");
}

#[test]
fn a_malformed_bucket_counts_as_a_failure_of_its_task() {
    let (mut bench, _) = reducing();
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(id, Response::Piece { of: 10 }, Bytes::from_static(b"no records"));
    assert!(bench.failure().is_some_and(|f| f.why.contains("malformed")));
}

#[test]
fn a_bucket_with_more_records_than_tasks_is_malformed() {
    let (mut bench, _) = reducing();
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    let empty_parts = vec![0; 4 * (REDUCES.tasks as usize + 1)];
    bench.answer_bucket(id, Response::Piece { of: empty_parts.len() as u64 }, empty_parts.into());
    assert!(bench.failure().is_some_and(|f| f.why.contains("malformed")));
}

#[test]
fn a_peer_without_the_worker_role_shares_no_blobs_of_others_jobs() {
    let mut bench = Bench::with_roles(Roles::default());
    bench.open(&COLLECTS, other());
    assert_eq!(bench.blobs.shared(), 0);
}

#[test]
fn a_blob_is_shared_until_the_last_job_that_needs_it_is_over() {
    let mut bench = Bench::new();
    let jobs = [1, 2].map(|nonce| bench.open(&Plan { nonce, ..COLLECTS }, other()));
    assert_eq!(bench.blobs.shared(), 1, "both run the same module");
    bench.change(&jobs[0], &Change::Over);
    assert_eq!(bench.blobs.shared(), 1);
    bench.change(&jobs[1], &Change::Over);
    assert_eq!(bench.blobs.shared(), 0);
}

#[test]
fn a_lost_module_is_fetched_again() {
    let mut bench = Bench::new();
    bench.open(&COLLECTS, other());
    let work = bench.run().expect("a block to run");
    let lost = TaskFailure { document: None, why: "the module is not here any more".to_owned(), cause: Cause::Worker };
    let result = |task| TaskResult { task, elapsed: Duration::ZERO, outcome: Err(lost.clone()) };
    bench.worker.on_results(&mut bench.core, work.run, TaskId::below(4).map(result).collect(), true);
    bench.worker.drive(&mut bench.core, &mut bench.blobs, &bench.shuffler);
    let told = |action: &Action| matches!(action, Action::Net(NetAction::Request { request: Request::Failed(f), .. }) if f.cause == Cause::Worker);
    assert!(bench.core.actions.iter().any(told));
    bench.core.now = bench.core.now + RETRY_MODULE;
    bench.worker.drive(&mut bench.core, &mut bench.blobs, &bench.shuffler);
    let looks = |action: &Action| matches!(action, Action::Store(StoreAction::Blobs(BlobAction::Load { hash })) if *hash == Hash([COLLECTS.module; 32]));
    assert!(bench.core.actions.iter().any(looks));
}

#[test]
fn missing_packs_block_neither_other_jobs_nor_other_workers() {
    let mut bench = Bench::new();
    let stalled = bench.open(&Plan { owner: 1, ..LONG_JOB }, other());
    bench.run_units(20, Duration::from_millis(50));
    // From here on its inputs lie in a pack that no peer sends.
    let blob = BlobRef { hash: Hash([NOWHERE; 32]), len: 1 };
    let layout = Layout::new(Index { packs: vec![PackRef { blob, documents: LONG_JOB.tasks, docs_per_task: 1 }] });
    bench.worker.jobs.get_mut(&stalled).expect("an open job").layout = Some(Arc::new(layout));
    while bench.run().is_some() {}
    bench.worker.running.clear();
    let job = bench.open(&Plan { owner: 2, ..LONG_JOB }, other());
    let from = bench.core.now;
    let ran = bench.run_units(40, Duration::from_millis(50));
    assert!(ran.iter().all(|of| *of == job));
    assert!(bench.core.now.since(from) < Duration::from_secs(10), "it waited for {:?}", bench.core.now.since(from));
    for _ in 0..30 {
        bench.run_units(50, Duration::from_millis(50));
        bench.worker.tick(&mut bench.core, &mut bench.blobs);
    }
    assert!(bench.core.now.since(from) > PACK_WAIT);
    let waiting = bench.worker.jobs[&stalled].waiting.values().all(|w| bench.core.now.since(w.since) < PACK_WAIT);
    assert!(waiting, "its units wait for ever");
}

#[test]
fn a_bucket_served_in_pieces_is_reduced_whole() {
    let (mut bench, _) = reducing();
    let records = [&b"records of one task"[..], b"of another"];
    let framed: Vec<u8> =
        records.iter().flat_map(|r| (r.len() as u32).to_le_bytes().into_iter().chain(r.iter().copied())).collect();
    let of = framed.len() as u64;
    for piece in framed.chunks(7) {
        let (id, _) = bench.bucket_asked().expect("the rest of the bucket is asked for");
        bench.answer_bucket(id, Response::Piece { of }, Bytes::copy_from_slice(piece));
    }
    let reduce = std::iter::from_fn(|| bench.run()).find(|work| work.stage == StageId(1)).expect("the reduce task");
    let [Port::Records(read)] = &reduce.inputs[..] else { panic!("not a reduce of one shuffle") };
    assert_eq!(*read, records);
}

#[test]
fn a_bucket_larger_than_the_memory_limit_fails_the_task() {
    let (mut bench, _) = reducing();
    let of = REDUCES.manifest().stages[1].limits.memory + 1;
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(id, Response::Piece { of }, Bytes::from_static(b"its first piece"));
    let failure = bench.failure().expect("the task fails");
    assert!(failure.cause == Cause::InputLimit && failure.why.contains(&format!("{of} bytes")), "{failure:?}");
}

#[test]
fn an_empty_bucket_is_not_run() {
    let (mut bench, _) = reducing();
    let map = bench.run().expect("the map tasks");
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(id, Response::Piece { of: 0 }, Bytes::new());
    let output = bench.take(|action| match action {
        Action::Net(NetAction::Request { request: Request::Output(output), .. }) => Some((output.root, output.digest)),
        _ => None,
    });
    assert_eq!(output, Some((Some(ROOT), Hash::of(b""))));
    assert!(map.stage == StageId(0) && bench.run().is_none());
}

#[test]
fn the_number_of_tasks_comes_from_the_seals_and_then_from_the_authority() {
    // One partition of eight buckets, so at most eight tasks.
    let mut manifest = REDUCES.manifest();
    manifest.stages[0].sink = Sink::Shuffle(ShuffleShape { partitions: 1, buckets: 8 });
    manifest.stages[1].tasks = 8;
    let mut bench = Bench::new();
    let job = bench.open_as(&REDUCES, manifest, other());
    let left = |bench: &Bench| bench.worker.jobs[&job].stages[1].table.left();
    let seal = |width| Seals { job, stage: StageId(0), epoch: 0, width, seals: vec![(PartitionId(0), ROOT)] };
    for impossible in [0, 9] {
        bench.worker.on_seals(&mut bench.core, other(), &seal(impossible));
        assert_eq!(left(&bench), 8);
    }
    bench.worker.on_seals(&mut bench.core, other(), &seal(3));
    assert_eq!(left(&bench), 3, "of three, three and two buckets");
    bench.worker.on_seals(&mut bench.core, other(), &seal(8));
    assert_eq!(left(&bench), 3, "another shuffler does not change that");
    let (_, epoch) = REDUCES.epoch(job, 0, other());
    let shards = vec![ShardLeft { blocks: 2, workers: 1 }];
    let seals = vec![(PartitionId(0), ROOT)];
    let (done, further, peers) = (vec![4, 0], vec![], vec![]);
    let summary = Summary { epoch, reopened: 0, done, seals, further, width: Some(4), shards, peers, proven: None };
    bench.answer_summary(shard(job, 1, 0), summary, Bytes::new());
    assert_eq!(left(&bench), 2);
    bench.worker.on_seals(&mut bench.core, other(), &seal(3));
    assert_eq!(left(&bench), 2);
    bench.drive(Duration::from_secs(1));
    let asked = bench.take(|action| match action {
        Action::Net(NetAction::Request { request: Request::Bucket(piece), .. }) => Some((piece.width, piece.task.0)),
        _ => None,
    });
    assert!(matches!(asked, Some((4, 0..2))), "{asked:?}");
}

#[test]
fn tasks_claimed_by_a_worker_that_received_the_seals_earlier_are_left_to_it() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let holds = vec![Hold { run: Run::new(0, 2), term: 0, speculative: false, settled: true }];
    let claim = Claim { job, stage: StageId(1), shard: ShardId(0), number: 1, holds, done: vec![], finished: 0 };
    bench.worker.on_claim(&mut bench.core, PeerKey([3; 32]), &claim);
    let seals = PartitionId::below(BUCKETS).map(|p| (p, ROOT)).collect();
    bench.worker.on_seals(&mut bench.core, other(), &Seals { job, stage: StageId(0), epoch: 0, width: 1, seals });
    assert_eq!(bench.worker.jobs[&job].stages[1].table.free(), u32::from(BUCKETS) - 2);
}

#[test]
fn buckets_in_hand_together_keep_the_memory_limit() {
    let mut bench = Bench::new();
    let memory = REDUCES.manifest().stages[1].limits.memory;
    bench.worker.memory.inputs = memory;
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.report_sealed(&REDUCES, job, signed_epoch);
    // A record that fills most of the memory, behind its length.
    let len = memory / 4 * 3;
    let bucket: Bytes = [&(len as u32).to_le_bytes()[..], &vec![0; len as usize]].concat().into();
    let (of, start) = (bucket.len() as u64, bucket.slice(..1));
    let (first, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(first, Response::Piece { of }, start.clone());
    let (rest, _) = bench.bucket_asked().expect("it has room");
    bench.drive(Duration::from_secs(1));
    let (second, _) = bench.bucket_asked().expect("another bucket");
    bench.answer_bucket(second, Response::Piece { of }, start.clone());
    assert_eq!(bench.bucket_asked(), None, "both together have not");
    assert_eq!(bench.failure(), None, "and that is no fault of its task");

    bench.answer_bucket(rest, Response::Piece { of }, bucket.slice(1..));
    let reduce =
        std::iter::from_fn(|| bench.run()).find(|work| work.stage == StageId(1)).expect("the first reduce task");
    bench.results(&reduce, reduce.tasks.iter(), true);
    bench.drive(Duration::from_secs(3));
    let (next, _) = bench.bucket_asked().expect("the next one");
    bench.answer_bucket(next, Response::Piece { of }, start);
    assert!(bench.bucket_asked().is_some(), "there is room again");
}

#[test]
fn an_index_that_contradicts_its_manifest_is_fetched_once() {
    let bench = Bench::new();
    let index = BlobRef { hash: Hash([8; 32]), len: 1 };
    let inputs = Inputs::Packs { index, documents: u64::from(COLLECTS.tasks), bytes: 1 };
    let mut opened = WorkerJob::new(
        &bench.core,
        &Arc::new(Manifest { inputs, ..COLLECTS.manifest() }),
        &COLLECTS.epoch(JobId([1; 32]), 0, other()).0,
        vec![0],
        0,
    );
    opened.take_blob(bench.core.now, index.hash, None);
    assert!(opened.retry_at().is_some(), "it may come yet");
    opened.take_blob(bench.core.now, index.hash, Some(&Bytes::from_static(b"no index")));
    assert!(!opened.is_set_up());
    assert_eq!(opened.retry_at(), None);
}

#[test]
fn a_bucket_of_a_replaced_owner_is_not_waited_for() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, before) = REDUCES.epoch(job, 0, other());
    bench.report_sealed(&REDUCES, job, before);
    assert_eq!(bench.bucket_asked().map(|(_, owner)| owner), Some(other()), "which hangs");
    assert!(bench.worker.in_hand() > 1);
    let (epoch, signed_epoch) = REDUCES.epoch(job, 1, PeerKey([3; 32]));
    bench.change(&job, &Change::Epoch { epoch, signed_epoch });
    assert_eq!(bench.worker.in_hand(), 1, "the map tasks alone");
}

/// A job of two maps and a reduce of both, with nothing sealed.
fn joining() -> (Bench, JobId) {
    let mut manifest = REDUCES.manifest();
    manifest.minor = version::SEVERAL_SOURCES;
    manifest.stages.insert(1, manifest.stages[0].clone());
    manifest.stages[2].further = vec![Source::Shuffle { stage: StageId(1) }];
    assert_eq!(manifest.check(), Ok(()));
    let mut bench = Bench::new();
    let job = bench.open_as(&REDUCES, manifest, other());
    (bench, job)
}

/// Another peer publishes that it sealed all partitions of a stage.
fn seal(bench: &mut Bench, job: JobId, (stage, epoch): (u8, u32), root: Hash) {
    let seals = PartitionId::below(BUCKETS).map(|p| (p, root)).collect();
    bench.worker.on_seals(&mut bench.core, other(), &Seals { job, stage: StageId(stage), epoch, width: 1, seals });
    bench.drive(Duration::from_secs(1));
}

/// The next request for a bucket of a stage: its id, the task and the root.
fn asked(bench: &mut Bench, of: u8) -> Option<(RequestId, TaskId, Hash)> {
    bench.take(|action| match action {
        Action::Net(NetAction::Request { id, request: Request::Bucket(piece), .. }) if piece.stage == StageId(of) => {
            Some((*id, piece.task, piece.root))
        }
        _ => None,
    })
}

#[test]
fn several_sources_are_read_in_turn_and_the_result_names_all_their_roots() {
    let (mut bench, job) = joining();
    let roots = [ROOT, Hash([3; 32])];
    seal(&mut bench, job, (0, 0), roots[0]);
    assert_eq!(bench.bucket_asked(), None, "the other source is not sealed");
    seal(&mut bench, job, (1, 0), roots[1]);
    let (first, task, root) = asked(&mut bench, 0).expect("what it reads of the first source");
    assert_eq!(root, roots[0]);
    assert_eq!(asked(&mut bench, 1), None);
    bench.answer_bucket(first, Response::Piece { of: 0 }, Bytes::new());
    let (second, same, root) = asked(&mut bench, 1).expect("and of the second");
    assert_eq!((same, root), (task, roots[1]));
    bench.answer_bucket(second, Response::Piece { of: RECORD.len() as u64 }, Bytes::from_static(RECORD));
    let reduce = std::iter::from_fn(|| bench.run()).find(|work| work.stage == StageId(2)).expect("the reduce task");
    let [Port::Records(first), Port::Records(second)] = &reduce.inputs[..] else { panic!("{:?}", reduce.inputs) };
    assert!(first.is_empty() && *second == [&b"record"[..]], "{first:?} {second:?}");
    bench.results(&reduce, reduce.tasks.iter(), true);
    let named = bench.take(|action| match action {
        Action::Net(NetAction::Request { request: Request::Output(output), .. }) => Some(output.roots().collect()),
        _ => None,
    });
    assert_eq!(named, Some(roots.to_vec()));
}

#[test]
fn after_a_revocation_of_one_source_only_that_source_must_be_sealed_again() {
    let (mut bench, job) = joining();
    seal(&mut bench, job, (0, 0), ROOT);
    seal(&mut bench, job, (1, 0), ROOT);
    let (id, _) = bench.bucket_asked().expect("a bucket to reduce");
    let generations = [(0, 0), (0, 1), (1, 1)]
        .map(|(reads, writes)| epoch::Generations { reads: Generation(reads), writes: Generation(writes) })
        .to_vec();
    let shufflers = vec![epoch::Shuffler { peer: other(), weight: 1 }];
    let newer = Epoch { job, number: 1, previous: Some(ROOT), shufflers, generations };
    let signed_epoch = REDUCES.key().sign(&newer);
    bench.change(&job, &Change::Epoch { epoch: Arc::new(newer), signed_epoch });
    bench.answer_bucket(id, Response::Piece { of: RECORD.len() as u64 }, Bytes::from_static(RECORD));
    while bench.bucket_asked().is_some() {}
    bench.drive(Duration::from_secs(5));
    assert_eq!(bench.bucket_asked(), None, "what the second source wrote is not sealed");
    seal(&mut bench, job, (1, 1), Hash([3; 32]));
    bench.drive(Duration::from_secs(5));
    assert!(bench.bucket_asked().is_some(), "the first stayed sealed");
}

#[test]
fn the_input_of_all_sources_of_a_task_together_is_limited() {
    let (mut bench, job) = joining();
    seal(&mut bench, job, (0, 0), ROOT);
    seal(&mut bench, job, (1, 0), ROOT);
    let memory = REDUCES.manifest().stages[1].limits.memory;
    let (first, _) = bench.bucket_asked().expect("a bucket to reduce");
    bench.answer_bucket(first, Response::Piece { of: RECORD.len() as u64 }, Bytes::from_static(RECORD));
    let (second, ..) = asked(&mut bench, 1).expect("what it reads of the other source");
    bench.answer_bucket(second, Response::Piece { of: memory }, Bytes::from_static(b"its first piece"));
    let failure = bench.failure().expect("the task fails");
    let all = memory + b"record".len() as u64;
    assert!(failure.cause == Cause::InputLimit && failure.why.contains(&format!("{all} bytes")), "{failure:?}");
}
