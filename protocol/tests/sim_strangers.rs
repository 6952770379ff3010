//! Strangers that claim blocks and run nothing, against honest jobs: simulated time with them and without.
#![cfg(feature = "sim")]

use std::time::Duration;

use webmesh_protocol::sim::{Fault, Job, JobReport, Lie, Report, Scenario, run};

/// Most that jobs may take beside strangers, as a multiple of their time without them: the mean over all seeds.
const SLOWER: f64 = 1.4;
/// The same for each job: many blocks that run beside late workers begin at random places, and some meet.
const SLOWEST: f64 = 1.6;
/// The most copies of a task that may run beside strangers, on average.
const COPIES: f64 = 1.5;

/// Fifty identities that claim whatever a job has, until `until`.
fn strangers(lie: Lie, until: Duration) -> Fault {
    Fault::Strangers { count: 50, every: Duration::from_millis(100), until, lie }
}

fn done(scenario: &Scenario) -> Report {
    let report = run(scenario);
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.jobs.iter().all(JobReport::is_done), "{report}");
    report
}

/// Compares the first job of a scenario with the same beside strangers.
fn all_are_finished_in_time(scenario: &Scenario, seeds: &[u64]) {
    let mut factors = Vec::new();
    for &seed in seeds {
        let scenario = Scenario { seed, ..scenario.clone() };
        let alone = &done(&scenario).jobs[0];
        for lie in [Lie::Holds, Lie::Done] {
            let beside = done(&scenario.clone().with_fault(Duration::ZERO, strangers(lie, Duration::from_secs(600))));
            let job = &beside.jobs[0];
            let factor = job.took.as_secs_f64() / alone.took.as_secs_f64();
            let copies = job.counts.starts as f64 / f64::from(job.tasks);
            println!("seed {seed}, {lie:?}: {:?}, alone {:?}: {factor:.2}, {copies:.2} copies", job.took, alone.took);
            assert!(factor < SLOWEST, "{factor:.2} times as long: {beside}");
            assert!(copies < COPIES, "{copies:.2} copies of each task: {beside}");
            factors.push(factor);
        }
    }
    let mean = factors.iter().sum::<f64>() / factors.len() as f64;
    assert!(mean < SLOWER, "{mean:.2} times as long on average");
}

#[test]
fn fifty_strangers_do_not_stop_three_honest_workers() {
    let job = Job::new(400, Duration::from_millis(30), 3);
    all_are_finished_in_time(&Scenario::new(0, 3).with(job), &[1, 2, 3, 4]);
}

#[test]
fn fifty_strangers_do_not_stop_a_job_of_many_short_tasks() {
    let job = Job::new(1_600, Duration::from_millis(8), 3);
    all_are_finished_in_time(&Scenario::new(0, 3).with(job), &[1, 2, 3, 4]);
}

#[test]
fn fifty_strangers_do_not_stop_a_job_of_few_long_tasks() {
    let job = Job::new(16, Duration::from_millis(750), 3);
    all_are_finished_in_time(&Scenario::new(0, 3).with(job), &[1, 2, 3, 4]);
}

#[test]
fn fifty_strangers_do_not_stop_workers_with_several_threads() {
    let job = Job::new(400, Duration::from_millis(120), 3);
    all_are_finished_in_time(&Scenario { threads: 4, ..Scenario::new(0, 3) }.with(job), &[1, 2, 3, 4]);
}

#[test]
fn fifty_strangers_do_not_stop_workers_far_apart() {
    let job = Job::new(400, Duration::from_millis(60), 3);
    all_are_finished_in_time(&Scenario::new(0, 3).far_apart().with(job), &[1, 2, 3, 4]);
}

#[test]
fn fifty_strangers_do_not_stop_fifty_honest_workers() {
    let job = Job::new(2_000, Duration::from_millis(200), 50);
    all_are_finished_in_time(&Scenario::new(0, 50).with(job), &[1, 2]);
}

#[test]
fn a_job_ten_seconds_after_the_strangers_left_takes_as_long_as_ever() {
    let job = Job::new(400, Duration::from_millis(30), 3);
    let scenario = Scenario::new(5, 3).with(job.clone()).with(Job { at: Duration::from_secs(30), ..job });
    let alone = done(&scenario);
    for lie in [Lie::Holds, Lie::Done] {
        let left = strangers(lie, Duration::from_secs(20));
        let after = done(&scenario.clone().with_fault(Duration::ZERO, left));
        let [took, usual] = [&after, &alone].map(|report| report.jobs[1].took);
        assert!(took < usual * 11 / 10, "{took:?}, otherwise {usual:?}");
    }
}
