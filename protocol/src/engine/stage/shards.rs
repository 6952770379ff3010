//! The shards of a stage: what the authority knows of them, and how a worker moves from one to another.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{LOOK_AGAIN, StageWork};
use crate::claims::ClaimTable;
use crate::engine::core::Core;
use crate::engine::pending::{DiscoveryRequest, WorkerRequest};
use crate::engine::starting_place::StartingPlace;
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::message::{Request, ShardLeft, Standing, Summary, Topic};
use crate::part::{PartitionId, ShardId};
use crate::time::Time;

/// Shortest and longest delay before the authority is asked for its view when nothing is left to claim; it grows with
/// each request.
pub(super) const SUMMARY_WAIT: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(5));
/// Interval of requests to the authority once all seems done, in case a task is reopened.
const SUMMARY_WHEN_OVER: Duration = Duration::from_secs(15);
/// Longest wait for other workers' claims after entering a shard.
const ENTER_WAIT: Duration = Duration::from_secs(3);
/// Workers of a shard that are asked for its claims on entry.
const ASK_CLAIMS: usize = 3;
/// A worker that enters a shard with over 1.05 times its fair share of workers moves on to another.
const CROWDED: (u32, u32) = (21, 20);
/// Number of shards drawn at random, of which a worker takes the one with the most blocks per worker.
const CHOICES: usize = 3;
/// Least number of blocks per worker left in a shard for which another worker moves there.
const WORTH: u32 = 4;

impl StageWork {
    /// Starts to work on a shard, at `place` or at a random place of this peer's own.
    pub(super) fn enter_shard(&mut self, core: &mut Core, shard: ShardId, place: Option<StartingPlace>) {
        self.open_shard(core, shard);
        match place {
            Some(place) => self.take_place(core, place),
            None => self.next_claim_at = core.now + self.settle(core) + self.contention_backoff(core),
        }
        if self.stage().shards > 1 {
            self.await_standings(core);
        }
    }

    /// Resets the claim table for a shard.
    pub(super) fn open_shard(&mut self, core: &Core, shard: ShardId) {
        let blocks = self.stage().shard_blocks(shard);
        let parts = [&self.id.job.0[..], &shard.0.to_le_bytes(), &core.me.0];
        let draw = Hash::of_parts("webmesh 1 place in shard", &parts).draw();
        let late = self.table.late_workers();
        self.table = ClaimTable::new(core.me, self.id.shard(shard), blocks, draw);
        self.table.suspect(&late);
        self.topic = Topic::of_shard(self.id.shard(shard));
    }

    /// Claims nothing before this peer knows the state of the shard: what is done, and which workers claim the rest.
    pub(in crate::engine) fn await_standings(&mut self, core: &mut Core) {
        self.entering = true;
        self.asking = 0;
        self.next_claim_at = core.now + ENTER_WAIT;
        self.ask_summary(core);
    }

    /// The claims in this shard, for a worker that enters it; `None` before this worker knows them itself.
    pub(in crate::engine) fn standings(&self, core: &Core, shard: ShardId) -> Option<Vec<Standing>> {
        (shard == self.table.shard() && !self.entering).then(|| self.table.standings(core.now, self.lease(core)))
    }

    /// Handles an answer to a request for the claims in this shard; `None` if `from` does not know them.
    pub(in crate::engine) fn on_standings(
        &mut self,
        core: &Core,
        shard: ShardId,
        from: PeerKey,
        standings: Option<&[Standing]>,
    ) {
        if shard != self.table.shard() {
            return;
        }
        self.asking = self.asking.saturating_sub(1);
        for Standing { worker, claim, lease } in standings.unwrap_or_default() {
            if *worker == core.me || claim.shard_ref() != self.table.shard_ref() {
                continue;
            }
            if *worker == from {
                self.on_claim(core, from, claim);
            } else {
                // A live worker publishes more than once per lease, so half of one is enough.
                let left = Duration::from_millis((*lease).into()).min(self.lease(core) / 2);
                self.table.on_relayed_claim(core.now, *worker, claim, left);
            }
        }
        if !self.entering {
            return;
        }
        if standings.is_some() {
            self.entering = false;
            self.next_claim_at = core.now + core.hop() + self.contention_backoff(core);
        } else if self.asking == 0 {
            // The other workers are as new here as this one.
            self.entering = false;
            self.next_claim_at = core.now + self.settle(core) + self.contention_backoff(core);
        }
    }

