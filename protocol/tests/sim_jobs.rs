//! Jobs on small simulated meshes, each with a single kind of fault.
#![cfg(feature = "sim")]

use std::time::Duration;

use webmesh_protocol::message::Outcome;
use webmesh_protocol::sim::{Fault, Job, JobReport, Node, Report, Scenario, run};
use webmesh_protocol::{ShuffleShape, StageId, TaskId};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A seed that no earlier run has used; printed, so that a failure can be replayed.
fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = since.map_or(0, |d| d.as_nanos() as u64 % 1_000_000_000);
    println!("seed {seed}");
    seed
}

/// Runs a scenario with its own seed and with a fresh one; neither may report a violation.
fn run_twice(scenario: Scenario, check: impl Fn(&Report)) {
    for seed in [scenario.seed, fresh_seed()] {
        let report = run(&Scenario { seed, ..scenario.clone() });
        println!("{report}");
        if !report.violations.is_empty() {
            report.log.iter().for_each(|(at, peer, text)| println!("{:9.3} peer {peer}: {text}", at.as_secs_f64()));
        }
        assert!(report.violations.is_empty(), "seed {seed}: {:?}", report.violations);
        check(&report);
    }
}

fn all_done(report: &Report) {
    assert!(report.jobs.iter().all(JobReport::is_done), "seed {}: {report}", report.seed);
}

#[test]
fn a_seed_gives_the_same_trace_each_time() {
    let scenario = Scenario { churn: Some(secs(4)), ..Scenario::new(fresh_seed(), 15) }.far_apart().with(Job::new(
        600,
        millis(300),
        15,
    ));
    let (first, second) = (run(&scenario), run(&scenario));
    assert_eq!(first.trace, second.trace, "the same seed gives another trace");
    assert_eq!((first.time, first.events), (second.time, second.events));
    let other = run(&Scenario { seed: scenario.seed + 1, ..scenario });
    assert_ne!(first.trace, other.trace, "two seeds give the same trace");
}

#[test]
fn three_peers_finish_a_small_job_quickly() {
    let scenario = Scenario::new(1, 3).with(Job::new(60, millis(50), 3));
    run_twice(scenario, |report| {
        all_done(report);
        assert!(report.jobs[0].took < secs(4), "{report}");
    });
}

#[test]
fn ten_short_tasks_on_twenty_peers_take_less_than_300_ms() {
    let mut job = Job { buckets: 8, partitions: 4, warm: true, ..Job::new(10, millis(1), 1) };
    job.at = secs(10);
    let mut scenario = Scenario::new(2, 20).with(job);
    scenario.links.delay = (Duration::from_micros(200), Duration::from_micros(500));
    scenario.links.jitter = Duration::from_micros(100);
    run_twice(scenario, |report| {
        all_done(report);
        assert!(report.jobs[0].took < millis(300), "{report}");
    });
}

#[test]
fn documents_in_packs_reach_their_tasks() {
    let job = Job { pack: Some(50), ..Job::new(2_000, millis(10), 5) };
    run_twice(Scenario::new(3, 5).with(job), all_done);
}

#[test]
fn the_number_of_reduce_tasks_follows_the_bytes_written_even_if_shufflers_are_lost() {
    // Some 2,000 tasks write 24 bytes each into 1,024 buckets; a small `reduce_bytes` gives as many reduce tasks as
    // buckets.
    for (reduce_bytes, least, most) in [(1, 1_024, 1_024), (3_000, 16, 80), (1 << 20, 8, 8)] {
        let job = Job { buckets: 1_024, reduce_bytes, replicas: 2, ..Job::new(2_000, millis(20), 6) };
        let scenario = Scenario { shufflers: 3, ..Scenario::new(43, 8) }
            .with(job)
            .with_fault(secs(8), Fault::KillShuffler(0))
            .with_fault(secs(14), Fault::KillShuffler(0));
        run_twice(scenario, |report| {
            all_done(report);
            let reduces = report.jobs[0].tasks - 2_000;
            assert!((least..=most).contains(&reduces), "{reduces} reduce tasks of {reduce_bytes} bytes: {report}");
        });
    }
}

#[test]
fn two_submitters_at_once_both_get_their_results() {
    let scenario = Scenario { submitters: 2, ..Scenario::new(4, 6) }
        .with(Job::new(300, millis(50), 6))
        .with(Job { submitter: 1, ..Job::new(200, millis(80), 6) });
    run_twice(scenario, all_done);
}

