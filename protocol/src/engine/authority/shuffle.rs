//! What the authority knows of one stage's shuffle.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{Hash, PeerKey};
use crate::message::Attempts;
use crate::ranges::BitSet;
use crate::ring::Assignment;
use crate::time::Time;

/// After a new epoch, when nothing has been committed for so long, tasks that lack segments are opened again:
/// until then replicas may come forward, and new owners pull from them.
const REOPEN_AFTER: Duration = Duration::from_millis(2_500);

/// What is known of one stage's shuffle.
#[derive(Debug)]
pub(super) struct Shuffle {
    pub(super) ring: Assignment,
    /// The accepted digest of each task: the first that an owner committed.
    pub(super) digests: Vec<Hash>,
    /// Which tasks' segments each partition's owner holds.
    pub(super) held: Vec<BitSet>,
    /// How many partitions lack each task.
    pub(super) lacking: Vec<u16>,
    pub(super) sealed: BTreeMap<u16, Hash>,
    pub(super) accept: Vec<(u32, Hash)>,
    pub(super) accept_at: Time,
    pub(super) accept_failed: Vec<(Time, PeerKey, Attempts)>,
    pub(super) tries: BTreeMap<PeerKey, u32>,
    /// When tasks that lost their segments are opened again.
    pub(super) reopen_at: Time,
}

const NONE: Hash = Hash([0; 32]);

impl Shuffle {
    pub(super) fn new(ring: Assignment, tasks: u32) -> Self {
        let partitions = ring.partitions();
        Self {
            ring,
            digests: vec![NONE; tasks as usize],
            held: (0..partitions).map(|_| BitSet::new(tasks)).collect(),
            lacking: vec![partitions; tasks as usize],
            sealed: BTreeMap::new(),
            accept: Vec::new(),
            accept_at: Time::NEVER,
            accept_failed: Vec::new(),
            tries: BTreeMap::new(),
            reopen_at: Time::NEVER,
        }
    }

    /// Notes that the owner of `partitions` holds an attempt; says whether the task is complete with that.
    pub(super) fn commit(&mut self, now: Time, task: u32, digest: Hash, partitions: &[u16]) -> bool {
        let Some(accepted) = self.digests.get_mut(task as usize) else { return false };
        if *accepted == NONE {
            *accepted = digest;
        }
        if *accepted != digest {
            return false;
        }
        let lacking = &mut self.lacking[task as usize];
        let fresh = partitions.iter().filter(|p| self.held[usize::from(**p)].insert(task)).count() as u16;
        *lacking -= fresh;
        if fresh > 0 && self.reopen_at != Time::NEVER {
            // More is still coming forward.
            self.reopen_at = self.reopen_at.max(now + REOPEN_AFTER);
        }
        let complete = fresh > 0 && *lacking == 0;
        if complete {
            self.accept.push((task, digest));
        }
        complete
    }

    /// Partitions whose owner changed are held by nobody until their new owners say otherwise.
    pub(super) fn new_ring(&mut self, now: Time, ring: Assignment) {
        let before = std::mem::replace(&mut self.ring, ring);
        for partition in 0..self.ring.partitions() {
            if before.owner(partition) == self.ring.owner(partition) {
                continue;
            }
            self.sealed.remove(&partition);
            let held = &mut self.held[usize::from(partition)];
            for task in held.iter() {
                self.lacking[task as usize] += 1;
            }
            *held = BitSet::new(held.size());
        }
        self.accept_failed.retain(|(_, to, _)| self.ring.owners().contains(to));
        self.tries.clear();
        self.reopen_at = now + REOPEN_AFTER;
    }
}
