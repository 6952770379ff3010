//! Output of commands: the ready line, the status of a job, and errors.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;
use webmesh_tests::corpus::word;
use webmesh_tests::mesh::Mesh;
use webmesh_tests::process::{
    Server, Submission, assert_success, binary, confine, confined, example, http_get, output, root, stderr, webmesh,
};

#[test]
fn a_dash_reads_standard_input() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let text = dir.path().join("text");
    // More than one chunk, so that it is cut.
    std::fs::write(&text, "to be or not to be\n".repeat(60_000)).expect("the input can be written");
    let mut command = webmesh(dir.path());
    command.arg("run").arg(example("wordcount/wordcount_fast.cpp")).args(["-", "--data"]).arg(dir.path());
    command.stdin(Stdio::from(std::fs::File::open(&text).expect("the input can be read")));
    let counted = output(&mut command);
    assert_success(&counted);
    assert_eq!(String::from_utf8_lossy(&counted.stdout), "be\t120000\nnot\t60000\nor\t60000\nto\t120000\n");
}

#[test]
fn status_shows_a_job_while_it_runs_and_after() {
    let mesh = Mesh::start(1, &[]);
    let mut job = Submission::start(&mut mesh.submit_endless("ann", &mesh.path("result.tsv")));
    let submitted = job.wait_for(|e| e["event"] == "submitted");
    let id = submitted["job"].as_str().expect("it has an id");
    job.wait_for(|e| e["event"] == "progress");
    // The first digits of the id are enough, and any peer may ask.
    let status = |more: &[&str]| {
        let status = output(mesh.ask("bob", &["status", &id[..12]]).args(more));
        assert_success(&status);
        String::from_utf8(status.stdout).expect("text")
    };
    let text = status(&[]);
    assert!(text.contains(id) && text.contains("endless.cpp") && text.contains("running"), "{text}");
    assert!(text.contains("stage 0: 0 of 1 tasks"), "{text}");
    let json: Value = serde_json::from_str(&status(&["--json"])).expect("JSON");
    assert_eq!((&json["job"], &json["state"]), (&submitted["job"], &"running".into()));
    assert_eq!(json["stages"][0], serde_json::json!({ "done": 0, "tasks": 1 }));

    job.interrupt();
    job.finish();
    let json: Value = serde_json::from_str(&status(&["--json"])).expect("JSON");
    assert_eq!(json["state"], "cancelled");
}

#[test]
fn a_job_that_the_mesh_does_not_know_is_named() {
    let mesh = Mesh::start(0, &[]);
    let unknown = output(&mut mesh.ask("user", &["status", "feedface"]));
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("feedface"), "{}", stderr(&unknown));
}

#[test]
fn the_ready_line_has_the_addresses_of_a_peer() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let both = ["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--http", "127.0.0.1:0"];
    let node = Server::node(&dir.path().join("node"), &[], &both);
    let bootstrap = Server::bootstrap(&dir.path().join("bootstrap"));
    for (server, listens) in [(&node, 2), (&bootstrap, 1)] {
        let addresses = server.ready["addresses"].as_array().expect("a list");
        assert_eq!(addresses.len(), listens, "{}", server.ready);
        for address in addresses {
            let address = address.as_str().expect("text");
            assert!(address.ends_with(&format!("/p2p/{}", server.peer)), "{address}");
            assert!(!address.contains("/0/"), "the port is the one that it got: {address}");
            let known = output(webmesh(dir.path()).args(["peers", "--json", "--bootstrap", address]));
            assert_success(&known);
            assert!(String::from_utf8_lossy(&known.stdout).contains(&server.peer), "{address} does not answer");
        }
        let health = http_get(server.http.as_deref().expect("it serves HTTP"), "/healthz");
        assert!(health.contains(&server.peer), "{health}");
    }
}

#[test]
fn a_bootstrap_node_names_a_port_in_use() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let start = |listen: &str, http: &str| {
        let mut command = confined("webmesh-bootstrap", dir.path());
        let failed = output(command.args(["--listen", listen, "--http", http, "--data"]).arg(dir.path()));
        assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
        assert!(failed.stdout.is_empty(), "it is not ready");
        assert!(stderr(&failed).contains(&port), "{}", stderr(&failed));
    };
    start(&format!("/ip4/127.0.0.1/tcp/{port}"), "127.0.0.1:0");
    start("/ip4/127.0.0.1/tcp/0", &format!("127.0.0.1:{port}"));
}

#[test]
fn the_demo_shows_the_most_frequent_words_of_cargos_sources() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sources = dir.path().join("cargo/registry/src");
    std::fs::create_dir_all(&sources).expect("a folder can be made");
    // A result that does not fit in a pipe's buffer.
    let words: BTreeSet<String> = (0..20_000).map(word).collect();
    let all: String = words.iter().map(|word| format!("{word}\n")).collect();
    std::fs::write(sources.join("a.rs"), all + &"demo\n".repeat(50)).expect("a source");
    let built = binary("webmesh");
    let target = built.ancestors().nth(2).expect("it lies in target/release");
    let mut demo = confine(Command::new(root().join("scripts/demo")), dir.path());
    demo.env("CARGO_HOME", dir.path().join("cargo")).env("CARGO_TARGET_DIR", target);
    let shown = output(&mut demo);
    assert_success(&shown);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains(&format!("{} distinct words", words.len() + 1)), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains('\t')).count(), 12, "{text}");
    assert!(text.contains("demo\t50\n"), "{text}");
}
