//! `make bench`: the figures of `docs/benchmarks.md`, measured with the binaries as users run them.
//!
//! Each figure is the median of some runs; the machine's noise is their spread. The corpus is made once and kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use webmesh_tests::corpus;
use webmesh_tests::process::{Server, binary, example};

/// Distinct words that the 1 GB corpus draws from: some 1.6 million of them come up.
const WORDS: u64 = 1_700_000;
const SEED: u64 = 2019;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let place =
        std::env::var_os("WEBMESH_BENCH_DIR").map_or_else(|| std::env::temp_dir().join("webmesh-bench"), PathBuf::from);
    println!("cores: {}", std::thread::available_parallelism().map_or(0, usize::from));
    println!("| what | median | least | most | peak memory |\n|---|---|---|---|---|");
    let fast = example("wordcount/wordcount_fast.cpp");
    if is_wanted("gb") {
        let corpus = reviews(&place, "gb", 2_000, 500_000);
        let embedded = report("1 GB, fast form, embedded", &run(&place, &fast, &corpus, &[], 3));
        report("1 GB, thesis form, embedded", &run(&place, &example("wordcount/wordcount.cpp"), &corpus, &[], 3));
        let two =
            report("1 GB, fast form, two nodes and a submitter", &through_nodes(&place, &fast, &corpus, 2, &[], 3));
        println!("\ntwo nodes against embedded: {:.2} x\n", two / embedded);
    }
    if is_wanted("files") {
        for (files, bytes) in [(100_000, 5_000), (10_000, 50_000), (1_000, 500_000)] {
            let corpus = reviews(&place, &format!("500mb-{files}"), files, bytes);
            report(&format!("500 MB in {files} files, embedded"), &run(&place, &fast, &corpus, &[], 5));
        }
    }
    if is_wanted("tasks") {
        let lines = lines(&place);
        let one = ["--chunk", "1", "--docs-per-task", "1", "--peers", "2", "--threads", "1"];
        report("200,000 tasks of a line, 2 peers", &run(&place, &fast, &lines, &one, 3));
        let packed = ["--chunk", "1", "--peers", "2", "--threads", "1"];
        report("200,000 lines in default tasks, 2 peers", &run(&place, &fast, &lines, &packed, 3));
    }
    if is_wanted("small") {
        report("ten tasks, 20 nodes, module cached, joining and leaving included", &ten_tasks(&place));
    }
}

/// One run: from start to exit, with the peak memory of its processes.
struct Run {
    wall: Duration,
    peak: u64,
}

fn report(what: &str, runs: &[Run]) -> f64 {
    let mut walls: Vec<f64> = runs.iter().map(|r| r.wall.as_secs_f64()).collect();
    walls.sort_by(f64::total_cmp);
    let peak = runs.iter().map(|r| r.peak).max().unwrap_or(0);
    let median = walls[walls.len() / 2];
    println!("| {what} | {median:.2} s | {:.2} | {:.2} | {} MiB |", walls[0], walls[walls.len() - 1], peak >> 20);
    median
}

fn reviews(place: &Path, name: &str, files: u32, bytes: usize) -> PathBuf {
    let dir = place.join(name);
    if !dir.with_extension("complete").exists() {
        corpus::reviews(&dir, files, bytes, WORDS, SEED).expect("the corpus can be written");
        std::fs::write(dir.with_extension("complete"), "").expect("the corpus can be marked");
    }
    dir
}

fn lines(place: &Path) -> PathBuf {
    let file = place.join("lines.txt");
    std::fs::create_dir_all(place).expect("a folder");
    let mut random = corpus::Random::new(SEED);
    let text: String = (0..200_000)
        .map(|_| {
            let words: Vec<String> = (0..10).map(|_| corpus::word(corpus::rank(&mut random, 10_000))).collect();
            words.join(" ") + "\n"
        })
        .collect();
    std::fs::write(&file, text).expect("the lines can be written");
    file
}

fn run(place: &Path, job: &Path, input: &Path, more: &[&str], times: usize) -> Vec<Run> {
    let command = || {
        let mut command = Command::new(binary("webmesh"));
        command.arg("run").arg(job).arg(input).args(more).arg("-o").arg(place.join("result.tsv"));
        command.arg("--data").arg(place.join("data"));
        command
    };
    // Once before, so that module, its machine code and the corpus are in their caches.
    measure(&mut command(), &[]);
    (0..times).map(|_| measure(&mut command(), &[])).collect()
}

fn through_nodes(place: &Path, job: &Path, input: &Path, count: usize, more: &[&str], times: usize) -> Vec<Run> {
    let data = |i: usize| place.join(format!("node{i}"));
    let first = Server::node(&data(0), &[], &["--roles", "worker,shuffler,compiler"]);
    let mut nodes = vec![first];
    for i in 1..count {
        let node = Server::node(&data(i), &[&nodes[0].address], &[]);
        nodes.push(node);
    }
    let pids: Vec<u32> = nodes.iter().map(Server::pid).collect();
    let command = || {
        let mut command = Command::new(binary("webmesh"));
        command.arg("submit").arg(job).arg(input).args(more).arg("-o").arg(place.join("result.tsv"));
        command.args(["--bootstrap", &nodes[0].address, "--data"]).arg(place.join("data"));
        command
    };
    measure(&mut command(), &pids);
    (0..times).map(|_| measure(&mut command(), &pids)).collect()
}

fn ten_tasks(place: &Path) -> Vec<Run> {
    let input = place.join("ten.txt");
    std::fs::create_dir_all(place).expect("a folder");
    std::fs::write(&input, "a line of some words\n".repeat(10)).expect("the lines can be written");
    let more = ["--chunk", "1", "--docs-per-task", "1"];
    through_nodes(place, &example("wordcount/wordcount_fast.cpp"), &input, 20, &more, 5)
}

/// Runs a command, and watches its memory and that of `others` until it ends.
fn measure(command: &mut Command, others: &[u32]) -> Run {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    let pid = child.id();
    let (mut own, mut peak) = (0, 0);
    let status = loop {
        own = high_water(pid).unwrap_or(own);
        peak = peak.max(own + others.iter().filter_map(|&p| high_water(p)).sum::<u64>());
        if let Some(status) = child.try_wait().expect("the command can be waited for") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{command:?} failed: {status}");
    Run { wall: started.elapsed(), peak }
}

/// The most memory that a process has had resident, in bytes.
fn high_water(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