    /// Notes that the authority answered a request about a shard, or that the request failed.
    pub(in crate::engine) fn answered(&mut self, shard: ShardId) {
        self.asked.take_if(|asked| *asked == shard);
    }

    /// Handles the authority's view of this shard. `owner_of` gives the owner of a partition of the shuffle that is
    /// read at a port.
    pub(in crate::engine) fn on_summary(
        &mut self,
        core: &mut Core,
        shard: ShardId,
        summary: &Summary,
        proven: &BTreeSet<PeerKey>,
        done: impl Iterator<Item = u32>,
        owner_of: impl Fn(usize, PartitionId) -> Option<PeerKey>,
    ) {
        if let Some(width) = summary.width {
            self.set_split(core, width, true);
        }
        // For a shard that no longer exists, the authority describes the last one.
        let shard = shard.min(ShardId(self.stage().shards - 1));
        if shard != self.table.shard() {
            return;
        }
        let now = core.now;
        if summary.reopened > self.reopened {
            self.reopened = summary.reopened;
            self.table.forget_news();
        }
        let size = self.table.blocks().len() as u32;
        let needless = self.table.set_done(now, done.take_while(|&block| block < size));
        // `needless` is sorted.
        self.queue.retain(|(b, _)| needless.binary_search(b).is_err());
        self.is_told_of_workers = summary.proven.is_some();
        if self.is_told_of_workers {
            self.fellows = proven.len() as u32;
            let before = self.table.active_workers();
            self.table.judge(self.asked_at, self.newcomer_patience(core), |peer| proven.contains(peer));
            if self.table.active_workers() * 2 <= before {
                core.gossip_budget.refund();
            }
        }
        for (port, seals) in summary.ports().enumerate() {
            for &(partition, root) in seals {
                if let Some(owner) = owner_of(port, partition) {
                    self.on_seal(core, port, partition, root, owner);
                }
            }
        }
        let left = |shards: &[ShardLeft]| shards.iter().map(|s| s.blocks).collect::<Vec<u32>>();
        if left(&summary.shards) != left(&self.shards) {
            self.standing_since = now;
        }
        self.shards = summary.shards.clone();
        if let Some(next) = self.better_shard(core) {
            if self.unpublished {
                self.publish(core);
            }
            self.enter_shard(core, next, None);
        } else if self.entering {
            self.ask_for_claims(core, &summary.peers);
        } else if self.claimable() > 0 {
            self.next_claim_at = self.next_claim_at.min(now + self.contention_backoff(core));
        }
    }

    /// A shard with more blocks per worker than this one, if this one is crowded or has no free block.
    fn better_shard(&mut self, core: &Core) -> Option<ShardId> {
        if self.shards.len() != usize::from(self.stage().shards) || self.shards.len() < 2 || self.is_busy() {
            return None;
        }
        let here = self.shards[self.table.shard().index()];
        let all =
            self.shards.iter().fold((0u64, 0u64), |sum, s| (sum.0 + u64::from(s.blocks), sum.1 + u64::from(s.workers)));
        // The share of all workers that the blocks here deserve.
        let fair = u64::from(here.blocks) * all.1 / all.0.max(1) * u64::from(CROWDED.0) / u64::from(CROWDED.1) + 1;
        let crowded = self.entering && u64::from(here.workers) > fair;
        if !crowded && self.table.free() > 0 {
            return None;
        }
        // Shards with few blocks per worker are avoided. But the workers reported there may be gone or hang, which
        // nobody else knows: so a shard without progress for a lease counts.
        let stands = core.now.since(self.standing_since) > self.lease(core);
        let worth = |s: &ShardLeft| s.blocks > 0 && (stands || s.blocks >= WORTH * u32::from(s.workers));
        let others = ShardId::enumerate(&self.shards).filter(|(shard, s)| *shard != self.table.shard() && worth(s));
        let others: Vec<ShardId> = others.map(|(shard, _)| shard).collect();
        let drawn: Vec<ShardId> = (0..CHOICES)
            .filter_map(|_| {
                let at = self.table.draw() % (others.len() as u64).max(1);
                others.get(at as usize).copied()
            })
            .collect();
        let per_worker = |shard: &ShardId| {
            let of = self.shards[shard.index()];
            u64::from(of.blocks) * 1024 / (u64::from(of.workers) + 1)
        };
        let best = drawn.into_iter().max_by_key(per_worker)?;
        let here_has = u64::from(here.blocks) * 1024 / u64::from(here.workers.max(1));
        if crowded && per_worker(&best) <= here_has {
            return None;
        }
        // The progress of the next shard is timed from now.
        self.standing_since = core.now;
        Some(best)
    }

