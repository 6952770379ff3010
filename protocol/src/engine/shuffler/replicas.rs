//! Copies of segments on their way to a partition's replicas.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::shuffle::Shuffle;
use crate::engine::core::{Core, Pending};
use crate::id::PeerKey;
use crate::message::{Push, PushEntry, Request};
use crate::time::Time;

/// A replica that did not take a push after so many tries is left behind: the partition seals without it.
pub(super) const REPLICA_TRIES: u32 = 3;

#[derive(Debug)]
pub(super) struct Copy {
    pub(super) to: PeerKey,
    pub(super) push: Push,
    pub(super) body: Vec<Bytes>,
    pub(super) tries: u32,
    /// `NEVER` while an answer is awaited.
    pub(super) send_at: Time,
}

impl Shuffle {
    /// Sends copies of what was just staged to the replicas of its partitions.
    pub(super) fn copy_to_replicas(&mut self, core: &mut Core, push: &Push, fresh: &[usize], body: &Bytes) {
        let mut others: BTreeSet<PeerKey> = BTreeSet::new();
        for &partition in &self.owned {
            others.extend(self.ring.replicas(partition).iter().skip(1));
        }
        if fresh.is_empty() {
            return;
        }
        for to in others {
            let wanted = |partition: u16| self.owned.contains(&partition) && self.ring.holds(to, partition);
            let mut at = 0;
            let (mut entries, mut parts) = (Vec::new(), Vec::new());
            for (i, entry) in push.entries.iter().enumerate() {
                let copied = fresh.binary_search(&i).is_ok();
                let mut segments = Vec::new();
                for &(partition, len) in &entry.segments {
                    let end = at + len as usize;
                    if copied && wanted(partition) {
                        segments.push((partition, len));
                        parts.push(body.slice(at..end));
                    }
                    at = end;
                }
                // An attempt that wrote nothing here is known to the replica too: it counts towards the seal.
                if copied {
                    entries.push(PushEntry { task: entry.task, digest: entry.digest, segments });
                }
            }
            let push = Push { replica: true, entries, ..push.clone() };
            let copy = Copy { to, push, body: parts, tries: 0, send_at: Time::NEVER };
            let number = core.next_id();
            self.send_copy(core, number, &copy);
            self.copies.insert(number, copy);
        }
    }

    pub(super) fn send_copy(&self, core: &mut Core, number: u64, copy: &Copy) {
        let pending = Pending::Replica { job: self.job, stage: self.stage, request: number };
        core.request(copy.to, Request::Push(copy.push.clone()), copy.body.clone(), pending);
    }
}
