//! Results as seen from outside: from outputs of tasks to sorted lines.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};

use bytes::Bytes;
use proptest::prelude::*;
use webmesh_protocol::TaskId;
use webmesh_protocol::segment::put_varint;

use super::{OutputFile, ResultError, ResultStore, Stats};

type Records = Vec<(Vec<u8>, String)>;

fn encode(records: &Records) -> Bytes {
    let mut out = Vec::new();
    for (key, value) in records {
        for part in [key.as_slice(), value.as_bytes()] {
            put_varint(&mut out, part.len() as u64);
            out.extend_from_slice(part);
        }
    }
    out.into()
}

fn store(memory: u64) -> ResultStore {
    ResultStore::new(std::env::temp_dir(), memory)
}

fn merged(store: ResultStore) -> (Vec<u8>, Stats) {
    let mut out = Vec::new();
    let stats = store.merge(&mut out).unwrap();
    (out, stats)
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Many equal keys, many common prefixes, and every byte that is escaped.
    let byte = prop::sample::select(b"ab\0\xff\t\n\r\\".to_vec());
    prop_oneof![
        prop::collection::vec(byte.clone(), 0..4),
        prop::collection::vec(byte, 0..3).prop_map(|end| [b"the same beginning".as_slice(), &end].concat()),
    ]
}

proptest! {
    #[test]
    fn lines_are_sorted_whether_kept_in_memory_or_on_disk(
        mut tasks in prop::collection::vec(prop::collection::vec((key(), "[0-9]{1,3}"), 0..20), 0..20),
        memory in prop::sample::select(vec![0u64, 100, 1 << 20]),
        long in prop::option::of(0usize..20),
    ) {
        if let Some(task) = long.filter(|&i| i < tasks.len()) {
            tasks[task].push((vec![b'k'; 70_000], "1".to_owned()));
            tasks[task].push((b"k".to_vec(), "2".repeat(300_000)));
        }
        let mut store = store(memory);
        for (i, task) in TaskId::enumerate(&mut tasks) {
            task.sort();
            store.add(i, encode(task)).unwrap();
        }
        let mut all = tasks.concat();
        all.sort();
        let mut expected = Vec::new();
        for (key, value) in &all {
            for byte in key {
                match byte {
                    b'\t' => expected.extend_from_slice(br"\t"),
                    b'\n' => expected.extend_from_slice(br"\n"),
                    b'\r' => expected.extend_from_slice(br"\r"),
                    b'\\' => expected.extend_from_slice(br"\\"),
                    other => expected.push(*other),
                }
            }
            writeln!(expected, "\t{value}").unwrap();
        }
        let (out, stats) = merged(store);
        prop_assert_eq!(stats.bytes, out.len() as u64);
        prop_assert!(out == expected);
        let lines = all.len() as u64;
        all.dedup_by(|a, b| a.0 == b.0);
        prop_assert_eq!((stats.lines, stats.keys), (lines, all.len() as u64));
    }

    #[test]
    fn any_bytes_are_stored_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut store = store(0);
        if store.add(TaskId(0), bytes.into()).is_ok() {
            merged(store);
        }
    }
}

fn one(key: &str, value: &str) -> (Vec<u8>, String) {
    (key.as_bytes().to_vec(), value.to_owned())
}

#[test]
fn the_last_output_of_a_task_counts() {
    for memory in [0, 1000] {
        let mut store = store(memory);
        store.add(TaskId(1), encode(&vec![one("old", "1")])).unwrap();
        store.add(TaskId(2), encode(&vec![one("other", "2")])).unwrap();
        store.add(TaskId(1), encode(&vec![one("new", "3")])).unwrap();
        store.add(TaskId(3), encode(&vec![one("gone", "4")])).unwrap();
        store.remove(TaskId(3));
        assert_eq!(store.len(), 2);
        assert_eq!(merged(store).0, b"new\t3\nother\t2\n");
    }
}

#[test]
fn no_results_give_no_lines() {
    assert_eq!(merged(store(0)), (Vec::new(), Stats::default()));
}

#[test]
fn a_malformed_output_is_refused_and_its_task_named() {
    let mut store = store(1000);
    let mut refuse = |bytes: Bytes| {
        let error = store.add(TaskId(7), bytes).unwrap_err().to_string();
        assert!(error.contains("task 7"), "{error}");
        error
    };
    let good = encode(&vec![one("a", "1"), one("b", "2")]);
    assert!(refuse(good.slice(..good.len() - 1)).contains("truncated"));
    assert!(refuse(encode(&vec![one("b", "1"), one("a", "1")])).contains("out of order"));
    assert!(refuse(encode(&vec![one("a", "2"), one("a", "1")])).contains("out of order"));
    assert!(refuse(encode(&vec![one("a", "1\n2")])).contains("line break"));
    assert!(store.is_empty());
}

#[test]
fn a_closed_pipe_is_distinguished_from_a_failing_disk() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut store = store(1000);
    store.add(TaskId(0), encode(&vec![one("a", "1")])).unwrap();
    let error = store.merge(&mut Gone).unwrap_err();
    assert!(matches!(error, ResultError::Write(e) if e.kind() == io::ErrorKind::BrokenPipe));
}

#[test]
fn a_result_file_is_complete_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.tsv");
    let file = OutputFile::create(&path).unwrap();
    let mut writer = file.writer().unwrap();
    writer.write_all(b"half").unwrap();
    assert!(!path.exists());
    drop(file);
    writer.write_all(b" and more, by a thread that was not told").unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");

    fs::write(&path, b"old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    let file = OutputFile::create(&link).unwrap();
    file.writer().unwrap().write_all(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    file.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_impossible_destination_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    assert!(OutputFile::create(dir.path()).is_err());
    let error = OutputFile::create(&dir.path().join("no/such/folder")).unwrap_err().to_string();
    assert!(error.contains("no/such/folder"), "{error}");
    // A device is written to, not replaced.
    let null = OutputFile::create("/dev/null".as_ref()).unwrap();
    null.writer().unwrap().write_all(b"x").unwrap();
    null.finish().unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}
