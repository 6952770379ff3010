//! Real processes on loopback: the mesh counts words, whatever is killed meanwhile.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use webmesh_tests::corpus;
use webmesh_tests::process::{Server, Submission, assert_success, example, output, stderr, webmesh};

/// A corpus of some size, in files of 100 KB, and its independent count.
fn corpus_of(dir: &Path, files: u32, seed: u64) -> Vec<u8> {
    println!("corpus seed {seed}");
    corpus::reviews(dir, files, 100_000, 20_000, seed).expect("the corpus can be written");
    corpus::count_words(&[dir]).expect("the corpus can be counted")
}

struct Mesh {
    dir: TempDir,
    bootstrap: Server,
    nodes: Vec<Server>,
}

impl Mesh {
    fn start(nodes: usize, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let bootstrap = Server::bootstrap(&dir.path().join("bootstrap"));
        let nodes = (0..nodes)
            .map(|i| Server::node(&dir.path().join(format!("node{i}")), &[&bootstrap.address], more))
            .collect();
        Self { dir, bootstrap, nodes }
    }

    /// A submission of the word count that reads `input` and writes `result`, as its own user.
    fn submit(&self, user: &str, input: &Path, result: &Path) -> Command {
        self.submit_job(user, &example("wordcount/wordcount.cpp"), input, result)
    }

    /// A submission of a job that never ends by itself, over an input of one document.
    fn submit_endless(&self, user: &str, result: &Path) -> Command {
        let (job, input) = (self.path("endless.cpp"), self.path("input.txt"));
        let source = "void map(string_view, webmesh::Emitter<int>&) { for (volatile int i = 0;; i = i + 1) {} }\n\
            pair<string, int> reduce(const string key, vector<int> vals) { return {key, 1}; }\n";
        std::fs::write(&job, source).expect("the source can be written");
        std::fs::write(&input, "one document\n").expect("the input can be written");
        let mut command = self.submit_job(user, &job, &input, result);
        command.args(["--task-timeout", "3000"]);
        command
    }

    fn submit_job(&self, user: &str, job: &Path, input: &Path, result: &Path) -> Command {
        let data = self.dir.path().join(user);
        let mut command = webmesh(&data);
        command.arg("submit").arg(job).arg(input).arg("-o").arg(result);
        command.args(["--bootstrap", &self.bootstrap.address, "--data"]).arg(data);
        command
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

fn assert_same(result: &Path, expected: &[u8]) {
    let result = std::fs::read(result).expect("there is a result");
    assert!(
        result == expected,
        "the result of {} bytes is not the independent count of {}",
        result.len(),
        expected.len()
    );
}

#[test]
fn a_bootstrap_and_four_nodes_count_words_as_an_independent_program_does() {
    let mesh = Mesh::start(4, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 60, 1);
    let result = mesh.path("result.tsv");
    assert_success(&output(&mut mesh.submit("user", &mesh.path("corpus"), &result)));
    assert_same(&result, &expected);
}

#[test]
fn two_jobs_of_two_submitters_run_at_once() {
    let mesh = Mesh::start(3, &[]);
    let one = corpus_of(&mesh.path("one"), 60, 2);
    let two = corpus_of(&mesh.path("two"), 40, 3);
    let (result_one, result_two) = (mesh.path("one.tsv"), mesh.path("two.tsv"));
    let mut first = Submission::start(&mut mesh.submit("ann", &mesh.path("one"), &result_one));
    let mut second = Submission::start(&mut mesh.submit("bob", &mesh.path("two"), &result_two));
    first.wait_for(|e| e["event"] == "submitted");
    second.wait_for(|e| e["event"] == "submitted");
    assert_eq!(first.finish().0, Some(0));
    assert_eq!(second.finish().0, Some(0));
    assert_same(&result_one, &one);
    assert_same(&result_two, &two);
}

#[test]
fn the_mesh_goes_on_without_its_bootstrap() {
    let mut mesh = Mesh::start(3, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 150, 4);
    let result = mesh.path("result.tsv");
    let mut job = Submission::start(&mut mesh.submit("user", &mesh.path("corpus"), &result));
    job.wait_for(|e| e["event"] == "submitted");
    mesh.bootstrap.kill();
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}

/// A worker here is a shuffler too: what it held is found with its replica, or computed again.
fn a_killed_worker_costs_no_word(replicas: &str, seed: u64) {
    let mut mesh = Mesh::start(4, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 300, seed);
    let result = mesh.path("result.tsv");
    let mut submit = mesh.submit("user", &mesh.path("corpus"), &result);
    let mut job = Submission::start(submit.args(["--replicas", replicas]));
    job.wait_for_share(0.2);
    mesh.nodes[0].kill();
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}

#[test]
fn a_worker_killed_in_the_middle_costs_no_word_with_two_replicas() {
    a_killed_worker_costs_no_word("2", 5);
}

#[test]
fn a_worker_killed_in_the_middle_costs_no_word_without_replicas() {
    a_killed_worker_costs_no_word("1", 6);
}

#[test]
fn with_no_shuffler_in_the_mesh_the_submitter_is_one() {
    let mesh = Mesh::start(2, &["--roles", "worker"]);
    let expected = corpus_of(&mesh.path("corpus"), 40, 7);
    let result = mesh.path("result.tsv");
    assert_success(&output(&mut mesh.submit("user", &mesh.path("corpus"), &result)));
    assert_same(&result, &expected);
}

#[test]
fn ctrl_c_cancels_a_job_everywhere_and_leaves_no_file() {
    let mesh = Mesh::start(2, &[]);
    let result = mesh.path("result.tsv");
    let mut job = Submission::start(&mut mesh.submit_endless("user", &result));
    let submitted = job.wait_for(|e| e["event"] == "submitted");
    job.wait_for(|e| e["event"] == "progress");
    job.interrupt();
    let (code, said) = job.finish();
    assert_eq!(code, Some(1), "{said}");
    assert!(!result.exists());
    let left: Vec<_> = std::fs::read_dir(mesh.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("result")), "{left:?}");
    let jobs = output(webmesh(mesh.dir.path()).args(["jobs", "--json", "--bootstrap", &mesh.nodes[0].address]));
    assert_success(&jobs);
    let jobs: serde_json::Value = serde_json::from_slice(&jobs.stdout).expect("a list of jobs");
    assert_eq!(jobs[0]["job"], submitted["job"]);
    assert_eq!(jobs[0]["state"], "cancelled");
}

#[test]
fn only_its_owner_can_cancel_a_job() {
    let mesh = Mesh::start(1, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 200, 9);
    let result = mesh.path("result.tsv");
    let mut job = Submission::start(&mut mesh.submit("ann", &mesh.path("corpus"), &result));
    let submitted = job.wait_for(|e| e["event"] == "submitted");
    let id = submitted["job"].as_str().expect("it has an id");
    let cancel = |user: &str| {
        let mut command = webmesh(mesh.dir.path());
        command.args(["cancel", id, "--bootstrap", &mesh.bootstrap.address, "--data"]).arg(mesh.path(user));
        output(&mut command)
    };
    let refused = cancel("bob");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("is not yours"), "{}", stderr(&refused));
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}

