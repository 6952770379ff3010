//! Modules and indexes, in memory.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use webmesh_protocol::Hash;

/// Size limit in bytes: some modules of the usual size, or four of the largest.
const BYTES: usize = 64 << 20;

/// Stored blobs, oldest first; the oldest are evicted beyond the limit.
#[derive(Default)]
pub(super) struct Blobs {
    kept: VecDeque<(Hash, Bytes)>,
    bytes: usize,
    /// Modules of this tab's own jobs, which other peers fetch from here, with the number of jobs that use each.
    pinned: HashMap<Hash, (Bytes, usize)>,
}

impl Blobs {
    pub(super) fn put(&mut self, hash: Hash, bytes: Bytes) {
        if self.get(&hash).is_some() {
            return;
        }
        self.bytes += bytes.len();
        self.kept.push_back((hash, bytes));
        while self.bytes > BYTES && self.kept.len() > 1 {
            self.bytes -= self.kept.pop_front().map_or(0, |(_, bytes)| bytes.len());
        }
    }

    /// Keeps a blob until [`release`](Self::release) has been called as often.
    pub(super) fn pin(&mut self, hash: Hash, bytes: Bytes) {
        self.pinned.entry(hash).or_insert((bytes, 0)).1 += 1;
    }

    /// Unpins the module of a finished job; it then stays like any other.
    pub(super) fn release(&mut self, hash: Hash) {
        let Some((bytes, jobs)) = self.pinned.remove(&hash) else { return };
        if jobs > 1 {
            self.pinned.insert(hash, (bytes, jobs - 1));
        } else {
            self.put(hash, bytes);
        }
    }

    /// A blob, which then counts as the newest.
    pub(super) fn get(&mut self, hash: &Hash) -> Option<Bytes> {
        if let Some((bytes, _)) = self.pinned.get(hash) {
            return Some(bytes.clone());
        }
        let at = self.kept.iter().position(|(kept, _)| kept == hash)?;
        let found = self.kept.remove(at)?;
        self.kept.push_back(found);
        self.kept.back().map(|(_, bytes)| bytes.clone())
    }
}
