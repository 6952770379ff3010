//! How often a worker may speak in its shard, and how long claims take to be heard.

use std::time::Duration;

use super::StageWork;
use crate::engine::core::Core;
use crate::engine::gossip_budget::SHORTEST_GAP;
use crate::limits;
use crate::time::Time;

/// The first messages may follow each other so quickly; those after the first few more slowly.
const QUICK_GAP: Duration = Duration::from_millis(20);
const QUICK_MESSAGES: u32 = 5;
/// Of workers who wait for few blocks, each waits up to so many times as long as claims take to settle.
const THINNEST: u32 = 16;
/// Workers of a shard that are expected at most before they are heard (rule 6).
pub(super) const EXPECTED: u32 = 64;

impl StageWork {
    /// Whether claims of others are heard here.
    pub(in crate::engine) fn is_shared(&self) -> bool {
        self.table.active_workers() > 1 && !self.is_over() && !self.is_closed()
    }

    /// When this worker may speak next of this shard.
    pub(super) fn may_speak_at(&self, core: &Core) -> Time {
        let shortest = if self.said < QUICK_MESSAGES { QUICK_GAP } else { SHORTEST_GAP };
        let spaced = if self.said == 0 { Time(0) } else { self.last + shortest };
        spaced.max(core.gossip_budget.next())
    }

    /// When it may say what it finished, if it claims nothing before: at once as long as it may say much more.
    pub(super) fn may_tell_at(&self, core: &Core) -> Time {
        self.may_speak_at(core).max(core.gossip_budget.next_with_reserve())
    }

    /// A worker that holds anything speaks up so often, however little it has to say; rarely enough that it does
    /// not use up the word with which it would claim.
    pub(super) fn heartbeat(&self, core: &Core) -> Duration {
        limits::HEARTBEAT.max(core.gossip_budget.gap() * 3 / 2)
    }

    /// A claim stands so long after its holder was last heard: leases lengthen with the time between messages.
    pub(super) fn lease(&self, core: &Core) -> Duration {
        limits::LEASE.max(self.heartbeat(core) * 3)
    }

    /// No claim stands longer, whatever its holder says: of the blocks in its hand one may run as long as the
    /// manifest lets it, and the next behind it.
    pub(super) fn longest_hold(&self, core: &Core) -> Duration {
        let stage = self.stage();
        Duration::from_millis(2 * u64::from(stage.limits.millis) * u64::from(stage.block)) + self.lease(core)
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