#[test]
fn a_submitter_shuffles_if_the_mesh_has_no_shuffler() {
    let scenario = Scenario { shufflers: 0, ..Scenario::new(5, 4) }.with(Job::new(200, millis(50), 4));
    run_twice(scenario, all_done);
}

#[test]
fn the_tasks_of_a_killed_worker_are_run_by_others() {
    let scenario = Scenario::new(6, 5).with(Job::new(300, millis(200), 5)).with_fault(secs(9), Fault::Kill(4));
    run_twice(scenario, |report| {
        all_done(report);
        assert!(report.jobs[0].took < secs(40), "{report}");
    });
}

#[test]
fn segments_that_only_a_lost_shuffler_held_are_computed_again() {
    let scenario = Scenario { shufflers: 3, ..Scenario::new(7, 8) }
        .with(Job { replicas: 1, ..Job::new(400, millis(200), 8) })
        .with_fault(secs(12), Fault::KillShuffler(0));
    run_twice(scenario, |report| {
        all_done(report);
        assert!(report.jobs[0].counts.after_faults > 0, "nothing was computed again: {report}");
    });
}

#[test]
fn a_replica_takes_over_from_a_lost_shuffler() {
    let scenario = Scenario { shufflers: 3, ..Scenario::new(8, 8) }
        .with(Job { replicas: 2, ..Job::new(400, millis(200), 8) })
        .with_fault(secs(12), Fault::KillShuffler(0));
    run_twice(scenario, |report| {
        all_done(report);
        let again = report.jobs[0].counts.after_faults;
        assert!(again < 40, "{again} tasks were computed again, though a replica held nearly all");
    });
}

#[test]
fn a_shuffler_lost_while_its_partitions_are_reduced_is_replaced() {
    for (seed, replicas) in [(9, 1), (10, 2)] {
        let job = Job { replicas, buckets: 64, ..Job::new(100, millis(200), 6) };
        let mut scenario = Scenario { shufflers: 3, ..Scenario::new(seed, 6) }.with(job);
        // The map stage takes some four seconds; a reduce task takes as long as a map task.
        scenario = scenario.with_fault(secs(10), Fault::KillShuffler(1));
        run_twice(scenario, all_done);
    }
}

#[test]
fn a_job_survives_the_loss_of_all_shufflers() {
    let scenario = Scenario { shufflers: 2, ..Scenario::new(11, 6) }
        .with(Job { replicas: 2, ..Job::new(300, millis(200), 6) })
        .with_fault(secs(10), Fault::KillShuffler(0))
        .with_fault(millis(10_100), Fault::KillShuffler(1));
    run_twice(scenario, all_done);
}

#[test]
fn a_restarted_shuffler_without_its_state_does_not_stall_the_job() {
    // During the map stage and during the reduce stage, each with and without a copy of what was lost.
    for (seed, at, replicas) in [(21, 9, 1), (22, 12, 1), (23, 9, 2), (24, 12, 2)] {
        let job = Job { replicas, buckets: 64, ..Job::new(100, millis(200), 6) };
        let scenario = Scenario { shufflers: 3, ..Scenario::new(seed, 6) }
            .with(job)
            .with_fault(secs(at), Fault::RestartShuffler(1));
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[0].took < secs(40), "{report}");
        });
    }
}

#[test]
fn a_shuffler_whose_disk_fails_is_replaced() {
    for (seed, at, replicas) in [(28, 7, 1), (29, 11, 2)] {
        let scenario = Scenario { shufflers: 3, ..Scenario::new(seed, 6) }
            .with(Job { replicas, buckets: 64, ..Job::new(100, millis(200), 6) })
            .with_fault(secs(at), Fault::FailStore(0));
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[0].took < secs(40), "{report}");
        });
    }
}

#[test]
fn attempts_that_always_differ_do_not_prevent_the_job_from_ending() {
    // Workers die between their pushes to two owners, and those who repeat their tasks write different bytes.
    let job = Job { unrepeatable: true, partitions: 16, buckets: 64, ..Job::new(300, millis(300), 10) };
    let scenario = Scenario { shufflers: 4, churn: Some(millis(1_500)), ..Scenario::new(30, 10) }.far_apart().with(job);
    run_twice(scenario, |report| {
        all_done(report);
        assert!(report.jobs[0].took < secs(90), "{report}");
    });
}

