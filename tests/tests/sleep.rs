//! Processes that are suspended for longer than the lifetime of an unannounced job, and continued: a closed laptop, a
//! debugger, a paused container.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use webmesh_protocol::limits::ANNOUNCE_LIFETIME;
use webmesh_tests::mesh::{Mesh, assert_same, corpus_of, endless, slow_word_count};
use webmesh_tests::process::{Submission, assert_success, output, still_running, webmesh};

/// Suspends a process for that long. The duration itself is tested; this is not synchronisation.
fn stop_for_long(pid: Pid) {
    kill_process(pid, Signal::STOP).expect("it can be stopped");
    std::thread::sleep(ANNOUNCE_LIFETIME + Duration::from_secs(5));
    kill_process(pid, Signal::CONT).expect("it can go on");
}

#[test]
fn a_suspended_run_gives_its_result() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (data, corpus, result) = (dir.path().join("data"), dir.path().join("corpus"), dir.path().join("result.tsv"));
    let expected = corpus_of(&corpus, 60, 31);
    let source = dir.path().join("slow.cpp");
    std::fs::write(&source, slow_word_count()).expect("the source can be written");
    let mut command = webmesh(&data);
    command.arg("run").arg(source).arg(corpus).args(["--docs-per-task", "1", "-o"]).arg(&result);
    let mut job = Submission::start(command.arg("--data").arg(&data));
    job.wait_for_share(0.2);
    stop_for_long(job.pid());
    job.assert_runs();
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}

#[test]
fn a_suspended_run_ends_at_the_first_interrupt() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    let (source, input) = endless(dir.path());
    let mut command = webmesh(&data);
    command.arg("run").arg(source).arg(input).args(["--task-timeout", "3000", "--data"]).arg(&data);
    let mut job = Submission::start(&mut command);
    job.wait_for(|e| e["event"] == "progress");
    stop_for_long(job.pid());
    job.interrupt();
    let (code, said) = job.finish();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cancelled"), "{said}");
}

#[test]
fn a_suspended_submitter_gets_its_result_from_the_mesh() {
    let mesh = Mesh::start(2, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 60, 32);
    let (source, result) = (mesh.file("slow.cpp", &slow_word_count()), mesh.path("result.tsv"));
    let mut submit = mesh.submit_job("user", &source, &mesh.path("corpus"), &result);
    let mut job = Submission::start(submit.args(["--docs-per-task", "1"]));
    job.wait_for_share(0.2);
    stop_for_long(job.pid());
    job.assert_runs();
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}

#[test]
fn a_detached_job_whose_process_was_suspended_gives_its_result() {
    let mesh = Mesh::start(2, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 60, 33);
    let source = mesh.file("slow.cpp", &slow_word_count());
    let mut submit = mesh.ask("user", &["submit", "--detach", "--docs-per-task", "1"]);
    let submitted = output(submit.arg(source).arg(mesh.path("corpus")));
    assert_success(&submitted);
    let id = String::from_utf8(submitted.stdout).expect("an id");
    let carriers = still_running(&mesh.path("user"));
    let [carrier] = &carriers[..] else { panic!("one process carries the job: {carriers:?}") };
    let pid = carrier.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    stop_for_long(pid.expect("its process id"));
    let result = mesh.path("result.tsv");
    let mut results = webmesh(&mesh.path("user"));
    results.args(["results", id.trim(), "--wait", "--data"]).arg(mesh.path("user")).arg("-o").arg(&result);
    assert_success(&output(&mut results));
    assert_same(&result, &expected);
}
