//! Benchmarks within this process: the compile service, and simulated meshes.

use std::time::{Duration, Instant};

use webmesh_compiler::{Compiler, CompilerConfig, Toolchain};
use webmesh_protocol::sim::{Job, Scenario, run};
use webmesh_tests::process::example;

use crate::Bench;
use crate::measure::{number, times};

/// The word count, compiled anew, and from the cache.
pub(crate) fn compile(bench: &Bench) {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let toolchain = Toolchain::find(None).unwrap_or_else(|why| panic!("{why}"));
    let compiler = Compiler::new(toolchain, CompilerConfig::new(cache.path().to_owned())).expect("it starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let word_count = std::fs::read_to_string(example("wordcount/wordcount.cpp")).expect("the example is there");
    let compile = |source: &str, cached: bool| {
        let started = Instant::now();
        let compiling = compiler.compile([0; 32], "wordcount.cpp", source.as_bytes());
        let compiled = runtime.block_on(compiling).expect("the word count compiles");
        assert_eq!(compiled.cached, cached);
        started.elapsed()
    };
    let (mut new, mut cached) = (Vec::new(), Vec::new());
    for round in 0..bench.times(9) {
        let source = format!("// {round}\n{word_count}");
        new.push(compile(&source, false));
        cached.push(compile(&source, true));
    }
    times("compile of the word count, new", "1 s", new, "");
    times("compile of the word count, from the cache", "20 ms", cached, "");
}

/// Tasks run twice, and messages, in simulated meshes with delays of 50 to 200 ms.
pub(crate) fn simulated(bench: &Bench) {
    for seed in [1, 2, 3].into_iter().take(bench.times(3)) {
        let job = Job::new(bench.many(10_000), Duration::from_secs(1), 100);
        simulate("100 peers, 10,000 tasks", &Scenario::new(seed, 100).far_apart().with(job));
    }
    // The maximum number of shufflers of a job, and about one reduce task for each peer.
    let (peers, tasks) = if bench.smoke { (100, 2_000) } else { (1_000, 200_000) };
    let job = Job { partitions: 16, buckets: 1_008, ..Job::new(tasks, Duration::from_secs(1), peers) };
    let scenario = Scenario { shufflers: 16, ..Scenario::new(1, peers) };
    simulate("1,000 peers, 200,000 tasks", &scenario.far_apart().with(job));
}

fn simulate(what: &str, scenario: &Scenario) {
    let report = run(scenario);
    assert!(report.violations.is_empty(), "{report}");
    let job = &report.jobs[0];
    assert!(job.is_done(), "{report}");
    let what = format!("simulated, seed {}: {what}", report.seed);
    let (took, ideal) = (job.took.as_secs_f64(), job.ideal.as_secs_f64());
    let share = |tasks: f64| format!("{:.3} %", 100.0 * tasks / f64::from(job.tasks));
    number(&format!("{what}: tasks run twice without a fault"), "under 1 %", &share(job.counts.duplicates as f64));
    number(&format!("{what}: second attempts of stragglers"), "", &share(job.counts.speculative as f64));
    let (mean, most) = (report.messages_mean, report.messages_most);
    number(
        &format!("{what}: messages delivered to a peer in a second"),
        "50",
        &format!("{mean:.1} on average, {most:.1} at most"),
    );
    number(&format!("{what}: time"), "", &format!("{took:.1} s; {ideal:.1} s of work"));
}
