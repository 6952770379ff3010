//! Claims on simulated meshes with long delays: repeated work, messages, and utilisation of the mesh.
#![cfg(feature = "sim")]

use std::time::Duration;

use webmesh_protocol::sim::{Job, JobReport, Report, Scenario, run};

/// Upper bound on the share of tasks that run twice without a fault.
const DUPLICATES: f64 = 0.01;
/// Upper bound on control messages delivered per peer and second, duplicates included.
const MESSAGES: f64 = 50.0;

fn run_and_print(scenario: &Scenario) -> Report {
    let report = run(scenario);
    println!("{report}");
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert!(report.jobs.iter().all(JobReport::is_done));
    for job in &report.jobs {
        assert!(job.duplicates() < DUPLICATES, "{:.2} % of the tasks ran twice", 100.0 * job.duplicates());
    }
    report
}

#[test]
fn a_hundred_peers_rarely_repeat_work() {
    for seed in [1, 2] {
        let scenario = Scenario::new(seed, 100).far_apart().with(Job::new(10_000, Duration::from_secs(1), 100));
        let report = run_and_print(&scenario);
        assert!(report.messages_mean < MESSAGES, "{report}");
    }
}

#[test]
fn slow_and_fast_peers_share_the_work() {
    let scenario = Scenario { slowest: 4.0, ..Scenario::new(3, 50) }.far_apart().with(Job::new(
        5_000,
        Duration::from_millis(500),
        50,
    ));
    let report = run_and_print(&scenario);
    assert!(report.jobs[0].took < report.jobs[0].ideal * 2, "{report}");
}

#[test]
fn a_thousand_peers_run_two_hundred_thousand_tasks_once_each() {
    let scenario = Scenario { shufflers: 16, ..Scenario::new(4, 1_000) }.far_apart().with(Job {
        partitions: 16,
        buckets: 1_008,
        ..Job::new(200_000, Duration::from_secs(1), 1_000)
    });
    let report = run_and_print(&scenario);
    assert!(report.messages_mean < MESSAGES, "{report}");
    assert!(report.jobs[0].took < report.jobs[0].ideal * 2, "{report}");
}
