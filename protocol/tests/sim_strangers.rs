//! Strangers that claim blocks and run nothing, against honest jobs: simulated time with them and without.
#![cfg(feature = "sim")]

use std::time::Duration;

use webmesh_protocol::sim::{Fault, Job, Lie, Report, Scenario, run};

/// Most that a job may take beside strangers, as a multiple of its time without them.
const SLOWER: f64 = 1.5;

/// The identities that claim whatever a job has.
fn strangers(count: u32, lie: Lie) -> Fault {
    Fault::Strangers { count, every: Duration::from_millis(100), until: Duration::from_secs(600), lie }
}

fn run_and_print(scenario: &Scenario) -> Report {
    let report = run(scenario);
    println!("{report}");
    report
}

fn factor(scenario: &Scenario, fault: Fault) -> f64 {
    let alone = run(scenario);
    let beside = run(&scenario.clone().with_fault(Duration::ZERO, fault.clone()));
    let f = beside.jobs[0].took.as_secs_f64() / alone.jobs[0].took.as_secs_f64();
    let (a, b) = (&alone.jobs[0], &beside.jobs[0]);
    println!(
        "{fault:?}: {:?} -> {:?} = {f:.2}; dup {} -> {}, spec {} -> {}; {:?}",
        a.took,
        b.took,
        a.counts.duplicates,
        b.counts.duplicates,
        a.counts.speculative,
        b.counts.speculative,
        beside.violations
    );
    f
}

#[test]
fn explore() {
    for (tasks, millis, peers, threads) in [
        (400, 30, 3, 1),
        (1600, 8, 3, 1),
        (400, 120, 3, 4),
        (60, 200, 3, 1),
        (16, 750, 3, 1),
        (4000, 3, 3, 1),
        (400, 30, 3, 4),
        (2000, 100, 50, 1),
    ] {
        for far in [false, true] {
            println!("tasks {tasks} of {millis} ms, {peers} peers of {threads}, far {far}");
            for seed in [1, 2] {
                let mut scenario =
                    Scenario::new(seed, peers).with(Job::new(tasks, Duration::from_millis(millis), peers));
                scenario.threads = threads;
                scenario.deadline = Duration::from_secs(200);
                if far {
                    scenario = scenario.far_apart();
                }
                for lie in [Lie::Holds, Lie::Done] {
                    factor(&scenario, strangers(50, lie));
                }
            }
        }
    }
}