    /// Connects to some of a shard's workers, so that its gossip arrives, and asks for their claims.
    fn ask_for_claims(&mut self, core: &mut Core, peers: &[PeerKey]) {
        let shard = self.table.shard_ref();
        let peers: Vec<PeerKey> = peers.iter().copied().filter(|p| *p != core.me).take(limits::SHARD_PEERS).collect();
        for &peer in &peers {
            if !core.directory.is_connected(&peer) {
                core.request(peer, Request::Hello(core.advert.clone()), vec![], DiscoveryRequest::Hello(peer));
            }
        }
        self.asking = peers.len().min(ASK_CLAIMS);
        for &peer in peers.iter().take(ASK_CLAIMS) {
            core.request(peer, Request::Claims(shard), vec![], WorkerRequest::Claims { shard, from: peer });
        }
        if peers.is_empty() {
            self.entering = false;
            self.next_claim_at = core.now + self.settle(core);
        }
    }

    /// Makes sure that the authority is asked about newcomers that hold all blocks, as soon as it can tell which of them
    /// are late.
    pub(super) fn ask_about_newcomers(&mut self, core: &Core) {
        if self.is_busy() || self.asked.is_some() || !self.is_told_of_workers || self.table.free() > 0 {
            return;
        }
        if let Some(at) = self.table.doubtful_at(self.newcomer_patience(core)) {
            self.summary_at = self.summary_at.min(at.max(self.asked_at + LOOK_AGAIN).max(core.now));
        }
    }

    /// Schedules a request for the authority's view when no block is free: what is left, here and in other shards.
    pub(super) fn schedule_summary(&mut self, core: &mut Core) {
        if self.is_busy() {
            return;
        }
        self.ask_about_newcomers(core);
        if self.summary_at != Time::NEVER {
            return;
        }
        if self.is_over() && self.asked.is_some() {
            // It may not be over: the authority's answer is on its way.
            return;
        }
        let drained = self.table.is_drained() && self.stage().shards > 1;
        let wait = match self.is_over() {
            true if self.table.is_proven() => SUMMARY_WHEN_OVER,
            false if drained => self.settle(core),
            _ => self.summary_wait,
        };
        self.summary_at = core.now + wait;
    }

    /// Makes sure that the authority is asked within `wait`.
    pub(in crate::engine) fn ask_summary_within(&mut self, now: Time, wait: Duration) {
        self.summary_at = self.summary_at.min(now + wait);
    }

    /// Asks the authority what is done.
    pub(in crate::engine) fn ask_summary(&mut self, core: &mut Core) {
        self.summary_at = Time::NEVER;
        self.summary_wait = (self.summary_wait * 3 / 2).min(SUMMARY_WAIT.1);
        let shard = self.table.shard_ref();
        if self.asked.is_none() {
            self.asked_at = core.now;
        }
        self.asked = Some(shard.shard);
        core.request(self.home, Request::Summary(shard), vec![], WorkerRequest::Summary(shard));
    }
}