#[test]
fn differing_attempts_lost_with_their_only_shuffler_are_computed_again_with_all_that_depends_on_them() {
    // During the map stage and during the reduce stage, each with a log that is kept and one that is not.
    for (seed, at, kept) in [(31, 9, false), (32, 12, false), (33, 13, true), (34, 14, true)] {
        let job = Job { unrepeatable: true, replicas: 1, kept, buckets: 64, ..Job::new(432, millis(100), 8) };
        let scenario =
            Scenario { shufflers: 3, ..Scenario::new(seed, 8) }.with(job).with_fault(secs(at), Fault::KillShuffler(0));
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[0].took < secs(60), "{report}");
            assert!(report.jobs[0].counts.starts < 4 * 496, "{report}");
        });
    }
}

#[test]
fn reduces_may_feed_shuffles() {
    let shuffle = Some(ShuffleShape { partitions: 4, buckets: 16 });
    let graph = [(vec![], shuffle), (vec![0], shuffle), (vec![1], shuffle), (vec![2], None)];
    let graph: Vec<Node> = graph.map(|(reads, shuffle)| Node::reading(reads, shuffle)).into();
    let job = Job { graph, ..Job::new(200, millis(50), 6) };
    run_twice(Scenario { shufflers: 3, ..Scenario::new(39, 6) }.with(job.clone()), all_done);
    // A shuffler is lost while the later stages run, with attempts that differ from the repeated ones.
    let scenario = Scenario { shufflers: 3, ..Scenario::new(40, 6) }
        .with(Job { unrepeatable: true, task_time: millis(200), ..job })
        .with_fault(secs(15), Fault::KillShuffler(0));
    run_twice(scenario, all_done);
}

#[test]
fn a_stage_may_read_several_shuffles_and_a_shuffle_may_have_several_readers() {
    let shuffle = Some(ShuffleShape { partitions: 4, buckets: 16 });
    let reads = [vec![], vec![], vec![0], vec![1, 0], vec![2, 3]];
    let graph: Vec<Node> = (0..).zip(reads).map(|(n, reads)| Node::reading(reads, shuffle.filter(|_| n < 4))).collect();
    let job = Job { graph, reduce_bytes: 200, ..Job::new(200, millis(50), 6) };
    run_twice(Scenario { shufflers: 3, ..Scenario::new(42, 6) }.with(job.clone()), all_done);
    // Differing attempts are lost with their only shuffler while they are read: all readers run again.
    for (seed, at) in [(43, 8), (44, 15), (45, 25), (46, 40)] {
        let job = Job { unrepeatable: true, task_time: millis(200), ..job.clone() };
        let scenario =
            Scenario { shufflers: 3, ..Scenario::new(seed, 6) }.with(job).with_fault(secs(at), Fault::KillShuffler(0));
        run_twice(scenario, all_done);
    }
}

#[test]
fn a_shuffler_waiting_for_another_source_does_not_count_as_stalled() {
    let shuffle = Some(ShuffleShape { partitions: 4, buckets: 16 });
    let graph = [(vec![], shuffle), (vec![], shuffle), (vec![0, 1], None)];
    let graph = graph.map(|(reads, shuffle)| Node::reading(reads, shuffle)).into();
    // Each map stage takes two peers two minutes, so one is written long before the other.
    let job = Job { graph, reduce_bytes: 1 << 20, ..Job::new(240, secs(1), 2) };
    run_twice(Scenario { shufflers: 2, ..Scenario::new(47, 2) }.with(job), |report| {
        all_done(report);
        // A stalled shuffler is replaced after a minute.
        assert!(report.jobs[0].took > secs(180), "{report}");
        let lost = report.log.iter().find(|(_, _, text)| text.contains("lost shuffler"));
        assert_eq!(lost, None);
        assert_eq!(report.jobs[0].tasks, 2 * 240 + 4, "all that is read together makes one task for each partition");
    });
}

#[test]
fn a_map_may_give_the_result() {
    let graph = vec![Node { reads: vec![], shuffle: None }];
    let job = Job { graph, pack: Some(20), ..Job::new(300, millis(50), 5) };
    run_twice(Scenario::new(41, 5).with(job), all_done);
}

#[test]
fn a_killed_home_resumes_its_job_from_the_log() {
    // During the map stage and during the reduce stage; for a moment, and for so long that other peers forget the job.
    for (seed, at, down) in [(35, 8, 1), (36, 12, 1), (37, 8, 60), (38, 12, 60)] {
        let job = Job { kept: true, buckets: 64, ..Job::new(300, millis(200), 6) };
        let scenario = Scenario { shufflers: 3, ..Scenario::new(seed, 6) }
            .with(job)
            .with_fault(secs(at), Fault::RestartHome(secs(down), None));
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[0].took < secs(60 + 2 * down), "{report}");
        });
    }
}

