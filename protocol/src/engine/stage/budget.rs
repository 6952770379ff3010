//! How often a worker may speak in its shard, and how long claims take to be heard.

use std::time::Duration;

use super::StageWork;
use crate::engine::core::Core;
use crate::limits;
use crate::time::Time;

/// Each gossip message reaches a peer about so many times: simulated, 8 in a mesh of 100 peers, 13 in one of 1,000.
const GOSSIP_COPIES: u32 = 10;
/// Of the messages that a peer may be sent, so many are left to topics beside the claims of one shard.
const OTHER_MESSAGES: u32 = 20;
/// Messages that may follow each other quickly, where a worker has been silent for long: at the start, while it
/// finds its pace, and at the end, when batches are small.
const BURST: f64 = 6.0;
/// In each of many jobs too it takes a few messages to find the pace, the first claims being small.
const LEAST_BURST: f64 = 3.0;
/// The first messages may follow each other so quickly,
const QUICK_GAP: Duration = Duration::from_millis(20);
/// and those after the first few.
const SHORTEST_GAP: Duration = Duration::from_millis(200);
const QUICK_MESSAGES: u32 = 5;
/// Of workers who wait for few blocks, each waits up to so many times as long as claims take to settle.
const THINNEST: u32 = 16;
/// Workers of a shard that are expected at most before they are heard (rule 6).
pub(super) const EXPECTED: u32 = 64;

/// What this worker may say in its shard: a bucket of messages that fills at the rate the shard can bear.
#[derive(Debug)]
pub(super) struct Budget {
    messages: f64,
    at: Time,
    pub(super) said: u32,
    pub(super) last: Time,
}

impl Budget {
    pub(super) fn full() -> Self {
        Self { messages: BURST, at: Time(0), said: 0, last: Time(0) }
    }

    /// When there is room for the next message, one coming in each `gap`, `burst` at most.
    pub(super) fn next(&self, gap: Duration, burst: f64) -> Time {
        let shortest = if self.said < QUICK_MESSAGES { QUICK_GAP } else { SHORTEST_GAP };
        let spaced = if self.said == 0 { Time(0) } else { self.last + shortest };
        spaced.max(self.at + gap.mul_f64((1.0 - self.messages.min(burst)).max(0.0)))
    }

    pub(super) fn spend(&mut self, now: Time, gap: Duration, burst: f64) {
        let came_in = now.since(self.at).as_secs_f64() / gap.as_secs_f64().max(1e-6);
        self.messages = (self.messages + came_in).min(burst) - 1.0;
        self.at = now;
        self.last = now;
        self.said += 1;
    }
}

impl StageWork {
    /// Whether claims of others are heard here.
    pub(in crate::engine) fn is_shared(&self) -> bool {
        self.table.active_workers() > 1 && !self.is_over() && !self.is_closed()
    }

    /// The time between two messages of this worker, so that all workers of the shard, and of the other shards that
    /// this peer hears, keep the budget of rule 6.
    pub(super) fn gap(&self) -> Duration {
        match self.table.active_workers() {
            0 | 1 => SHORTEST_GAP,
            workers => {
                let shared = limits::CONTROL_PER_SECOND - OTHER_MESSAGES;
                (Duration::from_secs(1) * workers * GOSSIP_COPIES * self.shared / shared).max(SHORTEST_GAP)
            }
        }
    }

    /// When this worker may speak next.
    pub(super) fn may_speak_at(&self) -> Time {
        self.budget.next(self.gap(), self.burst())
    }

    /// Messages that may follow each other quickly, shared with the other shards too.
    pub(super) fn burst(&self) -> f64 {
        (BURST / f64::from(self.shared)).max(LEAST_BURST)
    }

    /// A worker that holds anything speaks up so often, however little it has to say; rarely enough that it does
    /// not use up the word with which it would claim.
    pub(super) fn heartbeat(&self) -> Duration {
        limits::HEARTBEAT.max(self.gap() * 3 / 2)
    }

    /// A claim stands so long after its holder was last heard: leases lengthen with the time between messages.
    pub(super) fn lease(&self) -> Duration {
        limits::LEASE.max(self.heartbeat() * 3)
    }

    /// No claim stands longer, whatever its holder says: of the blocks in its hand one may run as long as the
    /// manifest lets it, and the next behind it.
    pub(super) fn longest_hold(&self) -> Duration {
        let stage = self.stage();
        Duration::from_millis(2 * u64::from(stage.limits.millis) * u64::from(stage.block)) + self.lease()
    }

    /// How many workers there are in this shard, heard or not.
    pub(super) fn company(&self, core: &Core) -> u32 {
        let known = (core.workers / u32::from(self.stage().shards)).min(EXPECTED);
        let told = self.shards.get(usize::from(self.table.shard())).map_or(0, |s| u32::from(s.workers).min(EXPECTED));
        self.table.active_workers().max(known).max(told)
    }

    /// How long a claim takes to be heard, and a stronger one to be heard back.
    pub(super) fn settle(&self, core: &Core) -> Duration {
        let hops = match self.company(core) {
            0 | 1 => return Duration::ZERO,
            2..=8 => 1,
            9..=64 => 2,
            _ => 3,
        };
        core.hop() * 2 * hops
    }

    /// Where many wait for few blocks, each waits for a while of its own first, and hears what others took: of
    /// those who would claim at a time there are about as many as there are blocks.
    pub(super) fn thin(&mut self, core: &Core) -> Duration {
        let waiting = self.company(core).saturating_sub(self.table.busy_workers());
        let crowd = (waiting / self.table.free().max(1)).min(THINNEST);
        if crowd <= 1 {
            return Duration::ZERO;
        }
        let draw = self.table.draw() % 1024;
        self.settle(core) * crowd * draw as u32 / 1024
    }
}
