//! A cache of the packs that this worker's next tasks read.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::id::Hash;
use crate::limits;

/// Packs in memory: at most [`limits::PREFETCH_BYTES`], or one that is larger.
#[derive(Debug, Default)]
pub(super) struct Packs {
    ready: BTreeMap<Hash, (Bytes, u64)>,
    uses: u64,
    bytes: u64,
}

impl Packs {
    /// A pack, if it is in memory.
    pub(super) fn get(&mut self, hash: &Hash) -> Option<Bytes> {
        self.uses += 1;
        let (bytes, used) = self.ready.get_mut(hash)?;
        *used = self.uses;
        Some(bytes.clone())
    }

    /// Keeps a pack for the tasks to come, and drops the least recently used ones for it.
    pub(super) fn put(&mut self, hash: Hash, bytes: Bytes) {
        self.uses += 1;
        self.bytes += bytes.len() as u64;
        if let Some((old, _)) = self.ready.insert(hash, (bytes, self.uses)) {
            self.bytes -= old.len() as u64;
        }
        while self.bytes > limits::PREFETCH_BYTES && self.ready.len() > 1 {
            let Some(oldest) = self.ready.iter().min_by_key(|(_, (_, used))| *used).map(|(&h, _)| h) else { break };
            self.drop_pack(&oldest);
        }
    }

    /// Drops a pack.
    pub(super) fn drop_pack(&mut self, hash: &Hash) {
        if let Some((bytes, _)) = self.ready.remove(hash) {
            self.bytes -= bytes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_in_memory_are_bounded_and_the_least_recently_used_is_dropped_first() {
        let mut packs = Packs::default();
        let big = Bytes::from(vec![0; limits::PREFETCH_BYTES as usize / 2]);
        let name = |n: u8| Hash::of(&[n]);
        packs.put(name(1), big.clone());
        packs.put(name(2), big.clone());
        assert!(packs.get(&name(1)).is_some());
        packs.put(name(3), big);
        assert!(packs.get(&name(2)).is_none());
        assert!(packs.get(&name(1)).is_some() && packs.get(&name(3)).is_some());
    }
}