#[test]
fn a_hanging_shuffler_is_replaced_within_seconds() {
    for (seed, shufflers) in [(25, 3), (26, 1)] {
        let scenario = Scenario { shufflers, ..Scenario::new(seed, 6) }
            .with(Job { buckets: 64, ..Job::new(100, millis(200), 6) })
            .with_fault(secs(7), Fault::HangShuffler(0));
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[0].took < secs(60), "{report}");
        });
    }
}

#[test]
fn a_shuffler_cut_off_for_ever_delays_the_job_by_some_ten_seconds() {
    // During the map stage and during the reduce stage, each with and without a copy of what was lost. A TCP connection
    // stays open for 28 s after it was cut.
    for (seed, at, replicas) in [(44, 8, 1), (45, 12, 1), (46, 8, 2), (47, 12, 2)] {
        let job = Job { replicas, buckets: 64, ..Job::new(150, millis(200), 6) };
        let mut scenario = Scenario { shufflers: 4, ..Scenario::new(seed, 6) }.with(job);
        scenario.links.silence = secs(28);
        run_twice(scenario.with_fault(secs(at), Fault::CutShuffler(0)), |report| {
            all_done(report);
            let job = &report.jobs[0];
            assert!(job.standstill < secs(14), "{report}");
            // The user is told before the shuffler is replaced, at most ten seconds after the fault.
            let told = job.waits.iter().find(|(_, why)| why.starts_with("shuffler") && why.contains("not answered"));
            let is_told = told.is_some_and(|(after, _)| *after < secs(at - 5 + 10));
            // A job that has stalled for less than four seconds has nothing to tell.
            assert!(is_told || job.standstill < secs(5), "{:?}: {report}", job.waits);
        });
    }
}

#[test]
fn full_disks_of_all_shufflers_delay_the_job_by_some_seconds() {
    for (seed, at, shufflers) in [(48, 6, 2), (49, 9, 3), (50, 9, 5)] {
        let scenario = Scenario { shufflers, ..Scenario::new(seed, 6) }
            .with(Job { replicas: 2, buckets: 64, ..Job::new(150, millis(200), 6) })
            .with_fault(secs(at), Fault::FillDisks(0..6));
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[0].standstill < secs(8), "{report}");
        });
    }
}

#[test]
fn a_cancelled_job_is_dropped_by_everyone() {
    let job = Job { cancelled_after: Some(secs(4)), ..Job::new(1_000, millis(500), 6) };
    run_twice(Scenario::new(12, 6).with(job), |report| {
        assert_eq!(report.jobs[0].outcome, Some(Outcome::Cancelled), "{report}");
        assert!(report.busy.len() <= 6, "tasks ran after the fourth second: {report}");
    });
}

#[test]
fn a_task_that_always_fails_ends_the_job_after_its_retries_and_names_the_document() {
    let job = Job { fails: Some(TaskId(37)), retries: 2, ..Job::new(100, millis(50), 5) };
    run_twice(Scenario::new(13, 5).with(job), |report| {
        let job = &report.jobs[0];
        assert!(matches!(&job.outcome, Some(Outcome::Failed(why)) if why.contains("fails everywhere")), "{report}");
        let failure = job.failure.as_ref().expect("the failure that ended it");
        assert_eq!((failure.stage, failure.task, failure.document), (StageId(0), TaskId(37), Some(0)));
        assert!(job.counts.after_faults >= 2, "it was not tried again: {report}");
    });
}

#[test]
fn a_task_that_fails_on_the_one_worker_with_enough_memory_ends_the_job_after_its_retries() {
    let job = Job { fails: Some(TaskId(3)), retries: 3, ..Job::new(20, millis(50), 8) };
    run_twice(Scenario { small: 7, ..Scenario::new(33, 8) }.with(job), |report| {
        let job = &report.jobs[0];
        assert!(matches!(&job.outcome, Some(Outcome::Failed(why)) if why.contains("fails everywhere")), "{report}");
        assert!(job.counts.after_faults <= 4, "it was tried again and again: {report}");
        assert!(job.took < secs(10), "{report}");
    });
}

#[test]
fn a_submitter_that_sleeps_longer_than_an_announcement_lives_still_gets_its_result() {
    for (seed, shufflers, replicas) in [(34, 2, 1), (35, 3, 2), (36, 0, 1)] {
        let scenario = Scenario { shufflers, ..Scenario::new(seed, 6) }
            .with(Job { replicas, ..Job::new(200, millis(200), 6) })
            .with_fault(secs(8), Fault::SubmitterSleeps(0, secs(40)));
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[0].took < secs(100), "{report}");
        });
    }
}

