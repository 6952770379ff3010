//! Modules and indexes, in memory.

use std::collections::VecDeque;

use bytes::Bytes;
use webmesh_protocol::Hash;

/// Some modules of usual size, or four of the largest.
const BYTES: usize = 64 << 20;

/// What was stored, the newest last; beyond a bound the oldest go.
#[derive(Default)]
pub(super) struct Blobs {
    kept: VecDeque<(Hash, Bytes)>,
    bytes: usize,
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

    /// A blob, which is then the newest.
    pub(super) fn get(&mut self, hash: &Hash) -> Option<Bytes> {
        let at = self.kept.iter().position(|(kept, _)| kept == hash)?;
        let found = self.kept.remove(at)?;
        self.kept.push_back(found);
        self.kept.back().map(|(_, bytes)| bytes.clone())
    }
}
