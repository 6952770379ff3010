//! Errors for bad input name the cause and the remedy; nothing is lost, and the mesh goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use webmesh_tests::mesh::{Mesh, corpus_of, slow_word_count};
use webmesh_tests::process::{Server, Submission, assert_success, example, output, stderr, webmesh};

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    fn run(&self, job: &Path, inputs: &[&Path], more: &[&str]) -> Output {
        output(&mut self.command(job, inputs, more))
    }

    fn command(&self, job: &Path, inputs: &[&Path], more: &[&str]) -> Command {
        let mut command = webmesh(self.0.path());
        command.arg("run").arg(job).args(inputs).args(more).arg("--data").arg(self.0.path());
        command
    }

    /// Runs a job whose map is `body`, over the input "one\n" and "two\n" as two files.
    fn run_map(&self, body: &str, more: &[&str]) -> Output {
        let source = format!(
            "void map(string_view doc, webmesh::Emitter<int>& out) {{ {body} }}\n\
             pair<string, int> reduce(const string key, vector<int> vals) {{ return {{key, (int)vals.size()}}; }}\n"
        );
        let job = self.file("job.cpp", source.as_bytes());
        let (one, two) = (self.file("one.txt", b"one\n"), self.file("two.txt", b"two\n"));
        self.run(&job, &[&one, &two], more)
    }
}

/// Asserts exit status 1 and an error that contains all of `parts`.
fn assert_fails(output: &Output, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing from:\n{text}");
    }
}

#[test]
fn a_compile_error_shows_the_authors_own_lines() {
    let place = Place::new();
    let job =
        place.file("broken.cpp", b"int x = 1;\nvoid map(string_view doc, webmesh::Emitter<int>& out) { nonsense; }\n");
    let input = place.file("in", b"x");
    assert_fails(&place.run(&job, &[&input], &[]), &["broken.cpp:2:", "nonsense"]);
}

#[test]
fn a_document_that_traps_is_named_with_the_reason() {
    let place = Place::new();
    let output =
        place.run_map("if (doc.starts_with(\"two\")) __builtin_trap(); out.emit(doc, 1);", &["--retries", "1"]);
    assert_fails(&output, &["two.txt", "trap"]);
}

#[test]
fn a_failing_task_is_tried_on_other_peers_before_it_fails_the_job() {
    let mesh = Mesh::start(3, &[]);
    // Enough other work that every worker takes part, and a failure on each of them.
    let source = "void map(string_view doc, webmesh::Emitter<int>& out) {
          for (volatile int i = 0; i < 30'000'000; i = i + 1) {}
          if (doc.starts_with(\"the bad one\")) __builtin_trap();
          out.emit(doc, 1);
        }
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, 1}; }\n";
    let job = mesh.file("job.cpp", source);
    let lines: String = (0..60).map(|i| if i == 30 { "the bad one\n".to_owned() } else { format!("{i}\n") }).collect();
    let input = mesh.file("input.txt", &lines);
    let mut submit = mesh.submit_job("user", &job, &input, &mesh.path("result.tsv"));
    submit.args(["--chunk", "1", "--docs-per-task", "1", "--retries", "2"]);
    let mut job = Submission::start(&mut submit);
    // The worker that failed first, by the number of retries left.
    let mut failed: BTreeMap<u64, String> = BTreeMap::new();
    let ended = job.wait_for_each(|event| {
        if event["event"] == "task_failed" {
            assert!(event["input"].as_str().is_some_and(|name| name.contains("input.txt")), "{event}");
            let left = event["retries_left"].as_u64().expect("a number");
            failed.entry(left).or_insert_with(|| event["worker"].as_str().expect("a peer").to_owned());
        }
        event["event"] == "ended"
    });
    assert_eq!(ended["outcome"], "failed");
    assert_eq!(failed.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "it is tried again twice");
    assert_eq!(failed.values().collect::<BTreeSet<_>>().len(), 3, "each time on another peer: {failed:?}");
    let (code, said) = job.finish();
    assert_eq!(code, Some(1));
    assert!(said.contains("trap") && said.contains("input.txt"), "{said}");
}

#[test]
fn with_one_peer_a_failing_task_is_retried_there() {
    let place = Place::new();
    let job = place.file(
        "job.cpp",
        b"void map(string_view, webmesh::Emitter<int>&) { __builtin_trap(); }\n\
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, 1}; }\n",
    );
    let input = place.file("in.txt", b"x");
    let mut job = Submission::start(&mut place.command(&job, &[&input], &["--retries", "2"]));
    let mut left = Vec::new();
    job.wait_for_each(|event| {
        left.extend(event["retries_left"].as_u64());
        event["event"] == "ended"
    });
    assert_eq!(left, [2, 1, 0]);
    assert_eq!(job.finish().0, Some(1));
}

#[test]
fn a_file_that_vanishes_in_the_middle_of_a_job_is_named() {
    let place = Place::new();
    let (corpus, result) = (place.0.path().join("corpus"), place.0.path().join("result.tsv"));
    // More than a worker prefetches.
    corpus_of(&corpus, 400, 41);
    let job = place.file("slow.cpp", slow_word_count().as_bytes());
    let mut command = place.command(&job, &[&corpus], &["--docs-per-task", "1", "--threads", "1"]);
    let mut job = Submission::start(command.arg("-o").arg(&result));
    job.wait_for_share(0.01);
    // If it had ended before, it would have succeeded.
    std::fs::remove_dir_all(&corpus).expect("the files can be removed");
    let (code, said) = job.finish();
    assert_eq!(code, Some(1), "{said}");
    for part in ["corpus/reviews-", "could be read when the job began", "run the job again"] {
        assert!(said.contains(part), "`{part}` is missing from:\n{said}");
    }
    assert!(!result.exists(), "half a result is none");
}

