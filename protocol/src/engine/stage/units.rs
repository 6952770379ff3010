//! How claimed blocks become units of work and end.

use std::time::Duration;

use super::StageWork;
use crate::engine::core::Core;
use crate::id::Hash;
use crate::pack::Layout;
use crate::part::{Generation, StageId, TaskId};
use crate::ranges::Run;
use crate::time::Time;

/// Target time of a unit on one thread: long enough that handing it over costs little, short enough that a
/// cancellation, a second claim or a younger job does not wait long.
const UNIT_TIME: Duration = Duration::from_millis(50);
/// Blocks that take longer than this are started one by one: those not begun can still go to other workers.
const LONG: Duration = Duration::from_millis(200);
/// Tasks in one unit, however short they are.
const UNIT_TASKS: u32 = 4096;
/// A claimed block that has not started after this time, or after twice the time that claims aim at, is released.
pub(super) const UNSTARTED: Duration = Duration::from_secs(10);
/// How long a block that failed here, or was not started in time, is left to other workers.
const LEAVE_TO_OTHERS: Duration = Duration::from_secs(2);

/// Longest pause before a block that failed here repeatedly is tried again.
const PAUSE_MOST: Duration = Duration::from_secs(2);
/// Time without another failure after which a block's failures are forgotten.
const FAILURE_FORGOTTEN: Duration = Duration::from_secs(10);

/// A block that failed here.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Avoided {
    /// The earliest time to claim it again.
    pub(in crate::engine) until: Time,
    /// Number of failures in a row.
    times: u32,
}

/// Consecutive tasks for one thread.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Unit {
    pub(in crate::engine) stage: StageId,
    pub(in crate::engine) tasks: Run<TaskId>,
    /// The root of the partition that they read at each port, once known.
    pub(in crate::engine) roots: Vec<Hash>,
    /// The newest generation of those partitions: it rises whenever one of them is revoked.
    pub(in crate::engine) reads: Generation,
    /// Number of buckets that each of them reads, once known.
    pub(in crate::engine) width: u32,
    /// Size of their input in bytes, or an upper bound if that is not known yet.
    pub(in crate::engine) input: u64,
}

impl StageWork {
    /// Whether one block takes as long as many units.
    pub(in crate::engine) fn is_long(&self) -> bool {
        self.pace.is_some_and(|pace| pace > LONG.as_micros() as f64)
    }

