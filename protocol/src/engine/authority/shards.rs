//! The workers of each shard of a stage, as far as the authority knows them.

use std::collections::BTreeMap;

use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::part::ShardId;

/// Workers of a shard that are remembered, to be named to those that enter it.
const SOME: usize = 3 * limits::SHARD_PEERS;

/// The workers of one stage.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Vec<Shard>,
    /// The shard in which each worker was last heard of.
    at: BTreeMap<PeerKey, ShardId>,
}

/// The workers of one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    pub(super) workers: u16,
    /// Some of them, the latest last.
    some: Vec<PeerKey>,
}

impl Shards {
    pub(super) fn new(count: u16) -> Self {
        Self { shards: vec![Shard::default(); usize::from(count)], at: BTreeMap::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter()
    }

    /// A worker works on a shard; gives some others that work on it.
    pub(super) fn enters(&mut self, peer: PeerKey, shard: ShardId) -> Vec<PeerKey> {
        if self.at.get(&peer) != Some(&shard) {
            self.leaves(&peer);
            if self.at.len() >= limits::JOB_WORKERS {
                return Vec::new();
            }
            self.at.insert(peer, shard);
            let of = &mut self.shards[shard.index()];
            of.workers = of.workers.saturating_add(1);
            of.some.push(peer);
            if of.some.len() > SOME {
                // Both early and late workers are kept: the former know most, the latter keep all workers connected.
                of.some.remove(SOME / 2);
            }
        }
        // Drawn differently for each asker, so that the workers do not form a chain.
        let mut others: Vec<PeerKey> = self.shards[shard.index()].some.iter().copied().filter(|p| *p != peer).collect();
        others.sort_by_cached_key(|other| Hash::of_parts("webmesh 1 who meets whom", &[&peer.0, &other.0]));
        others.truncate(limits::SHARD_PEERS);
        others
    }

    /// Whether a worker was last heard of in a shard.
    pub(super) fn is_at(&self, peer: &PeerKey, shard: ShardId) -> bool {
        self.at.get(peer) == Some(&shard)
    }

    /// A worker left its shard.
    pub(super) fn leaves(&mut self, peer: &PeerKey) {
        if let Some(shard) = self.at.remove(peer) {
            let of = &mut self.shards[shard.index()];
            of.workers = of.workers.saturating_sub(1);
            of.some.retain(|p| p != peer);
        }
    }
}
