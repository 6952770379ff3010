//! Changing the number of threads while the worker runs.

use super::*;

/// So many blocks that the number of threads limits the claims, not the number of blocks left.
const MANY: Plan = Plan { tasks: 4000, block: 1, ..COLLECTS };
/// Time of each task.
const TASK: Duration = Duration::from_millis(50);

/// A worker that knows its pace and has claimed blocks that have not started.
fn at_work(threads: u32) -> (Bench, JobId) {
    let mut bench = Bench::new();
    bench.worker.set_threads(&bench.core, threads);
    let job = bench.open(&MANY, other());
    bench.run_units(100, TASK);
    (bench, job)
}

fn claimed(bench: &Bench) -> usize {
    bench.worker.load().0
}

/// Whether it has published that it holds no block of the job.
fn released_all(bench: &mut Bench) -> bool {
    let said = std::iter::from_fn(|| {
        bench.take(|action| match action {
            Action::Net(NetAction::Publish { message: Gossip::Claims(claims), .. }) => Some(claims.clone()),
            _ => None,
        })
    });
    said.last().is_some_and(|claims| claims.iter().all(|claim| claim.holds.is_empty()))
}

#[test]
fn more_threads_put_more_units_in_hand_at_once() {
    let (mut bench, _) = at_work(1);
    let before = bench.worker.in_hand();
    bench.worker.set_threads(&bench.core, 4);
    bench.idle(Duration::from_secs(1));
    assert!(bench.worker.in_hand() > before, "{before} units in hand, then {}", bench.worker.in_hand());
}

#[test]
fn fewer_threads_release_blocks_that_have_not_started() {
    let (mut bench, _) = at_work(8);
    let before = claimed(&bench);
    bench.worker.set_threads(&bench.core, 1);
    let after = claimed(&bench);
    assert!(after < before / 2, "{before} blocks claimed, then {after}");
    bench.idle(Duration::from_secs(2));
    assert!(claimed(&bench) < before / 2, "it claims for threads that it no longer has: {}", claimed(&bench));
}

#[test]
fn a_retiring_worker_stops_its_runs_and_publishes_that_it_holds_nothing() {
    let (mut bench, job) = at_work(2);
    assert!(claimed(&bench) > 0);
    bench.worker.retire(&mut bench.core, &mut bench.blobs);
    bench.drive(Duration::ZERO);
    assert_eq!(bench.worker.load(), (0, 0, 0));
    assert!(released_all(&mut bench));
    assert!(
        bench
            .take(|a| matches!(a, Action::Run(RunAction::Stop { job: stopped }) if *stopped == job).then_some(()))
            .is_some()
    );
    bench.actions.clear();
    bench.open(&Plan { nonce: 2, ..MANY }, other());
    bench.idle(Duration::from_secs(2));
    assert!(bench.run().is_none(), "a unit runs after the worker retired");
}

#[test]
fn a_worker_that_starts_late_takes_part_in_a_known_job() {
    let mut bench = Bench::with_roles(Roles::default());
    let manifest = MANY.manifest();
    let job = Manifest::id_of(&MANY.key().sign(&manifest));
    let (epoch, signed_epoch) = MANY.epoch(job, 0, other());
    let manifest = Arc::new(manifest);
    let open = Change::Open { manifest, epoch, signed_epoch, done: vec![0], reopened: 0 };
    bench.change(&job, &open);
    bench.idle(Duration::from_secs(2));
    assert!(bench.run().is_none());
    bench.worker.set_threads(&bench.core, 2);
    bench.worker.take_up(&mut bench.core, &mut bench.blobs, job, &open);
    let ran = bench.run_units(3, TASK);
    assert_eq!(ran, vec![job; 3]);
    // A repeated call changes nothing.
    let held = claimed(&bench);
    bench.worker.take_up(&mut bench.core, &mut bench.blobs, job, &open);
    assert_eq!(claimed(&bench), held);
}