#[test]
fn its_owner_cancels_a_job_from_another_terminal() {
    let mesh = Mesh::start(1, &[]);
    let mut job = Submission::start(&mut mesh.submit_endless("ann", &mesh.path("result.tsv")));
    let submitted = job.wait_for(|e| e["event"] == "submitted");
    let id = submitted["job"].as_str().expect("it has an id");
    let mut command = webmesh(mesh.dir.path());
    command.args(["cancel", id, "--bootstrap", &mesh.bootstrap.address, "--data"]).arg(mesh.path("ann"));
    assert_success(&output(&mut command));
    let (code, said) = job.finish();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cancelled"), "{said}");
}

#[test]
fn nodes_remember_each_other_over_restarts_without_a_bootstrap() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = |name: &str| dir.path().join(name);
    let first = Server::node(&data("first"), &[], &[]);
    let mut second = Server::node(&data("second"), &[&first.address], &[]);
    let peers = |of: &Server| {
        let listed = output(webmesh(dir.path()).args(["peers", "--json", "--bootstrap", &of.address]));
        assert_success(&listed);
        String::from_utf8(listed.stdout).expect("JSON")
    };
    assert!(peers(&second).contains(&first.peer));
    assert!(second.terminate().success());
    // The same data, and nobody named. Each look takes a connection and its introductions: no need to wait beside it.
    let second = Server::node(&data("second"), &[], &[]);
    let found = (0..20).any(|_| peers(&second).contains(&first.peer));
    assert!(found, "the second node did not find the first again");
}

#[test]
fn a_bootstrap_node_tells_health_metrics_and_addresses_over_http() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bootstrap = Server::bootstrap(dir.path());
    let http = bootstrap.http.clone().expect("it serves HTTP");
    let get = |path: &str| http_get(http.trim_start_matches("http://"), path);
    assert!(get("/healthz").contains("\"status\":\"ok\""));
    assert!(get("/metrics").contains("webmesh_connected_peers 0"));
    assert!(get("/.well-known/webmesh.json").contains(&bootstrap.address));
}

fn http_get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it can be asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