    /// Whether any claimed block has not started.
    pub(in crate::engine) fn has_claims(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether the next claimed block can start.
    pub(in crate::engine) fn has_unit(&self, now: Time) -> bool {
        self.queue.front().is_some_and(|&(_, from)| from <= now)
    }

    /// Releases claims that wait too long while nothing of this stage runs: other workers may have room for them.
    pub(in crate::engine) fn release_unstarted(&mut self, core: &Core) {
        let now = core.now;
        let patience = UNSTARTED.max(2 * self.ahead(core));
        let waited = self.queue.front().is_some_and(|&(_, from)| now.since(from) > patience);
        if !waited || !self.tasks_left.is_empty() {
            return;
        }
        self.release_queue(now);
    }

    /// Releases all blocks that have not started.
    pub(in crate::engine) fn release_queue(&mut self, now: Time) {
        if self.queue.is_empty() {
            return;
        }
        for (block, _) in std::mem::take(&mut self.queue) {
            self.table.give_up(block);
        }
        self.next_claim_at = self.next_claim_at.max(now + LEAVE_TO_OTHERS);
        self.unpublished = true;
    }

    /// Releases claimed blocks that have not begun, beyond what `threads` threads want; the latest claims go first.
    pub(in crate::engine) fn release_beyond(&mut self, core: &Core, threads: u32) {
        let wanted = self.wanted(core, threads) as usize;
        for (block, _) in self.queue.split_off(wanted.min(self.queue.len())) {
            self.table.give_up(block);
            self.unpublished = true;
        }
    }

    /// Estimated time of a unit in microseconds, as far as known.
    pub(in crate::engine) fn estimate(&self, unit: &Unit) -> u64 {
        let pace = self.pace.unwrap_or(0.0) / f64::from(self.stage().block);
        (pace * f64::from(unit.tasks.len)) as u64
    }

    /// The next unit whose claim has settled; its blocks count as started.
    pub(in crate::engine) fn next_unit(&mut self, now: Time, layout: Option<&Layout>) -> Option<Unit> {
        let &(first, from) = self.queue.front()?;
        if from > now {
            return None;
        }
        let stage = self.stage();
        // A unit reads one pack; a block that reads several is a unit of its own.
        let pack_of = |task: TaskId| layout.and_then(|l| l.pack_of(task)).map(|(_, tasks)| tasks.start);
        let pack = pack_of(stage.tasks_of_block(first).start);
        let one_bucket = !stage.reads_inputs();
        let pace = self.pace.unwrap_or(f64::MAX);
        let room = (UNIT_TIME.as_micros() as f64 / pace.max(1.0)) as u32;
        let mut blocks = first..first + 1;
        for &(block, from) in self.queue.iter().skip(1) {
            let tasks = stage.tasks_of_blocks(blocks.start..block + 1);
            let fits = blocks.len() < room as usize && tasks.len <= UNIT_TASKS;
            let is_of_pack = || tasks.last().and_then(pack_of) == pack;
            if one_bucket || block != blocks.end || !fits || from > now || !is_of_pack() {
                break;
            }
            blocks.end += 1;
        }
        let tasks = self.stage().tasks_of_blocks(blocks.clone());
        for block in blocks.clone() {
            self.queue.pop_front();
            self.table.start(block);
            let count = self.stage().tasks_of_block(block).len;
            self.tasks_left.insert(block, count);
        }
        Some(Unit { stage: self.id.stage, tasks, roots: Vec::new(), reads: Generation::FIRST, width: 0, input: 0 })
    }

    /// Updates the pace with the time that tasks of this stage took.
    pub(in crate::engine) fn measure(&mut self, tasks: u32, elapsed: Duration) {
        let sample = elapsed.as_micros() as f64 / f64::from(tasks.max(1)) * f64::from(self.stage().block);
        let old = self.pace.unwrap_or(sample);
        self.pace = Some(old * 0.8 + sample.max(1.0) * 0.2);
    }

    /// Notes that all output of a task is acknowledged.
    pub(in crate::engine) fn task_finished(&mut self, now: Time, task: TaskId) {
        let block = self.stage().block_of(task);
        let Some(left) = self.tasks_left.get_mut(&block) else { return };
        *left -= 1;
        if *left == 0 {
            self.tasks_left.remove(&block);
            self.avoid.remove(&block);
            self.table.finish(now, block);
            self.unpublished = true;
        }
    }

    /// Notes that a task failed here: its block is released, and left to other workers if there are any. This one tries
    /// it again after `pause`, doubled with each further failure.
    pub(in crate::engine) fn task_failed(&mut self, now: Time, task: TaskId, pause: Duration) {
        let block = self.stage().block_of(task);
        self.tasks_left.remove(&block);
        self.table.give_up(block);
        self.avoid.retain(|_, avoided| now < avoided.until + FAILURE_FORGOTTEN);
        let before = self.avoid.get(&block).copied().unwrap_or(Avoided { until: now, times: 0 });
        let pause = pause.saturating_mul(1 << before.times.min(16)).min(PAUSE_MOST.max(pause));
        let pause = if self.table.active_workers() > 1 { LEAVE_TO_OTHERS.max(pause) } else { pause };
        // Tasks of one block fail together and count as one failure.
        let times = before.times + u32::from(before.until <= now);
        self.avoid.insert(block, Avoided { until: now + pause, times });
        self.next_claim_at = self.next_claim_at.min(now + pause);
        self.unpublished = true;
    }
}
