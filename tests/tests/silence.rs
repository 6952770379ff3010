//! A mesh of real processes with an unresponsive shuffler: what the submitter is told, and how the job ends.

use rustix::process::Signal;
use webmesh_tests::mesh::{Mesh, assert_same, corpus_of, slow_word_count};
use webmesh_tests::process::Submission;

#[test]
fn a_suspended_shuffler_is_named_and_its_job_succeeds_without_it() {
    let mesh = Mesh::start(2, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 60, 34);
    let (source, result) = (mesh.file("slow.cpp", &slow_word_count()), mesh.path("result.tsv"));
    let mut submit = mesh.submit_job("user", &source, &mesh.path("corpus"), &result);
    let mut job = Submission::start(submit.args(["--docs-per-task", "1", "--partitions", "8"]));
    job.wait_for_share(0.1);
    // Both nodes own partitions of every task.
    mesh.nodes[0].signal(Signal::STOP);
    let waiting = job.wait_for(|event| event["event"] == "waiting" && !event["peer"].is_null());
    let why = waiting["why"].as_str().unwrap_or_default();
    assert!(why.contains("has not answered"), "{waiting}");
    assert!(waiting["seconds"].as_f64().is_some_and(|seconds| seconds >= 4.0), "{waiting}");
    job.wait_for(|event| event["event"] == "waiting_over");
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}
