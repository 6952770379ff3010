//! Flipped bits on a disk: stored data is checked, and fetched or created again, or refused with the file's name.

use std::fs;
use std::path::{Path, PathBuf};

use webmesh_tests::process::{Server, assert_success, confined, example, output, stderr, webmesh};

/// All files below `folder` except locks and temporary files of processes.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "tmp" && name != "home") {
                found.extend(files(&path));
            }
        } else if path.metadata().is_ok_and(|meta| meta.len() > 0) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("it can be read");
    let middle = bytes.len() / 2;
    // This turns text into other text of the same kind: `0` into `1`, `b` into `c`.
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("it can be written");
}

/// The name of a file, as it should appear in an error.
fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn a_job_with_a_flipped_bit_in_any_stored_file_succeeds_or_names_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let input = dir.path().join("input.txt");
    fs::write(&input, "two one two\n").expect("an input");
    let run = || {
        let mut command = webmesh(&data);
        command.arg("run").arg(example("wordcount/wordcount.cpp")).arg(&input).arg("--data").arg(&data);
        output(&mut command)
    };
    let first = run();
    assert_success(&first);
    let kept = files(&data);
    for part in ["blobs", "modules", "compiled", "owner"] {
        assert!(kept.iter().any(|path| path.parent().is_some_and(|folder| folder.ends_with(part))), "{part}: {kept:?}");
    }
    for path in kept {
        let whole = fs::read(&path).expect("it can be read");
        flip(&path);
        let run = run();
        if run.status.success() {
            assert_eq!(run.stdout, first.stdout, "with {}", path.display());
        } else {
            let text = stderr(&run);
            assert!(text.contains(&name(&path)), "{} is not named:\n{text}", path.display());
            fs::write(&path, &whole).expect("it can be written");
        }
        if path.parent().is_some_and(|folder| folder.ends_with("owner")) {
            assert!(!run.status.success(), "a flipped digit makes another owner");
        }
    }
}

#[test]
fn a_node_with_a_flipped_digit_in_its_key_does_not_start() {
    for program in ["webmesh", "webmesh-bootstrap"] {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        let start = || match program {
            "webmesh" => Server::node(&data, &[], &[]),
            _ => Server::bootstrap(&data),
        };
        let mut server = start();
        let peer = server.peer.clone();
        server.terminate();
        let key = data.join("identity.key");
        let whole = fs::read(&key).expect("it keeps its key");
        let mut damaged = whole.clone();
        damaged[7] = if damaged[7] == b'0' { b'1' } else { b'0' };
        fs::write(&key, damaged).expect("it can be written");
        let mut command = confined(program, &data);
        if program == "webmesh" {
            command.args(["node", "--no-mdns"]);
        }
        let refused =
            output(command.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0", "--data"]).arg(&data));
        let text = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{text}");
        for part in [key.to_str().expect("a name"), "damaged", "delete it"] {
            assert!(text.contains(part), "`{part}` is missing from:\n{text}");
        }
        fs::write(&key, whole).expect("it can be written");
        assert_eq!(start().peer, peer, "nothing was lost");
    }
}

#[test]
fn temporary_files_of_a_killed_node_are_removed_at_its_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut node = Server::node(dir.path(), &[], &[]);
    let left = dir.path().join(format!("peers.json.{}.new", node.pid()));
    fs::write(&left, "[").expect("it can be written");
    node.kill();
    let _node = Server::node(dir.path(), &[], &[]);
    assert!(!left.exists());
}

#[test]
fn a_damaged_result_of_a_detached_job_is_refused_with_the_files_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let bootstrap = Server::bootstrap(&dir.path().join("bootstrap"));
    let _node = Server::node(&dir.path().join("node"), &[&bootstrap.address], &[]);
    let data = dir.path().join("user");
    let input = dir.path().join("input.txt");
    fs::write(&input, "two one two\n").expect("an input");
    let mut submit = webmesh(&data);
    submit.arg("submit").arg(example("wordcount/wordcount.cpp")).arg(&input).args(["--detach", "--bootstrap"]);
    let submitted = output(submit.arg(&bootstrap.address).arg("--data").arg(&data));
    assert_success(&submitted);
    let id = String::from_utf8_lossy(&submitted.stdout).trim().to_owned();
    let results = || output(webmesh(&data).args(["results", &id, "--wait", "--data"]).arg(&data));
    let whole = results();
    assert_success(&whole);
    assert_eq!(whole.stdout, b"one\t1\ntwo\t2\n");
    let kept = data.join("detached").join(&id).join("result.tsv");
    flip(&kept);
    let refused = results();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty(), "nothing of it is given out");
    let text = stderr(&refused);
    assert!(text.contains(kept.to_str().expect("a name")) && text.contains("submit the job again"), "{text}");
}
