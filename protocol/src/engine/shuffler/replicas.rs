//! Copies of segments for a partition's replicas.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::shuffle::Shuffle;
use crate::engine::core::Core;
use crate::engine::pending::ShufflerRequest;
use crate::id::PeerKey;
use crate::io::RequestError;
use crate::message::{Push, PushEntry, Request, Response, runs_of_authors};
use crate::part::PartitionId;
use crate::time::Time;

/// Times that a replica may refuse a copy before the partition is sealed without it.
const REPLICA_TRIES: u32 = 3;
/// Pause before a copy that was not accepted is sent again.
const RETRY: Duration = Duration::from_millis(300);

/// Copies of some attempts for one replica.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) to: PeerKey,
    pub(super) push: Push,
    pub(super) body: Vec<Bytes>,
    pub(super) tries: u32,
    /// `NEVER` while an answer is awaited.
    pub(super) send_at: Time,
}

impl Copy {
    /// Bytes of segments.
    pub(super) fn bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

impl Shuffle {
    /// Copies newly pushed segments to the replicas of their partitions.
    pub(super) fn copy_to_replicas(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        push: &Push,
        fresh: &[usize],
        body: &Bytes,
    ) {
        if fresh.is_empty() {
            return;
        }
        let mut others: BTreeSet<PeerKey> = BTreeSet::new();
        for &partition in &self.owned {
            let replicas = self.ring.replicas(partition).iter().skip(1);
            others.extend(replicas.filter(|peer| !self.left_behind.contains(peer)));
        }
        for to in others {
            let wanted = |partition: PartitionId| self.owned.contains(&partition) && self.ring.holds(to, partition);
            let mut at = 0;
            let (mut entries, mut authors, mut parts) = (Vec::new(), Vec::new(), Vec::new());
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
                // The replica must know attempts that wrote nothing here, too: they count towards the seal.
                if copied {
                    entries.push(PushEntry { task: entry.task, digest: entry.digest, segments });
                    authors.push(from);
                }
            }
            let push = Push { replica: true, entries, authors: runs_of_authors(authors.into_iter()), ..push.clone() };
            let copy = Copy { to, push, body: parts, tries: 0, send_at: Time::NEVER };
            let number = core.next_id();
            self.send_copy(core, number, &copy);
            self.copies.insert(number, copy);
        }
    }

    /// Handles a replica's answer to a copy, or its failure. A replica that does not answer in time is left out until
    /// the next epoch: nothing waits for it, and nothing more is sent to it.
    pub(super) fn on_copy_answer(&mut self, now: Time, number: u64, outcome: &Result<(Response, Bytes), RequestError>) {
        let Some(copy) = self.copies.get_mut(&number) else { return };
        copy.tries += 1;
        match outcome {
            Err(RequestError::TimedOut) => {
                let to = copy.to;
                self.left_behind.insert(to);
                self.copies.retain(|_, copy| copy.to != to);
            }
            Ok((Response::Ok, _)) => {
                self.copies.remove(&number);
            }
            _ if copy.tries >= REPLICA_TRIES => {
                self.copies.remove(&number);
            }
            _ => {
                copy.send_at = now + RETRY;
                self.copies_at = self.copies_at.min(copy.send_at);
            }
        }
    }

    /// Whether copies of a partition are on their way: it is not sealed before they have arrived.
    pub(super) fn is_being_copied(&self, partition: PartitionId) -> bool {
        self.copies.values().any(|copy| self.ring.holds(copy.to, partition))
    }

    pub(super) fn send_copy(&self, core: &mut Core, number: u64, copy: &Copy) {
        let pending = ShufflerRequest::Replica { stage: self.id, request: number };
        core.request(copy.to, Request::Push(copy.push.clone()), copy.body.clone(), pending);
    }
}
