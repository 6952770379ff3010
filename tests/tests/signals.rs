//! Ctrl-C and SIGTERM: a job whose submitter leaves is cancelled everywhere, a peer that leaves does no harm, and
//! neither leaves files behind.

use std::path::Path;

use rustix::process::Signal;
use webmesh_tests::mesh::{Mesh, assert_same, corpus_of, endless, slow_word_count};
use webmesh_tests::process::{Server, Submission, assert_success, output, scratch, still_running, webmesh};

const SIGNALS: [Signal; 2] = [Signal::INT, Signal::TERM];

/// Asserts that a command confined to `data` that wrote to `result` has ended and left nothing behind.
fn assert_nothing_left(data: &Path, result: &Path) {
    let files = |dir: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(dir).expect("the folder is there");
        entries.map(|entry| entry.expect("it can be listed").file_name()).collect()
    };
    let outputs = files(result.parent().expect("it lies in a folder"));
    let name = result.file_name().expect("it has a name").to_string_lossy().into_owned();
    assert!(outputs.iter().all(|other| !other.to_string_lossy().contains(&name)), "{outputs:?}");
    assert!(files(&scratch(data)).is_empty(), "{:?}", files(&scratch(data)));
    assert!(still_running(data).is_empty(), "{:?}", still_running(data));
}

#[test]
fn a_terminated_run_leaves_nothing_behind() {
    for signal in SIGNALS {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (data, result) = (dir.path().join("data"), dir.path().join("result.tsv"));
        let (job, input) = endless(dir.path());
        let mut command = webmesh(&data);
        command.arg("run").arg(job).arg(input).args(["--task-timeout", "3000", "--peers", "2", "-o"]);
        let mut job = Submission::start(command.arg(&result).arg("--data").arg(&data));
        job.wait_for(|e| e["event"] == "progress");
        job.signal(signal);
        let (code, said) = job.finish();
        assert_eq!(code, Some(1), "{signal:?}: {said}");
        assert_nothing_left(&data, &result);
    }
}

#[test]
fn a_terminated_submission_cancels_its_job_everywhere() {
    for signal in SIGNALS {
        let mesh = Mesh::start(2, &[]);
        let result = mesh.path("result.tsv");
        let mut job = Submission::start(&mut mesh.submit_endless("user", &result));
        let submitted = job.wait_for(|e| e["event"] == "submitted");
        job.wait_for(|e| e["event"] == "progress");
        job.signal(signal);
        let (code, said) = job.finish();
        assert_eq!(code, Some(1), "{signal:?}: {said}");
        assert_nothing_left(&mesh.path("user"), &result);
        let jobs = output(&mut mesh.ask("user", &["jobs", "--json"]));
        assert_success(&jobs);
        let jobs: serde_json::Value = serde_json::from_slice(&jobs.stdout).expect("a list of jobs");
        assert_eq!(jobs[0]["job"], submitted["job"]);
        assert_eq!(jobs[0]["state"], "cancelled");
    }
}

#[test]
fn a_node_terminated_during_a_job_does_not_change_the_result() {
    let mut mesh = Mesh::start(3, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 100, 21);
    let (source, result) = (mesh.file("slow.cpp", &slow_word_count()), mesh.path("result.tsv"));
    let mut submit = mesh.submit_job("user", &source, &mesh.path("corpus"), &result);
    let mut job = Submission::start(submit.args(["--docs-per-task", "1"]));
    job.wait_for_share(0.2);
    mesh.nodes[0].tell_to_end();
    job.assert_runs();
    let status = mesh.nodes[0].ended();
    assert!(status.success(), "{status}");
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
    assert!(still_running(&mesh.path("node0")).is_empty());
}

#[test]
fn a_terminated_bootstrap_node_exits_successfully() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut bootstrap = Server::bootstrap(dir.path());
    let status = bootstrap.terminate();
    assert!(status.success(), "{status}");
    assert!(still_running(dir.path()).is_empty());
}
