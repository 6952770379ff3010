//! Probes of a job's shufflers: one that is unresponsive or stalled is given up though its connection stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::job::Job;
use super::shuffle::Shuffle;
use crate::engine::core::Core;
use crate::engine::pending::AuthorityRequest;
use crate::id::PeerKey;
use crate::message::Request;
use crate::part::{PartitionId, StageId};
use crate::time::Time;

/// Interval between probes of each shuffler. A probe is some 200 bytes, and a job has up to 16 shufflers.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// A shuffler that has answered no probe for this long is late, which is told to the user.
pub(super) const LATE_AFTER: Duration = Duration::from_secs(4);
/// Timeout for a shuffler that has answered no probe and shown no other sign of life (a pong, gossip, a request): it
/// hangs or is cut off. Four probes and two pings of the connection.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(8);
/// Timeout for a shuffler that shows signs of life and answers no probe: it may be busy.
pub(super) const BUSY_AT_MOST: Duration = Duration::from_secs(20);
/// Timeout for a shuffler that answers, lacks what others hold, and makes no progress. Three requests may time out
/// before: a copy for a replica that is lost, say, for which a seal waits.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// When a job's shufflers last answered.
#[derive(Debug)]
pub(super) struct Watch {
    /// When to ask them next.
    pub(super) at: Time,
    answered: BTreeMap<PeerKey, Time>,
}

impl Watch {
    pub(super) fn new(now: Time) -> Self {
        Self { at: now + PROBE_INTERVAL, answered: BTreeMap::new() }
    }

    /// Resumes after this peer did not run: all shufflers are probed at once, and their timeouts start again.
    pub(super) fn on_resumed(&mut self, now: Time) {
        self.at = now;
        self.answered.clear();
    }

    /// Shufflers that have answered no probe for a while.
    pub(super) fn late(&self, now: Time) -> impl Iterator<Item = PeerKey> + '_ {
        self.answered.iter().filter(move |(_, at)| now.since(**at) >= LATE_AFTER).map(|(&peer, _)| peer)
    }
}

/// An owner's progress with its partitions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    held: u64,
    sealed: usize,
    /// It lacks what others hold, or has not sealed what is complete.
    is_behind: bool,
}

impl Job {
    /// Gives up shufflers that are unresponsive or stalled, at each probe.
    pub(super) fn watch(&mut self, core: &mut Core) {
        if core.now < self.watch.at {
            return;
        }
        let (now, me) = (core.now, core.me);
        let state = self.ledger.state();
        let shuffles = StageId::enumerate(&mut self.stages).filter_map(|(n, stage)| Some((n, stage.shuffle.as_mut()?)));
        let can_seal = |stage| state.stage(stage).is_some_and(|stage| stage.split().is_some());
        let stalled: BTreeSet<PeerKey> = shuffles.flat_map(|(n, shuffle)| shuffle.stalled(now, can_seal(n))).collect();
        for peer in stalled.into_iter().filter(|peer| *peer != me) {
            let why =
                format!("it is behind the other shufflers and has made no progress for {} s", STALLED_AFTER.as_secs());
            self.replace_after(now, peer, Duration::ZERO, why);
        }
        let shufflers: Vec<PeerKey> = self.epoch.shufflers.iter().map(|s| s.peer).collect();
        self.watch.answered.retain(|peer, _| shufflers.contains(peer));
        for peer in shufflers.into_iter().filter(|peer| *peer != me) {
            let silent = now.since(*self.watch.answered.entry(peer).or_insert(now));
            let last_sign = core.directory.last_sign_of_life(&peer);
            let seems_dead = last_sign.is_none_or(|at| now.since(at) >= SILENT_AFTER);
            if silent >= if seems_dead { SILENT_AFTER } else { BUSY_AT_MOST } {
                self.replace_after(
                    now,
                    peer,
                    Duration::ZERO,
                    format!("it has not answered for {} s", silent.as_secs()),
                );
            }
        }
    }

    /// Probes all shufflers if that is due, by sending them the epoch: it may be new to them, or an earlier message of
    /// it may have been lost.
    pub(super) fn probe(&mut self, core: &mut Core) {
        if core.now < self.watch.at {
            return;
        }
        let me = core.me;
        self.watch.at = core.now + PROBE_INTERVAL;
        for peer in self.epoch.shufflers.iter().map(|s| s.peer).filter(|peer| *peer != me) {
            let pending = AuthorityRequest::Watch { job: self.id, peer };
            core.request(peer, Request::NewEpoch(self.signed_epoch.clone()), vec![], pending);
        }
    }

    /// A shuffler gave a sign of life.
    pub(super) fn note_answer(&mut self, now: Time, peer: PeerKey) {
        if let Some(answered) = self.watch.answered.get_mut(&peer) {
            *answered = now;
        }
    }
}

impl Shuffle {
    /// Owners that lack attempts which others hold, or have not sealed complete partitions, and have made no progress
    /// for long. Nothing can be sealed before its division into tasks is settled, which waits for all that is read
    /// together with it.
    fn stalled(&mut self, now: Time, can_seal: bool) -> Vec<PeerKey> {
        let most = self.held.iter().map(|held| held.count()).max().unwrap_or(0);
        let mut stalled = Vec::new();
        for owner in self.ring.owners() {
            let owned: Vec<PartitionId> = self.ring.partitions_of(owner).collect();
            let held = || owned.iter().map(|&p| self.held[p.index()].count());
            let sealed = owned.iter().filter(|p| self.sealed.contains_key(p)).count();
            let is_behind = held().any(|n| n < most) || (can_seal && self.accepted.is_full() && sealed < owned.len());
            let standing = Standing { held: held().map(u64::from).sum(), sealed, is_behind };
            match self.standings.get(&owner) {
                Some((before, since)) if is_behind && *before == standing => {
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

    /// Owners that lack what others hold and have made no progress for this long, as of the last probe.
    pub(super) fn behind(&self, now: Time, time: Duration) -> impl Iterator<Item = PeerKey> + '_ {
        let of_owners = self.standings.iter();
        let behind = of_owners.filter(move |(_, (standing, since))| standing.is_behind && now.since(*since) >= time);
        behind.map(|(&owner, _)| owner)
    }
}
