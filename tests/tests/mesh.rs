//! Real processes on loopback: the mesh counts words, whichever processes are killed meanwhile.

use webmesh_protocol::message::{End, Outcome, Request};
use webmesh_protocol::sign::Keypair;
use webmesh_protocol::{JobId, codec};
use webmesh_tests::mesh::{Mesh, assert_same, corpus_of, slow_word_count};
use webmesh_tests::process::{Server, Submission, assert_success, http_get, http_post, output, stderr, webmesh};

#[test]
fn a_bootstrap_and_four_nodes_agree_with_an_independent_word_count() {
    let mesh = Mesh::start(4, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 60, 1);
    let result = mesh.path("result.tsv");
    assert_success(&output(&mut mesh.submit("user", &mesh.path("corpus"), &result)));
    assert_same(&result, &expected);
}

#[test]
fn two_jobs_of_two_submitters_run_at_once() {
    let mesh = Mesh::start(3, &[]);
    let source = mesh.file("slow.cpp", &slow_word_count());
    let one = corpus_of(&mesh.path("one"), 60, 2);
    let two = corpus_of(&mesh.path("two"), 40, 3);
    let (result_one, result_two) = (mesh.path("one.tsv"), mesh.path("two.tsv"));
    let mut first = Submission::start(&mut mesh.submit_job("ann", &source, &mesh.path("one"), &result_one));
    let mut second = Submission::start(&mut mesh.submit_job("bob", &source, &mesh.path("two"), &result_two));
    first.wait_for(|e| e["event"] == "submitted");
    second.wait_for(|e| e["event"] == "submitted");
    first.assert_runs();
    second.assert_runs();
    assert_eq!(first.finish().0, Some(0));
    assert_eq!(second.finish().0, Some(0));
    assert_same(&result_one, &one);
    assert_same(&result_two, &two);
}

#[test]
fn the_mesh_goes_on_without_its_bootstrap() {
    let mut mesh = Mesh::start(3, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 60, 4);
    let (source, result) = (mesh.file("slow.cpp", &slow_word_count()), mesh.path("result.tsv"));
    let mut job = Submission::start(&mut mesh.submit_job("user", &source, &mesh.path("corpus"), &result));
    job.wait_for(|e| e["event"] == "submitted");
    mesh.bootstrap.kill();
    job.assert_runs();
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}

/// A worker here is a shuffler too: its data is found at its replica, or computed again.
fn a_killed_worker_does_not_change_the_result(replicas: &str, seed: u64) {
    let mut mesh = Mesh::start(4, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 100, seed);
    let (source, result) = (mesh.file("slow.cpp", &slow_word_count()), mesh.path("result.tsv"));
    let mut submit = mesh.submit_job("user", &source, &mesh.path("corpus"), &result);
    let mut job = Submission::start(submit.args(["--replicas", replicas, "--docs-per-task", "1"]));
    job.wait_for_share(0.2);
    mesh.nodes[0].kill();
    job.assert_runs();
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}

#[test]
fn a_worker_killed_midway_does_not_change_the_result_with_two_replicas() {
    a_killed_worker_does_not_change_the_result("2", 5);
}

#[test]
fn a_worker_killed_midway_does_not_change_the_result_without_replicas() {
    a_killed_worker_does_not_change_the_result("1", 6);
}

#[test]
fn the_submitter_shuffles_if_no_other_peer_does() {
    let mesh = Mesh::start(2, &["--roles", "worker"]);
    let expected = corpus_of(&mesh.path("corpus"), 40, 7);
    let result = mesh.path("result.tsv");
    assert_success(&output(&mut mesh.submit("user", &mesh.path("corpus"), &result)));
    assert_same(&result, &expected);
}

#[test]
fn only_its_owner_can_cancel_a_job() {
    let mesh = Mesh::start(1, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 200, 9);
    let result = mesh.path("result.tsv");
    let mut job = Submission::start(&mut mesh.submit("ann", &mesh.path("corpus"), &result));
    let submitted = job.wait_for(|e| e["event"] == "submitted");
    let id = submitted["job"].as_str().expect("it has an id");
    let refused = output(&mut mesh.ask("bob", &["cancel", id]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("is not yours"), "{}", stderr(&refused));
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&result, &expected);
}

