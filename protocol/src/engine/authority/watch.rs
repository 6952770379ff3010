//! A watch over the shufflers of a job: who is silent, or gets nowhere, is given up though its connection stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::job::Job;
use super::shuffle::Shuffle;
use crate::engine::core::{Core, Pending};
use crate::id::PeerKey;
use crate::message::Request;
use crate::time::Time;

/// Shufflers are asked for a sign of life this often.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// Who gave none for so long, four times in a row, hangs.
const SILENT_AFTER: Duration = Duration::from_secs(20);
/// Who is behind the others and gets nowhere for so long is of no use, whatever it answers. Three requests may run
/// out of time before: a copy for a replica that is lost, say, for which a seal waits.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// When a job's shufflers were last heard.
#[derive(Debug)]
pub(super) struct Watch {
    /// When to ask them next.
    pub(super) at: Time,
    answered: BTreeMap<PeerKey, Time>,
}

impl Watch {
    pub(super) fn new(now: Time) -> Self {
        Self { at: now + WATCH_EVERY, answered: BTreeMap::new() }
    }

    /// This peer slept: everyone is asked anew, and at once.
    pub(super) fn woke(&mut self, now: Time) {
        self.at = now;
        self.answered.clear();
    }
}

/// How far an owner has come with what it owns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    held: u64,
    sealed: usize,
}

impl Job {
    /// Asks all shufflers for a sign of life, by telling them the epoch once more: that may have been lost too.
    pub(super) fn watch(&mut self, core: &mut Core) {
        if core.now < self.watch.at {
            return;
        }
        let (now, me) = (core.now, core.me);
        self.watch.at = now + WATCH_EVERY;
        let shuffles = self.stages.iter_mut().filter_map(|s| s.shuffle.as_mut());
        let mut lost: BTreeSet<PeerKey> = shuffles.flat_map(|s| s.stalled(now)).collect();
        let shufflers: Vec<PeerKey> = self.epoch.shufflers.iter().map(|s| s.peer).collect();
        self.watch.answered.retain(|peer, _| shufflers.contains(peer));
        for &peer in shufflers.iter().filter(|p| **p != me) {
            if now.since(*self.watch.answered.entry(peer).or_insert(now)) >= SILENT_AFTER {
                lost.insert(peer);
            }
            let pending = Pending::Watch { job: self.id, peer };
            core.request(peer, Request::NewEpoch(self.signed_epoch.clone()), vec![], pending);
        }
        for peer in lost.into_iter().filter(|p| *p != me) {
            core.log(format!("job {}: shuffler {} is silent, or gets nowhere", self.id.short(), peer.short()));
            self.missing.insert(peer, now);
        }
    }

    /// A shuffler gave a sign of life.
    pub(super) fn watched(&mut self, now: Time, peer: PeerKey) {
        if let Some(answered) = self.watch.answered.get_mut(&peer) {
            *answered = now;
        }
    }
}

impl Shuffle {
    /// Owners that lack what others hold, or have not sealed what is complete, and have come no further for long.
    fn stalled(&mut self, now: Time) -> Vec<PeerKey> {
        let most = self.held.iter().map(|held| held.count()).max().unwrap_or(0);
        let mut stalled = Vec::new();
        for owner in self.ring.owners() {
            let owned: Vec<u16> = self.ring.partitions_of(owner).collect();
            let held = || owned.iter().map(|&p| self.held[usize::from(p)].count());
            let sealed = owned.iter().filter(|p| self.sealed.contains_key(p)).count();
            let behind = held().any(|n| n < most) || (self.accepted.is_full() && sealed < owned.len());
            let standing = Standing { held: held().map(u64::from).sum(), sealed };
            match self.standings.get(&owner) {
                Some((before, since)) if behind && *before == standing => {
                    if now.since(*since) > STALLED_AFTER {
                        stalled.push(owner);
                    }
                }
                _ => {
                    self.standings.insert(owner, (standing, now));
                }
            }
        }
        stalled
    }
}
