//! Large inputs on an embedded mesh, and on two nodes.

use std::path::{Path, PathBuf};
use std::process::Command;

use webmesh_tests::corpus;
use webmesh_tests::process::{binary, example};

use crate::Bench;
use crate::measure::{self, Run, number, report};
use crate::mesh::Nodes;

/// Vocabulary of the corpora: some 1.6 million of these words occur in 1 GB.
const WORDS: u64 = 1_700_000;
/// Seed of all corpora.
pub(crate) const SEED: u64 = 2019;

/// 1 GB of review-like JSON in 2,000 files: the fast form, the vector form, and the fast one through two nodes.
pub(crate) fn gigabyte(bench: &Bench) {
    let (fast, vectors) = (example("wordcount/wordcount_fast.cpp"), example("wordcount/wordcount.cpp"));
    let corpus = reviews(bench, "gb", 2_000, 500_000);
    let run = |job: &Path| embedded(bench, job, &corpus, &[], 3);
    let embedded = report("1 GB, fast form", "20 s, 1024 MiB", &run(&fast), |r| r.wall);
    report("1 GB, vector form", "30 s", &run(&vectors), |r| r.wall);
    let two = Nodes::start(bench, 2, &[]).submit(&fast, &corpus, &[], 3);
    let two = report("1 GB, fast form, two nodes and a submitter", "1.3 x embedded", &two, |r| r.wall);
    number("1 GB: two nodes against embedded", "1.30", &format!("{:.2} x", two / embedded));
}

/// 500 MB in few files and in many.
pub(crate) fn many_files(bench: &Bench) {
    let fast = example("wordcount/wordcount_fast.cpp");
    let cuts = [("100,000", 100_000, 5_000), ("10,000", 10_000, 50_000), ("1,000", 1_000, 500_000)];
    let medians = cuts.map(|(name, files, bytes)| {
        let corpus = reviews(bench, &format!("500mb-{files}"), files, bytes);
        let runs = embedded(bench, &fast, &corpus, &[], 5);
        report(&format!("500 MB in {name} files, from ready"), "", &runs, |r| r.from_ready)
    });
    let most = medians.iter().copied().fold(f64::MIN, f64::max);
    let least = medians.iter().copied().fold(f64::MAX, f64::min);
    let apart = 100.0 * (most / least - 1.0);
    number("500 MB: slowest compared with fastest", "within 15 %", &format!("{apart:.0} % apart"));
}

/// Runs a job on an embedded mesh, after a warm-up that fills the caches of modules, machine code and files.
pub(crate) fn embedded(bench: &Bench, job: &Path, input: &Path, more: &[&str], times: usize) -> Vec<Run> {
    let command = || {
        let mut command = Command::new(binary("webmesh"));
        command.arg("run").arg(job).arg(input).args(more).arg("-o").arg(bench.path("result.tsv"));
        command.arg("--data").arg(bench.path("data"));
        command
    };
    measure::run(&mut command(), &[]);
    (0..bench.times(times)).map(|_| measure::run(&mut command(), &[])).collect()
}

/// Creates a corpus of `files` files of `bytes` bytes each, unless it exists.
fn reviews(bench: &Bench, name: &str, files: u32, bytes: usize) -> PathBuf {
    let dir = bench.path(name);
    if !dir.with_extension("complete").exists() {
        corpus::reviews(&dir, bench.many(files), bytes, WORDS, SEED).expect("the corpus can be written");
        std::fs::write(dir.with_extension("complete"), "").expect("the corpus can be marked");
    }
    dir
}
