//! The order in which jobs are served.

use std::collections::BTreeSet;

use super::*;

#[test]
fn unacknowledged_output_is_limited_over_all_jobs_and_leaves_room_for_each() {
    let mut bench = Bench::new();
    let (mut unacked, mut jobs) = (0, std::collections::BTreeSet::new());
    let part = limits::UNACKED_BYTES / 16;
    for nonce in 0..8 {
        bench.open(&Plan { nonce, tasks: 1, block: 1, ..COLLECTS }, other());
    }
    while let Some(work) = bench.run() {
        jobs.insert(work.job);
        unacked += part;
        bench.results_of(&work, [TaskId(0)], true, part);
        bench.drive(Duration::from_millis(50));
        // Its answer never arrives, so the job does not end; another one opens in its place.
        bench.open(&Plan { nonce: 100 + unacked as u64, tasks: 1, block: 1, ..COLLECTS }, other());
    }
    assert!(jobs.len() > 8, "{} jobs began", jobs.len());
    // Each job may have a unit in hand before it begins.
    let in_hand = choice::ACTIVE_JOBS * part;
    assert!(unacked <= limits::UNACKED_BYTES + in_hand, "{unacked} bytes are held");
}

#[test]
fn a_new_owner_shares_the_worker_with_one_that_was_served_for_long() {
    let mut bench = Bench::new();
    let old = bench.open(&LONG_JOB, other());
    bench.run_units(1_000, Duration::from_millis(100));
    let new = bench.open(&Plan { owner: 2, nonce: 2, ..LONG_JOB }, other());
    let ran = bench.run_units(200, Duration::from_millis(100));
    let of_new = ran.iter().filter(|&&job| job == new).count();
    let of_old = ran.iter().filter(|&&job| job == old).count();
    // One unit in eight goes to the youngest job.
    assert!(of_new > 80 && of_old > 60, "{of_old} units of the old job, {of_new} of the new one");
}

#[test]
fn a_job_of_long_tasks_gets_its_turn_beside_one_of_short_tasks() {
    let mut bench = Bench::new();
    let long = bench.open(&LONG_JOB, other());
    bench.run_units(3, Duration::from_secs(1));
    bench.open(&Plan { owner: 2, nonce: 2, ..LONG_JOB }, other());
    for _ in 0..20 {
        // Whichever job runs, its tasks take their time.
        let work = loop {
            match bench.run() {
                Some(work) => break work,
                None => bench.drive(Duration::from_millis(200)),
            }
        };
        let time = if work.job == long { Duration::from_secs(1) } else { Duration::from_millis(1) };
        let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: Bytes::from_static(b"x") };
        let results = work.tasks.iter().map(|task| TaskResult { task, elapsed: time, outcome: Ok(output.clone()) });
        let results: Vec<_> = results.collect();
        bench.core.now = bench.core.now + time * results.len() as u32;
        bench.worker.on_results(&mut bench.core, work.run, results, true);
        bench.drive(Duration::ZERO);
        bench.take_outputs();
        if work.job == long && bench.core.now > Time(0) + Duration::from_secs(4) {
            return;
        }
    }
    panic!("twenty units of the short job ran, and none of the long one");
}

#[test]
fn claims_are_made_ahead_in_a_few_jobs_only() {
    let mut bench = Bench::new();
    for owner in 1..=20 {
        bench.open(&Plan { owner, nonce: u64::from(owner), ..LONG_JOB }, other());
        bench.drive(Duration::from_millis(1));
    }
    bench.run_units(100, Duration::from_millis(500));
    let claiming = bench.worker.jobs.values().filter(|j| j.has_claims()).count();
    assert!(claiming <= 5, "blocks of {claiming} jobs wait here");
}

#[test]
fn jobs_of_one_owner_leave_places_for_those_of_another() {
    let mut bench = Bench::new();
    for nonce in 0..2 * choice::ACTIVE_JOBS as u64 {
        bench.open(&Plan { nonce, ..LONG_JOB }, other());
    }
    let job = bench.open(&Plan { owner: 2, ..LONG_JOB }, other());
    assert!(bench.run_units(20, Duration::from_millis(100)).contains(&job));
}

#[test]
fn jobs_without_progress_give_up_their_places() {
    let mut bench = Bench::new();
    for owner in 0..choice::ACTIVE_JOBS as u8 {
        bench.open(&Plan { owner, module: NOWHERE, ..LONG_JOB }, other());
    }
    let jobs = [100, 101].map(|owner| bench.open(&Plan { owner, ..LONG_JOB }, other()));
    bench.drive(choice::IDLE_JOB + Duration::from_secs(1));
    let ran = bench.run_units(20, Duration::from_millis(100));
    assert!(jobs.iter().all(|job| ran.contains(job)), "{} units ran", ran.len());
}

