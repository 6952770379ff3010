//! How often a worker may publish in its shard, and how long claims take to reach the others.

use std::time::Duration;

use super::StageWork;
use super::units::UNSTARTED;
use crate::engine::core::Core;
use crate::engine::gossip_budget::SHORTEST_GAP;
use crate::limits;
use crate::time::Time;

/// Shortest gap between the first [`QUICK_MESSAGES`] messages; later ones are further apart.
const QUICK_GAP: Duration = Duration::from_millis(20);
const QUICK_MESSAGES: u32 = 5;
/// Longest contention backoff, in multiples of the settle time.
const MAX_BACKOFF: u32 = 16;
/// Most workers that are assumed in a shard before they are heard (rule 6).
pub(super) const EXPECTED: u32 = 64;

impl StageWork {
    /// Whether other workers claim in this shard.
    pub(in crate::engine) fn is_shared(&self) -> bool {
        self.table.active_workers() > 1 && !self.is_over() && !self.is_closed()
    }

    /// When this worker may publish next about this shard.
    pub(super) fn may_publish_at(&self, core: &Core) -> Time {
        let shortest = if self.messages < QUICK_MESSAGES { QUICK_GAP } else { SHORTEST_GAP };
        let spaced = if self.messages == 0 { Time(0) } else { self.last + shortest };
        spaced.max(core.gossip_budget.next())
    }

    /// When it may report finished work if it claims nothing before: at once while the message budget is not nearly
    /// used up.
    pub(super) fn may_report_at(&self, core: &Core) -> Time {
        self.may_publish_at(core).max(core.gossip_budget.next_with_reserve())
    }

    /// Interval of the messages by which a worker keeps its claims; long enough that they do not use up the budget for
    /// claims.
    pub(super) fn heartbeat(&self, core: &Core) -> Duration {
        limits::HEARTBEAT.max(core.gossip_budget.gap() * 3 / 2)
    }

    /// How long a claim holds after its worker was last heard; grows with the interval between messages.
    pub(super) fn lease(&self, core: &Core) -> Duration {
        limits::LEASE.max(self.heartbeat(core) * 3)
    }

    /// How long any claim may hold, whatever its worker says: one of its blocks may run as long as the manifest allows,
    /// and the next one waits behind it.
    pub(super) fn longest_hold(&self, core: &Core) -> Duration {
        let stage = self.stage();
        Duration::from_millis(2 * u64::from(stage.limits.millis) * u64::from(stage.block)) + self.lease(core)
    }

    /// How long a newcomer may hold blocks before it should have finished one. Where several jobs run, it may have to
    /// finish another's first, and releases blocks that it cannot begin.
    pub(super) fn newcomer_patience(&self, core: &Core) -> Duration {
        let others = if self.turn.alone { Duration::ZERO } else { UNSTARTED };
        let blocks = Duration::from_micros(2 * self.pace.unwrap_or(0.0) as u64) * self.turn.rivals;
        limits::NEWCOMER + 2 * self.settle(core) + others + blocks
    }

    /// The number of workers in this shard, heard or not. Of those known otherwise, some may be as idle as the late
    /// ones here, so with such ones only those count that are heard or have finished something.
    pub(super) fn workers_in_reach(&self, core: &Core) -> u32 {
        if self.table.has_late() {
            return self.table.active_workers().max(self.fellows.min(EXPECTED));
        }
        let known = (core.workers / u32::from(self.stage().shards)).min(EXPECTED);
        let told = self.shards.get(self.table.shard().index()).map_or(0, |s| u32::from(s.workers).min(EXPECTED));
        self.table.active_workers().max(known).max(told)
    }

    /// How long a claim takes to reach the others, and a stronger one to come back.
    pub(super) fn settle(&self, core: &Core) -> Duration {
        let hops = match self.workers_in_reach(core) {
            0 | 1 => return Duration::ZERO,
            2..=8 => 1,
            9..=64 => 2,
            _ => 3,
        };
        core.hop() * 2 * hops
    }

    /// A random delay before claiming where many workers wait for few blocks. It is long enough that about as many
    /// workers claim at a time as there are blocks, and the others hear what was claimed.
    pub(super) fn contention_backoff(&mut self, core: &Core) -> Duration {
        let waiting = self.workers_in_reach(core).saturating_sub(self.table.busy_workers());
        let crowd = (waiting / self.claimable().max(1)).min(MAX_BACKOFF);
        if crowd <= 1 {
            return Duration::ZERO;
        }
        let draw = self.table.draw() % 1024;
        self.settle(core) * crowd * draw as u32 / 1024
    }
}
