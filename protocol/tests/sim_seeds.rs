//! Small simulated meshes with random faults, drawn from seeds.
//!
//! `SIM_SEEDS=1000 cargo test -p webmesh-protocol --release --features sim --test sim_seeds` tries more of them;
//! `SIM_FROM` is the first seed.
#![cfg(feature = "sim")]

use webmesh_protocol::sim::{Scenario, run};

/// Number of seeds tried by default: half of them fixed, half never tried before.
const SEEDS: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_job_ends_with_the_right_result_whatever_faults_occur() {
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = number("SIM_FROM").unwrap_or(since.map_or(0, |d| d.as_nanos() as u64 % 1_000_000_000));
    let mut failed = Vec::new();
    for seed in (0..seeds / 2).chain(fresh..fresh + seeds.div_ceil(2)) {
        let report = run(&Scenario::random(seed));
        if !report.violations.is_empty() || !report.jobs.iter().all(|job| job.is_done() || job.log_is_lost) {
            println!(
                "{report}\nreplay: cargo run --release -p webmesh-protocol --features sim --example simulate -- --random --log --seed {seed}"
            );
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed");
}