#[test]
fn workers_and_shufflers_that_slept_take_part_again() {
    // Shorter and longer than a lease, and than the lifetime of an announcement.
    for (seed, time) in [(37, 5), (38, 15), (39, 45)] {
        let scenario = Scenario { shufflers: 3, ..Scenario::new(seed, 6) }
            .with(Job { replicas: 2, ..Job::new(300, millis(500), 6) })
            .with_fault(secs(8), Fault::Sleep(0, secs(time)))
            .with_fault(secs(10), Fault::Sleep(5, secs(time)));
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[0].took < secs(100), "{report}");
        });
    }
}

#[test]
fn a_job_continues_after_the_whole_mesh_slept() {
    let mut scenario = Scenario::new(40, 5).with(Job::new(200, millis(200), 5));
    scenario = scenario.with_fault(secs(8), Fault::SubmitterSleeps(0, secs(50)));
    for worker in 0..5 {
        scenario = scenario.with_fault(secs(8), Fault::Sleep(worker, secs(50)));
    }
    run_twice(scenario, all_done);
}

#[test]
fn a_job_survives_the_loss_of_a_fifth_of_all_messages() {
    let mut scenario = Scenario::new(14, 8).with(Job::new(300, millis(100), 8));
    scenario.links.loss = 0.2;
    run_twice(scenario, |report| {
        all_done(report);
        assert!(report.jobs[0].took < secs(40), "{report}");
    });
}

#[test]
fn a_late_joiner_takes_part() {
    let alone = run(&Scenario::new(15, 1).with(Job::new(200, millis(200), 1)));
    let helped = run(&Scenario::new(15, 1).with(Job::new(200, millis(200), 1)).with_fault(secs(10), Fault::Join(4)));
    assert!(alone.violations.is_empty() && helped.violations.is_empty(), "{alone}{helped}");
    assert!(helped.jobs[0].took < alone.jobs[0].took.mul_f64(0.6), "{alone}{helped}");
}

#[test]
fn a_goodbye_frees_claims_at_once() {
    let scenario = || Scenario::new(16, 2).with(Job::new(40, secs(1), 2));
    let left = run(&scenario().with_fault(secs(15), Fault::Leave(1)));
    let killed = run(&scenario().with_fault(secs(15), Fault::Kill(1)));
    println!("{left}{killed}");
    assert!(left.violations.is_empty() && killed.violations.is_empty());
    all_done(&left);
    all_done(&killed);
    assert!(
        left.jobs[0].took <= killed.jobs[0].took,
        "a goodbye frees claims no sooner than an expired lease: {left}{killed}"
    );
}

#[test]
fn peers_that_were_cut_off_take_part_again() {
    let scenario = Scenario { shufflers: 3, ..Scenario::new(17, 9) }
        .with(Job { replicas: 2, ..Job::new(600, millis(200), 9) })
        .with_fault(secs(9), Fault::Cut(0..4))
        .with_fault(secs(25), Fault::Heal);
    run_twice(scenario, all_done);
}

#[test]
fn a_job_survives_workers_that_come_and_go() {
    let scenario = Scenario { churn: Some(secs(2)), ..Scenario::new(18, 12) }.with(Job::new(500, millis(500), 12));
    run_twice(scenario, all_done);
}

#[test]
fn a_short_job_does_not_wait_behind_a_long_one() {
    // One worker has ten minutes of work; then comes one second of work, of another submitter or of the same one.
    for submitter in [0, 1] {
        let scenario = Scenario { submitters: 2, ..Scenario::new(19, 1) }.with(Job::new(600, secs(1), 1)).with(Job {
            at: secs(60),
            submitter,
            partitions: 1,
            buckets: 1,
            ..Job::new(10, millis(100), 1)
        });
        run_twice(scenario, |report| {
            all_done(report);
            assert!(report.jobs[1].took < secs(10), "{report}");
        });
    }
}

#[test]
fn slow_workers_tasks_get_second_attempts() {
    // In some meshes no idle peer is faster.
    let seed = fresh_seed();
    let meshes = (seed..seed + 10).map(|seed| Scenario { slowest: 60.0, ..Scenario::new(seed, 16) });
    let reports: Vec<Report> = meshes.map(|mesh| run(&mesh.with(Job::new(64, millis(500), 16)))).collect();
    reports.iter().for_each(|report| assert!(report.violations.is_empty(), "{report}"));
    reports.iter().for_each(all_done);
    let stepped_in = reports.iter().filter(|report| report.jobs[0].counts.speculative > 0).count();
    assert!(stepped_in >= 5, "second attempts were made in only {stepped_in} of ten meshes");
}
