//! Claiming, holding and releasing blocks.

use super::*;

#[test]
fn a_run_that_ends_early_releases_its_block() {
    let mut bench = Bench::new();
    bench.open(&COLLECTS, other());
    let work = bench.run().expect("a block to run");
    assert_eq!(bench.worker.load().0, 1, "it holds the block");
    bench.results(&work, TaskId::below(2), true);
    assert_eq!(bench.worker.load().0, 0, "two of its tasks gave no result");
    bench.drive(Duration::from_secs(1));
    assert!(bench.run().is_some(), "it is tried again");
}

#[test]
fn a_worker_at_its_allowance_claims_again_as_soon_as_it_rises() {
    let mut bench = Bench::new();
    let tasks = 200;
    bench.open(&Plan { tasks, block: 1, ..COLLECTS }, other());
    let (mut ran, mut idle) = (0, 0);
    while ran < tasks as usize {
        match bench.run_unit(Duration::from_millis(3)) {
            Some((_, tasks)) => ran += tasks,
            None => {
                bench.idle(Duration::from_millis(1));
                idle += 1;
            }
        }
    }
    // It learns its pace from one task, and publishes at most every 20 ms.
    assert!(idle < 50, "idle for {idle} ms of a job of 600 ms");
}

#[test]
fn a_job_whose_tasks_may_take_more_than_this_peer_gives_is_declined() {
    let mut bench = Bench::new();
    bench.worker.memory.tasks = COLLECTS.manifest().stages[0].limits.memory - 1;
    bench.open(&COLLECTS, other());
    assert!(bench.run().is_none());
    let declined = bench.take(|action| match action {
        Action::Net(NetAction::Request { to, request: Request::Decline { memory, .. }, .. }) => Some((*to, *memory)),
        _ => None,
    });
    assert_eq!(declined, Some((COLLECTS.manifest().home, bench.worker.memory.tasks)));
    bench.worker.memory.tasks += 1;
    bench.open(&Plan { nonce: 2, ..COLLECTS }, other());
    assert!(bench.run().is_some());
}

/// A bench with a job whose first stage has two shards; also returns its epoch and the shard in which this worker
/// starts.
fn two_shards() -> (Bench, JobId, Signed<Epoch>, usize) {
    let mut bench = Bench::new();
    let plan = Plan { tasks: 16, block: 1, ..COLLECTS };
    let mut manifest = plan.manifest();
    manifest.stages[0].shards = 2;
    let job = bench.open_as(&plan, manifest, other());
    let (_, epoch) = plan.epoch(job, 0, other());
    let shard = bench.answer_summaries(&epoch, 0, [0, 0])[0];
    (bench, job, epoch, shard.index())
}

#[test]
fn the_last_blocks_of_a_shard_with_hanging_workers_are_run_by_workers_of_other_shards() {
    let (mut bench, _, epoch, mine) = two_shards();
    let mut left = [2, 2];
    left[mine] = 0;
    let mut asked = Vec::new();
    for _ in 0..20 * limits::LEASE.as_secs() {
        bench.idle(Duration::from_millis(200));
        asked.extend(bench.answer_summaries(&epoch, 0, left));
    }
    assert!(
        asked.iter().filter(|&&shard| shard.index() == mine).count() > 1,
        "the hanging workers' leases have not expired"
    );
    let work = bench.run().expect("a block of the other shard to run");
    assert_ne!(work.tasks.start.0 / 8, mine as u32);
}

#[test]
fn a_reopened_shard_is_left_as_soon_as_it_is_done_again() {
    let (mut bench, job, epoch, mine) = two_shards();
    bench.idle(Duration::from_millis(200));
    bench.change(&job, &Change::Reopened(1));
    // All seems done until the answer arrives.
    bench.idle(Duration::from_millis(200));
    let mut left = [8, 8];
    left[mine] = 1;
    assert!(!bench.answer_summaries(&epoch, 1, left).is_empty());
    bench.run_units(1, Duration::from_millis(10));
    for _ in 0..10 {
        bench.idle(Duration::from_millis(200));
    }
    left[mine] = 0;
    assert!(!bench.answer_summaries(&epoch, 1, left).is_empty());
}

#[test]
fn reopened_tasks_are_found_whichever_stages_summary_comes_first() {
    let mut bench = Bench::new();
    let job = bench.open(&REDUCES, other());
    let (_, signed_epoch) = REDUCES.epoch(job, 0, other());
    bench.actions.clear();
    let shards = vec![ShardLeft { blocks: u32::from(BUCKETS), workers: 1 }];
    let summary = Summary {
        epoch: signed_epoch,
        reopened: 1,
        done: vec![0, 0],
        seals: vec![],
        further: vec![],
        width: None,
        shards,
        peers: vec![],
        proven: None,
    };
    bench.answer_summary(shard(job, 1, 0), summary, Bytes::new());
    bench.change(&job, &Change::Reopened(1));
    let asked = |a: &Action| matches!(a, Action::Net(NetAction::Request { request: Request::Summary(of), .. }) if of.stage == StageId(0));
    assert!(bench.actions.iter().any(asked));
}