#[test]
fn an_uncaught_exception_is_reported_with_its_text() {
    let place = Place::new();
    let output = place.run_map("if (doc.starts_with(\"two\")) std::stoi(\"no number\"); out.emit(doc, 1);", &[]);
    assert_fails(&output, &["two.txt", "stoi"]);
}

#[test]
fn an_endless_loop_ends_at_its_time_limit() {
    let place = Place::new();
    let body = "if (doc.starts_with(\"one\")) for (volatile int i = 0;; i = i + 1) {} out.emit(doc, 1);";
    let output = place.run_map(body, &["--task-timeout", "0.3", "--retries", "1"]);
    assert_fails(&output, &["one.txt", "0.3 s", "--task-timeout"]);
}

#[test]
fn a_task_out_of_memory_is_told_its_limit() {
    let place = Place::new();
    let body =
        "vector<string> all; if (doc.starts_with(\"one\")) for (;;) all.emplace_back(1 << 20, 'x'); out.emit(doc, 1);";
    let output = place.run_map(body, &["--task-memory", "64MiB", "--retries", "0"]);
    assert_fails(&output, &["one.txt", "64 MiB", "--task-memory"]);
}

#[test]
fn a_task_that_emits_too_much_is_told_how_to_emit_less() {
    let place = Place::new();
    let body = "string key(1 << 20, 'x'); for (char c = '!'; c < '!' + 70; ++c) { key[0] = c; out.emit(key, 1); }";
    let output = place.run_map(body, &["--retries", "0"]);
    assert_fails(&output, &["map of", "64 MiB of output", "--docs-per-task"]);
}

#[test]
fn a_key_whose_values_no_task_can_hold_is_told_what_gives_it_room() {
    let place = Place::new();
    let job = place.file(
        "one_key.cpp",
        b"void map(string_view, webmesh::Emitter<string>& out) { out.emit(\"key\", string(1 << 20, 'x')); }\n\
        pair<string, int> reduce(const string key, vector<string> all) { return {key, (int)all.size()}; }\n",
    );
    let output = place.run(&job, &[], &["--tasks", "40", "--task-memory", "16MiB", "--retries", "0"]);
    assert_fails(&output, &["reduce task", "bytes", "--task-memory", "--partitions", "combine()"]);
}

#[test]
fn a_missing_input_is_named() {
    let place = Place::new();
    let missing = place.0.path().join("nowhere.txt");
    assert_fails(&place.run(&example("wordcount/wordcount.cpp"), &[&missing], &[]), &["nowhere.txt"]);
}

#[test]
fn a_missing_source_is_named() {
    let place = Place::new();
    let input = place.file("in", b"x");
    assert_fails(&place.run(&place.0.path().join("nowhere.cpp"), &[&input], &[]), &["nowhere.cpp"]);
}

#[test]
fn bytes_that_are_not_utf8_pass_through() {
    let place = Place::new();
    let input = place.file("in", b"caf\xe9 caf\xe9 \xff\xfe\n");
    let output = place.run(&example("wordcount/wordcount.cpp"), &[&input], &[]);
    assert_success(&output);
    assert_eq!(output.stdout, b"caf\xe9\t2\n\xff\xfe\t1\n");
}

#[test]
fn an_empty_input_gives_an_empty_result() {
    let place = Place::new();
    let input = place.file("in", b"");
    let output = place.run(&example("wordcount/wordcount.cpp"), &[&input], &[]);
    assert_success(&output);
    assert!(output.stdout.is_empty());
}

#[test]
fn a_line_that_is_too_long_is_named() {
    let place = Place::new();
    let input = place.file("long.txt", &vec![b'x'; 17 << 20]);
    assert_fails(&place.run(&example("wordcount/wordcount.cpp"), &[&input], &[]), &["long.txt", "16 MiB"]);
}

#[test]
fn an_address_where_nobody_answers_is_named() {
    let place = Place::new();
    let input = place.file("in", b"x");
    let output = place.run(&example("wordcount/wordcount.cpp"), &[&input], &["--bootstrap", "/ip4/127.0.0.1/tcp/9"]);
    assert_fails(&output, &["/ip4/127.0.0.1/tcp/9"]);
}

#[test]
fn a_port_in_use_is_named() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let mut command = webmesh(place.0.path());
    command.args(["node", "--no-mdns", "--listen", &address, "--data"]).arg(place.0.path());
    assert_fails(&output(&mut command), &[&port]);
}

#[test]
fn wrong_usage_exits_with_2() {
    let place = Place::new();
    for arguments in [&["run"][..], &["run", "x.cpp", "--replicas", "0"], &["node", "--roles", "king"], &["fly"]] {
        let output = output(webmesh(place.0.path()).args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_mesh_runs_the_next_job_after_a_failed_one() {
    let place = Place::new();
    let node = Server::node(&place.0.path().join("node"), &[], &["--roles", "worker,shuffler,compiler"]);
    let bad = place.file(
        "bad.cpp",
        b"void map(string_view, webmesh::Emitter<int>&) { abort(); }\n\
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, 1}; }\n",
    );
    let input = place.file("in.txt", b"to be or not to be\n");
    let bootstrap = ["--bootstrap", &node.address, "--retries", "1"];
    assert_fails(&place.run(&bad, &[&input], &bootstrap), &["in.txt"]);
    let good = place.run(&example("wordcount/wordcount.cpp"), &[&input], &bootstrap);
    assert_success(&good);
    assert_eq!(good.stdout, b"be\t2\nnot\t1\nor\t1\nto\t2\n");
}
