//! Results that outlive their process: a file to which each task's output is appended after a header.
//!
//! Outputs carry no checksum of their own. The job's log holds the hash of each, and only outputs with that hash count
//! when the file is read back; anything else was not decided yet, or is damaged, and is computed again.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use webmesh_protocol::{Hash, TaskId, limits};

use super::header::{HEAD, head};
use super::store::{Place, ResultStore};
use crate::platform::{Spill, private};

/// Results read back from a file.
#[derive(Debug)]
pub struct Reopened {
    /// The valid ones, ready for more.
    pub store: ResultStore,
    /// Why the file was truncated, if it was.
    pub cut: Option<&'static str>,
}

impl ResultStore {
    /// An empty store that keeps everything in a new file, from which [`ResultStore::reopen`] reads it back.
    ///
    /// # Errors
    /// The file cannot be created, or exists already.
    pub fn keep(path: &Path) -> io::Result<Self> {
        let file = private::options().read(true).write(true).create_new(true).open(path)?;
        Ok(Self::in_file(path, file, 0))
    }

    /// Reads back what another process stored. For each task, the last output with the hash `wanted` counts; `None`
    /// from `wanted` means that the task has no result yet.
    ///
    /// # Errors
    /// The file cannot be read, or not be truncated where it is damaged.
    pub fn reopen(path: &Path, wanted: impl Fn(TaskId) -> Option<Hash>) -> io::Result<Reopened> {
        let file = private::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut reader = BufReader::new(&file);
        let mut places = Vec::new();
        let mut body = Vec::new();
        let mut end = 0;
        let cut = loop {
            let mut found = [0; HEAD];
            match fill(&mut reader, &mut found)? {
                0 => break None,
                HEAD => {}
                _ => break Some("its last output is incomplete"),
            }
            let (task, len) = (TaskId(u32_of(&found)), u64_of(&found));
            if found != head(task, len) || len > limits::TASK_OUTPUT_BYTES {
                break Some("the length of an output is damaged");
            }
            body.resize(len as usize, 0);
            if fill(&mut reader, &mut body)? < body.len() {
                break Some("its last output is incomplete");
            }
            let offset = end + HEAD as u64;
            if wanted(task) == Some(Hash::of(&body)) {
                places.push((task, Place::Disk { offset, len }));
            }
            end = offset + len;
        };
        drop(reader);
        if cut.is_some() {
            file.set_len(end)?;
        }
        let mut store = Self::in_file(path, file, end);
        store.outputs.extend(places);
        Ok(Reopened { store, cut })
    }

    fn in_file(path: &Path, file: File, end: u64) -> Self {
        let mut store = Self::new(path.to_owned(), 0);
        (store.spill, store.is_kept) = (Some((Arc::new(Spill::of(file)), end)), true);
        store
    }
}

fn u32_of(head: &[u8; HEAD]) -> u32 {
    u32::from_le_bytes([head[0], head[1], head[2], head[3]])
}

fn u64_of(head: &[u8; HEAD]) -> u64 {
    let mut len = [0; 8];
    len.copy_from_slice(&head[4..12]);
    u64::from_le_bytes(len)
}

/// Fills `buf` as far as there are bytes; returns their number.
fn fill(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match reader.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn output(key: &str) -> Bytes {
        [&[key.len() as u8], key.as_bytes(), &[1, b'1']].concat().into()
    }

    fn lines(store: ResultStore) -> String {
        let mut out = Vec::new();
        store.merge(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Three outputs in a file; returns the folder, and the file's bytes.
    fn kept() -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        let mut store = ResultStore::keep(&path).unwrap();
        for (task, key) in [(0, "old"), (7, "seven"), (0, "zero")] {
            store.add(TaskId(task), output(key)).unwrap();
        }
        assert!(store.take_unsynced().is_some() && store.take_unsynced().is_none());
        let bytes = std::fs::read(&path).unwrap();
        (folder, bytes)
    }

    fn wanted(task: TaskId) -> Option<Hash> {
        match task.0 {
            0 => Some(Hash::of(&output("zero"))),
            7 => Some(Hash::of(&output("seven"))),
            _ => None,
        }
    }

    #[test]
    fn results_of_another_process_are_read_back_and_extended() {
        let (folder, _) = kept();
        let path = folder.path().join("results");
        let Reopened { mut store, cut } = ResultStore::reopen(&path, wanted).unwrap();
        assert_eq!((store.len(), cut), (2, None));
        store.add(TaskId(3), output("three")).unwrap();
        drop(store);
        let all = |task| wanted(task).or((task == TaskId(3)).then(|| Hash::of(&output("three"))));
        let again = ResultStore::reopen(&path, all).unwrap().store;
        assert_eq!(lines(again), "seven\t1\nthree\t1\nzero\t1\n");
    }

    #[test]
    fn an_output_without_its_hash_in_the_log_does_not_count() {
        let (folder, _) = kept();
        let named = |task| (task == TaskId(7)).then(|| wanted(task)).flatten();
        let store = ResultStore::reopen(&folder.path().join("results"), named).unwrap().store;
        assert!(store.has(TaskId(7)) && !store.has(TaskId(0)));
    }

    #[test]
    fn a_flipped_bit_or_a_truncated_end_never_gives_a_wrong_output() {
        let (folder, whole) = kept();
        let path = folder.path().join("results");
        let right = "seven\t1\nzero\t1\n".lines().collect::<Vec<_>>();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for damaged in [&flipped[..], &whole[..at]] {
                std::fs::write(&path, damaged).unwrap();
                let store = ResultStore::reopen(&path, wanted).unwrap().store;
                let text = lines(store);
                assert!(text.lines().all(|line| right.contains(&line)), "at {at}: {text}");
                // Outputs added after the damage are read back.
                let mut store = ResultStore::reopen(&path, wanted).unwrap().store;
                store.add(TaskId(0), output("zero")).unwrap();
                store.add(TaskId(7), output("seven")).unwrap();
                drop(store);
                let mended = ResultStore::reopen(&path, wanted).unwrap().store;
                assert_eq!(lines(mended).lines().collect::<Vec<_>>(), right, "at {at}");
            }
        }
    }
}