#[test]
fn a_job_can_be_cancelled_from_another_terminal() {
    let mesh = Mesh::start(1, &[]);
    let mut job = Submission::start(&mut mesh.submit_endless("ann", &mesh.path("result.tsv")));
    let submitted = job.wait_for(|e| e["event"] == "submitted");
    let id = submitted["job"].as_str().expect("it has an id");
    assert_success(&output(&mut mesh.ask("ann", &["cancel", id])));
    let (code, said) = job.finish();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cancelled"), "{said}");
}

#[test]
fn a_task_that_throws_ends_its_job_even_if_most_peers_lack_memory() {
    let mesh = Mesh::start(1, &[]);
    let small = |name: &str| Server::node(&mesh.path(name), &[&mesh.bootstrap.address], &["--memory", "512MiB"]);
    let _small = [small("small0"), small("small1"), small("small2")];
    let source = "void map(string_view doc, webmesh::Emitter<int>& out) {\n\
        if (doc == \"7\") throw std::runtime_error(\"seven\");\n  out.emit(\"k\", 1);\n}\n\
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, (int)vals.size()}; }\n";
    let source = mesh.file("seven.cpp", source);
    let mut submit = mesh.ask("user", &["submit", "--tasks", "20", "--retries", "3"]);
    let mut job = Submission::start(submit.arg(source));
    let (mut failures, mut workers) = (0, 0);
    job.wait_for_each(|event| {
        failures += u32::from(event["event"] == "task_failed");
        workers = event["workers"].as_u64().unwrap_or(workers);
        event["event"] == "ended"
    });
    let (code, said) = job.finish();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("seven"), "{said}");
    assert_eq!(failures, 5, "its first attempt, three more, and that of the submitter, which confirms it");
    assert_eq!(workers, 1, "the others cannot work on it");
}

#[test]
fn restarted_nodes_find_each_other_without_a_bootstrap() {
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
    // The same data, and no bootstrap address. Each poll takes a connection and its introductions, so there is no need
    // for a pause.
    let second = Server::node(&data("second"), &[], &[]);
    let found = (0..20).any(|_| peers(&second).contains(&first.peer));
    assert!(found, "the second node did not find the first again");
}

#[test]
fn a_bootstrap_node_serves_health_metrics_and_addresses_over_http() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bootstrap = Server::bootstrap(dir.path());
    let http = bootstrap.http.clone().expect("it serves HTTP");
    let get = |path: &str| http_get(&http, path);
    assert!(get("/healthz").contains("\"status\":\"ok\""));
    assert!(get("/metrics").contains("webmesh_connected_peers 0"));
    assert!(get("/.well-known/webmesh.json").contains(&bootstrap.address));
}

#[test]
fn a_posted_end_of_a_job_needs_a_signature_and_is_rate_limited() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bootstrap = Server::bootstrap(dir.path());
    let http = bootstrap.http.clone().expect("it serves HTTP");
    let status = |body: &[u8]| {
        let answer = http_post(&http, "/job-ends", body);
        answer.split_whitespace().nth(1).map(str::to_owned).unwrap_or(answer)
    };
    let end = End { job: JobId([5; 32]), outcome: Outcome::Failed("the tab was closed".to_owned()) };
    let signed = codec::encode(&Request::Ended(Keypair::from_secret([6; 32]).sign(&end)));
    assert_eq!(status(&signed), "204");
    let reason = signed.windows(6).position(|part| part == b"closed").expect("the reason is in it");
    let mut changed = signed.clone();
    changed[reason] = b'C';
    assert_eq!(status(&changed), "400", "its signature does not hold any more");
    assert_eq!(status(&codec::encode(&Request::Goodbye)), "400");
    assert_eq!(status(b"nonsense"), "400");
    assert_eq!(status(&vec![0; 16 << 10]), "413");
    // More than the burst limit: the rest is refused, and everything else is served.
    assert!((0..2000).any(|_| status(&signed) == "429"), "as many as anybody sends are taken");
    assert!(http_get(&http, "/healthz").contains("\"status\":\"ok\""));
}
