//! Workers among many jobs: whose turn it is, and what all of them say.
#![cfg(feature = "sim")]

use std::time::Duration;

use webmesh_protocol::sim::{Job, JobReport, Report, Scenario, run};

/// Claims delivered to a peer in a second, duplicates included, at most: those with which all workers find their pace
/// in eight jobs at once come on top of the fifty that are the budget. Where each job keeps the budget for itself,
/// they are 147.
const CLAIMS: f64 = 100.0;

fn run_and_print(scenario: &Scenario) -> Report {
    let report = run(scenario);
    println!("{report}");
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert!(report.jobs.iter().all(JobReport::is_done), "{report}");
    report
}

#[test]
fn eight_jobs_at_once_use_the_mesh_and_say_little_more_than_one() {
    let mut scenario = Scenario { submitters: 4, ..Scenario::new(31, 20) };
    for number in 0..8 {
        let job = Job { submitter: number % 4, ..Job::new(400, Duration::from_millis(500), 20) };
        scenario = scenario.with(job);
    }
    let report = run_and_print(&scenario);
    let [_, _, (_, claims)] = report.traffic;
    let claims = claims as f64 / report.time.as_secs_f64() / f64::from(scenario.peers);
    assert!(claims < CLAIMS, "{claims} claims are delivered to a peer in a second");
    let ideal: Duration = report.jobs.iter().map(|job| job.ideal).sum();
    assert!(report.time < ideal * 2, "{:?}, where all threads together need {ideal:?}", report.time);
    for job in &report.jobs {
        assert!(job.duplicates() < 0.03, "{:.2} % of the tasks ran twice", 100.0 * job.duplicates());
    }
}

#[test]
fn one_owners_forty_jobs_do_not_keep_anothers_short_one_waiting() {
    let mut scenario = Scenario { submitters: 2, ..Scenario::new(32, 4) };
    for _ in 0..40 {
        scenario = scenario.with(Job { buckets: 8, ..Job::new(20, Duration::from_millis(200), 4) });
    }
    let short =
        Job { submitter: 1, at: Duration::from_secs(15), buckets: 8, ..Job::new(20, Duration::from_millis(100), 4) };
    let report = run_and_print(&scenario.with(short));
    assert!(report.jobs[40].took < Duration::from_secs(15), "{report}");
    let twice: u64 = report.jobs.iter().map(|job| job.counts.duplicates).sum();
    assert!(twice < 15, "{twice} of 1,148 tasks ran twice");
}

#[test]
fn messages_that_are_lost_make_few_tasks_run_twice() {
    let mut scenario = Scenario::new(33, 20).with(Job::new(2_000, Duration::from_millis(300), 20));
    scenario.links.loss = 0.1;
    let report = run_and_print(&scenario);
    let share = report.jobs[0].duplicates();
    assert!(share < 0.03, "{:.2} % of the tasks ran twice", 100.0 * share);
}
