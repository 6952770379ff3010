//! Very many tasks, and very few, on real nodes.

use std::path::{Path, PathBuf};
use std::process::Command;

use webmesh_tests::corpus::lines;
use webmesh_tests::process::{Server, assert_success, binary, example, gossip_delivered, output};

use crate::Bench;
use crate::jobs::{SEED, embedded};
use crate::measure::{self, Run, number, report};

/// Maximum number of polls until all nodes know each other.
const LOOKS: usize = 20;

/// Nodes on loopback, each a process with one thread; the first has a compiler.
pub(crate) struct Nodes<'a> {
    bench: &'a Bench,
    servers: Vec<Server>,
}

impl<'a> Nodes<'a> {
    /// Starts `count` nodes with the arguments `more`, and waits until all of them know each other.
    pub(crate) fn start(bench: &'a Bench, count: usize, more: &[&str]) -> Self {
        let data = |i: usize| bench.path(&format!("node{i}"));
        let first = Server::node(&data(0), &[], &[&["--roles", "worker,shuffler,compiler"], more].concat());
        let mut nodes = Self { bench, servers: vec![first] };
        for i in 1..count {
            nodes.servers.push(Server::node(&data(i), &[&nodes.servers[0].address], more));
        }
        // Each poll takes a connection and introductions, so there is no need for a pause.
        let all_known = (0..LOOKS).any(|_| nodes.servers.iter().all(|node| nodes.known_to(node) == count));
        assert!(all_known, "the nodes do not find each other");
        nodes
    }

    /// How many of these nodes one of them knows, itself included.
    fn known_to(&self, node: &Server) -> usize {
        let mut command = Command::new(binary("webmesh"));
        command.args(["peers", "--json", "--bootstrap", &node.address, "--data"]).arg(self.bench.path("data"));
        let listed = output(&mut command);
        assert_success(&listed);
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        self.servers.iter().filter(|node| listed.contains(&node.peer)).count()
    }

    /// Submits a job, once as a warm-up, and then `times` times.
    pub(crate) fn submit(&self, job: &Path, input: &Path, more: &[&str], times: usize) -> Vec<Run> {
        self.submit_once(job, input, more);
        (0..self.bench.times(times)).map(|_| self.submit_once(job, input, more)).collect()
    }

    fn submit_once(&self, job: &Path, input: &Path, more: &[&str]) -> Run {
        let pids: Vec<u32> = self.servers.iter().map(Server::pid).collect();
        let mut command = Command::new(binary("webmesh"));
        command.arg("submit").arg(job).arg(input).args(more).arg("-o").arg(self.bench.path("result.tsv"));
        command.args(["--bootstrap", &self.servers[0].address, "--data"]).arg(self.bench.path("data"));
        measure::run(&mut command, &pids)
    }

    /// Gossip messages delivered to each node since it started.
    fn delivered(&self) -> Vec<u64> {
        self.servers.iter().map(gossip_delivered).collect()
    }
}

/// 200,000 documents of one line: each a task of its own, and with the default packing.
pub(crate) fn many_tasks(bench: &Bench) {
    const TIMES: usize = 3;
    let fast = example("wordcount/wordcount_fast.cpp");
    let input = write(bench, "lines.txt", &lines(bench.many(200_000), SEED));
    let one = ["--chunk", "1", "--docs-per-task", "1"];
    let packed = ["--chunk", "1"];
    let two = ["--peers", "2", "--threads", "1"];
    let run = |more: &[&str]| embedded(bench, &fast, &input, &[more, &two].concat(), TIMES);
    report("200,000 tasks of one line, 2 peers", "15 s", &run(&one), |r| r.wall);
    report("200,000 lines in default tasks, 2 peers", "5 s", &run(&packed), |r| r.wall);

    let nodes = Nodes::start(bench, 2, &["--http", "127.0.0.1:0"]);
    nodes.submit_once(&fast, &input, &one);
    let (mut runs, mut delivered) = (Vec::new(), Vec::new());
    for _ in 0..bench.times(TIMES) {
        let before = nodes.delivered();
        runs.push(nodes.submit_once(&fast, &input, &one));
        delivered.extend(nodes.delivered().into_iter().zip(before).map(|(now, then)| now - then));
    }
    report("200,000 tasks of one line, two nodes and a submitter", "15 s", &runs, |r| r.wall);
    let most = delivered.iter().max().copied().unwrap_or(0);
    number("the same: control messages delivered to a node, at most", "2,000", &most.to_string());
}

/// Ten tasks of one millisecond on twenty nodes that have run the job before.
pub(crate) fn ten_tasks(bench: &Bench) {
    const NODES: usize = 20;
    // Some four cycles for each iteration.
    let source = "void map(string_view doc, webmesh::Emitter<uint64_t>& out) {
          uint64_t state = doc.size();
          for (int i = 0; i < 700'000; ++i) state = state * 6364136223846793005 + 1442695040888963407;
          out.emit(doc, state);
        }
        pair<string, uint64_t> reduce(const string key, vector<uint64_t> vals) { return {key, vals.at(0)}; }\n";
    let job = write(bench, "millisecond.cpp", source);
    let numbers = |count: usize| (0..count).map(|i| format!("{i}\n")).collect::<String>();
    let (warm, ten) = (write(bench, "warm.txt", &numbers(NODES * 100)), write(bench, "ten.txt", &numbers(10)));
    let more = ["--chunk", "1", "--docs-per-task", "1"];
    let nodes = Nodes::start(bench, NODES, &[]);
    // Enough tasks that every node loads the module.
    nodes.submit_once(&job, &warm, &more);
    let runs = nodes.submit(&job, &ten, &more, 5);
    report("ten tasks of 1 ms, 20 nodes, from submit to result", "300 ms", &runs, |r| r.from_submit);
    report("the same, from start to exit: joining and leaving included", "", &runs, |r| r.wall);
}

fn write(bench: &Bench, name: &str, text: &str) -> PathBuf {
    let path = bench.path(name);
    std::fs::write(&path, text).expect("the input can be written");
    path
}
