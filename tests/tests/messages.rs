//! Gossip stays small: the number of control messages for a job of very many tasks.

use std::path::Path;

use webmesh_tests::corpus::lines;
use webmesh_tests::mesh::assert_same;
use webmesh_tests::process::{Server, assert_success, example, output, webmesh};
use webmesh_tests::{corpus, process};

/// Number of tasks of the job, each of one line.
const TASKS: u32 = 200_000;
/// Maximum number of control messages delivered to a peer in that job, duplicates included.
const MESSAGES: u64 = 2_000;

#[test]
fn two_hundred_thousand_tasks_need_few_control_messages() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = |name: &str| dir.path().join(name);
    let with_http = ["--http", "127.0.0.1:0"];
    let first = Server::node(&data("first"), &[], &[&with_http[..], &["--roles", "worker,shuffler,compiler"]].concat());
    let second = Server::node(&data("second"), &[&first.address], &with_http);
    let (input, result) = (data("corpus/lines.txt"), data("result.tsv"));
    println!("corpus seed 51");
    std::fs::create_dir_all(data("corpus")).expect("a folder can be made");
    std::fs::write(&input, lines(TASKS, 51)).expect("the corpus can be written");
    let mut command = webmesh(&data("user"));
    command.arg("submit").arg(example("wordcount/wordcount_fast.cpp")).arg(&input).arg("-o").arg(&result);
    command.args(["--chunk", "1", "--docs-per-task", "1", "--bootstrap", &first.address, "--data"]).arg(data("user"));
    let before = [&first, &second].map(process::gossip_delivered);
    assert_success(&output(&mut command));
    let after = [&first, &second].map(process::gossip_delivered);
    assert_same(&result, &corpus::count_words(&[Path::new(&data("corpus"))]).expect("it can be counted"));
    for (before, after) in before.into_iter().zip(after) {
        println!("control messages delivered to a node: {}", after - before);
        assert!(after > before, "the counter counts");
        assert!(after - before <= MESSAGES, "{} messages", after - before);
    }
}