#[test]
fn the_youngest_job_has_a_place_however_many_jobs_run() {
    let mut bench = Bench::new();
    for owner in 0..choice::ACTIVE_JOBS as u8 - 1 {
        bench.open(&Plan { owner, ..LONG_JOB }, other());
    }
    bench.core.now = bench.core.now + Duration::from_secs(1);
    let job = bench.open(&Plan { owner: 100, ..LONG_JOB }, other());
    assert!(bench.run_units(40, Duration::from_millis(100)).contains(&job));
}

#[test]
fn a_worker_in_many_jobs_publishes_as_often_as_one_in_a_single_job() {
    let said_in_two_minutes = |jobs: u8| {
        let mut bench = Bench::new();
        let neighbours: Vec<PeerKey> = (50..70).map(|n| PeerKey([n; 32])).collect();
        let jobs: Vec<JobId> = (0..jobs).map(|owner| bench.open(&Plan { owner, ..LONG_JOB }, other())).collect();
        let mut said = 0;
        for second in 0..240 {
            for (&job, &from) in jobs.iter().flat_map(|job| neighbours.iter().map(move |n| (job, n))) {
                let number = second + 1;
                let claim = Claim {
                    job,
                    stage: StageId(0),
                    shard: ShardId(0),
                    number,
                    holds: vec![],
                    done: vec![],
                    finished: 0,
                };
                bench.worker.on_claim(&mut bench.core, from, &claim);
            }
            bench.worker.tick(&mut bench.core, &mut bench.blobs);
            bench.run_units(10, Duration::from_millis(100));
            let claims =
                |action: &Action| matches!(action, Action::Net(NetAction::Publish { message: Gossip::Claims(_), .. }));
            // The first messages of a job may be close together.
            said += if second < 120 { 0 } else { bench.actions.iter().filter(|a| claims(a)).count() };
            bench.actions.retain(|a| !claims(a));
        }
        said
    };
    let (one, many) = (said_in_two_minutes(1), said_in_two_minutes(8));
    assert!(one > 0 && many <= 2 * one, "{one} messages in one job, {many} in eight");
}

/// Units that start at once.
fn started(bench: &mut Bench) -> Vec<Work> {
    bench.idle(Duration::from_secs(1));
    std::iter::from_fn(|| bench.run().map(|work| *work)).collect()
}

#[test]
fn a_job_whose_module_is_being_compiled_leaves_places_to_others() {
    let mut bench = Bench::new();
    let first = bench.open(&LONG_JOB, other());
    let mut units: Vec<_> = (0..20).flat_map(|_| started(&mut bench)).collect();
    assert!(units.len() <= 3, "{} units wait for a compiler", units.len());
    let second = bench.open(&Plan { owner: 2, module: 8, ..LONG_JOB }, other());
    units.extend((0..20).flat_map(|_| started(&mut bench)));
    let of_second: Vec<_> = units.iter().filter(|work| work.job == second).collect();
    assert_eq!(of_second.len(), 1, "its module is compiled meanwhile");
    // Its module is loaded.
    bench.results_of(of_second[0], [], false, 1);
    let more: Vec<_> = (0..20).flat_map(|_| started(&mut bench)).collect();
    assert!(!more.is_empty() && more.iter().all(|work| work.job == second), "{} more units", more.len());
    assert!(units.iter().any(|work| work.job == first));
}

#[test]
fn jobs_whose_modules_are_compiled_for_ever_do_not_stop_a_worker() {
    let mut bench = Bench::new();
    let honest = bench.open(&LONG_JOB, other());
    bench.run_units(1, Duration::from_millis(100));
    for owner in 2..22 {
        bench.open(&Plan { owner, nonce: u64::from(owner), module: 10 + owner, ..LONG_JOB }, other());
    }
    let (mut ran, mut waiting) = (0, BTreeSet::new());
    for _ in 0..1000 {
        match bench.run() {
            Some(work) if work.job == honest => {
                ran += 1;
                bench.results(&work, work.tasks.iter(), true);
                bench.drive(Duration::from_millis(100));
                bench.take_outputs();
            }
            Some(work) => drop(waiting.insert(work.job)),
            None => bench.idle(Duration::from_millis(200)),
        }
    }
    assert_eq!(waiting.len(), 20, "modules are compiled");
    assert!(ran > 300, "{ran} units ran beside modules that are compiled for ever");
}

#[test]
fn jobs_of_a_peer_with_many_owners_leave_places_and_time_for_those_of_another() {
    let mut bench = Bench::new();
    for owner in 10..110 {
        bench.open(&Plan { owner, home: 8, ..LONG_JOB }, other());
        bench.core.now = bench.core.now + Duration::from_millis(10);
    }
    bench.run_units(20, Duration::from_secs(1));
    let job = bench.open(&LONG_JOB, other());
    // All places are taken, and most of their jobs have tasks under way.
    for owner in 110..120 {
        bench.core.now = bench.core.now + Duration::from_millis(10);
        bench.open(&Plan { owner, home: 8, ..LONG_JOB }, other());
    }
    let ran = bench.run_units(60, Duration::from_secs(1));
    let own = ran.iter().filter(|&&ran| ran == job).count();
    assert!(own >= 20, "{own} of 60 units");
}
