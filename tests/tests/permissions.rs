//! The permissions of files that nodes and commands write.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use webmesh_tests::mesh::corpus_of;
use webmesh_tests::process::{Server, assert_success, binary, confine, example, output, scratch};

/// A command in `data` whose umask lets everybody read new files, as is usual.
fn open_to_all(program: &str, data: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec \"$0\" \"$@\""]).arg(binary(program));
    confine(command, data)
}

/// Collects the paths in `folder` that others than the owner may read or list, except for what the test itself made.
fn readable_by_others(folder: &Path, except: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        // Temporary files come and go.
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if path == except {
            continue;
        }
        if meta.permissions().mode() & 0o077 != 0 && !meta.is_symlink() {
            found.push(format!("{:o} {}", meta.permissions().mode() & 0o777, path.display()));
        }
        if meta.is_dir() {
            readable_by_others(&path, except, found);
        }
    }
}

#[test]
fn only_their_owner_may_read_the_files_of_nodes_and_detached_jobs() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let [boot, worker, user] = ["bootstrap", "worker", "user"].map(|name| dir.path().join(name));
    let input = dir.path().join("input");
    corpus_of(&input, 8, 5);
    let mut command = open_to_all("webmesh-bootstrap", &boot);
    command.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/webrtc-direct"]);
    let bootstrap = Server::start(command.args(["--http", "127.0.0.1:0", "--data"]).arg(boot.join("data")));
    let mut command = open_to_all("webmesh", &worker);
    command.args([
        "node",
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--no-mdns",
        "--bootstrap",
        &bootstrap.address,
        "--data",
    ]);
    let _node = Server::start(command.arg(worker.join("data")));
    let asked = |words: &[&OsStr]| {
        let mut command = open_to_all("webmesh", &user);
        output(command.args(words).args(["--bootstrap", &bootstrap.address, "--data"]).arg(user.join("data")))
    };
    let word = OsStr::new;
    let job = example("wordcount/wordcount.cpp");
    let submitted = asked(&[word("submit"), job.as_os_str(), input.as_os_str(), word("--detach")]);
    assert_success(&submitted);
    let id = String::from_utf8(submitted.stdout).expect("an id");
    let result = dir.path().join("result.tsv");
    assert_success(&asked(&[word("results"), word(id.trim()), word("--wait"), word("-o"), result.as_os_str()]));
    let mode = std::fs::metadata(&result).expect("the result").permissions().mode() & 0o777;
    assert_eq!(mode, 0o644, "a result is written as the user's umask wants it");
    for folder in [&boot, &worker, &user] {
        let mut found = Vec::new();
        readable_by_others(folder, &scratch(folder), &mut found);
        assert_eq!(found, <Vec<String>>::new());
        assert!(folder.join("data").exists());
    }
    assert!(std::fs::read_dir(user.join("data/detached")).is_ok_and(|jobs| jobs.count() == 1), "the job is kept");
}
