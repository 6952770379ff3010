//! One stage of one job as this worker sees it: its claims, its running tasks, and their outcomes.

mod budget;
mod confirm;
mod ports;
mod shards;
mod units;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::budget::EXPECTED;
use self::ports::Port;
pub(super) use self::ports::Read;
use self::shards::SUMMARY_WAIT;
use self::units::Avoided;
pub(super) use self::units::Unit;
use super::core::Core;
use super::outbox::Outbox;
use super::starting_place::StartingPlace;
use crate::claims::ClaimTable;
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::manifest::{Manifest, Stage};
use crate::message::{Claim, Gossip, ShardLeft, Topic};
use crate::part::{ShardId, StageRef, TaskId};
use crate::split::Split;
use crate::time::Time;

/// Interval of attempts to claim while no block is free.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A worker without progress for this long (or for four of this peer's units) gets second attempts beside it.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(2);

/// This worker's part in one stage.
#[derive(Debug)]
pub(super) struct StageWork {
    pub(super) id: StageRef,
    manifest: Arc<Manifest>,
    /// The stage as the manifest describes it, with the number of tasks and shards once that is settled.
    plan: Stage,
    /// How its tasks divide the buckets that they read, once that is settled, and whether the authority confirmed it.
    split: Option<(Split, bool)>,
    /// Claims of workers that learned the number of tasks before this one did, kept until it is known here.
    early: BTreeMap<PeerKey, Claim>,
    home: PeerKey,
    pub(super) table: ClaimTable,
    /// The topic of its shard's claims; `listening` is the topic subscribed to so far.
    pub(super) topic: Topic,
    pub(super) listening: Topic,
    /// Blocks claimed and not started, each with the earliest time at which it may start.
    queue: VecDeque<(u32, Time)>,
    /// Tasks that failed at other workers, and that this peer tries because the job is its own.
    to_confirm: BTreeSet<TaskId>,
    /// Tasks of started blocks that are not finished yet.
    tasks_left: BTreeMap<u32, u32>,
    /// Smoothed time of one block on one thread, in microseconds.
    pace: Option<f64>,
    avoid: BTreeMap<u32, Avoided>,
    /// The shuffles that its tasks read, one for each source.
    ports: Vec<Port>,
    pub(super) outbox: Outbox,
    /// The job's turn among the worker's jobs.
    pub(super) turn: Turn,
    /// Number of messages published; `last` is when the last one was.
    messages: u32,
    last: Time,
    unpublished: bool,
    /// Whether a message must be published now.
    must_publish: bool,
    /// Whether a claim conflicts with another worker's, so that the others must hear whether this peer keeps its own.
    contested: bool,
    /// Nothing is claimed before this time.
    next_claim_at: Time,
    /// Whether this worker has just entered a shard and does not know the claims in it yet.
    entering: bool,
    /// Number of workers that were asked for their claims and have not answered.
    asking: usize,
    /// Whether the submitter gave this peer a starting place of its own (rule 7).
    immediate: bool,
    summary_at: Time,
    summary_wait: Duration,
    /// The shard about which the authority was asked and has not answered.
    asked: Option<ShardId>,
    /// When it was asked. Of several requests without an answer, the first.
    asked_at: Time,
    /// Number of workers of the job that have finished something, as far as the authority told.
    fellows: u32,
    /// Whether the authority tells which workers have finished something, as far as is known.
    is_told_of_workers: bool,
    /// The count of reopenings that this peer's view includes.
    reopened: u32,
    /// All shards of the stage as the authority last described them; `standing_since` is when their blocks left last
    /// changed.
    shards: Vec<ShardLeft>,
    standing_since: Time,
}

/// A job's standing among the worker's jobs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Whether the job's turn is near enough to claim blocks.
    pub(super) near: bool,
    /// Number of jobs with claims or units in hand, this one included.
    pub(super) rivals: u32,
    /// Whether this worker has nothing in hand of any job.
    pub(super) idle: bool,
    /// Whether no other job has a place here.
    pub(super) alone: bool,
}

impl StageWork {
    pub(super) fn new(core: &mut Core, id: StageRef, manifest: Arc<Manifest>, place: Option<StartingPlace>) -> Self {
        let stage = &manifest.stages[id.stage.index()];
        let draw = Hash::of_parts("webmesh 1 first place", &[&id.job.0, &[id.stage.0], &core.me.0]).draw();
        let shard = ShardId((draw % u64::from(stage.shards)) as u16);
        let ports: Vec<Port> = stage.reads().map(Port::new).collect();
        let mut work = Self {
            id,
            plan: stage.clone(),
            // All its sources are divided alike.
            split: ports.first().and_then(|port| manifest.fixed_split_of(port.from)).map(|split| (split, true)),
            early: BTreeMap::new(),
            home: manifest.home,
            table: ClaimTable::new(core.me, id.shard(shard), stage.shard_blocks(shard), 0),
            topic: Topic::of_shard(id.shard(shard)),
            listening: Topic::of_shard(id.shard(shard)),
            queue: VecDeque::new(),
            to_confirm: BTreeSet::new(),
            tasks_left: BTreeMap::new(),
            pace: None,
            avoid: BTreeMap::new(),
            ports,
            outbox: Outbox::default(),
            turn: Turn { near: true, rivals: 1, idle: true, alone: true },
            messages: 0,
            last: Time(0),
            unpublished: false,
            must_publish: false,
            contested: false,
            next_claim_at: Time(0),
            entering: false,
            asking: 0,
            immediate: false,
            summary_at: Time::NEVER,
            summary_wait: SUMMARY_WAIT.0,
            asked: None,
            asked_at: Time(0),
            fellows: 0,
            is_told_of_workers: true,
            reopened: 0,
            shards: Vec::new(),
            standing_since: core.now,
            manifest,
        };
        work.enter_shard(core, shard, place);
        work
    }

    /// Whether its tasks read documents.
    pub(super) fn reads_inputs(&self) -> bool {
        self.ports.is_empty()
    }

    fn stage(&self) -> &Stage {
        &self.plan
    }

    /// Takes the starting place that the submitter suggests. Few such places are given, and no two are the same, so
    /// that claims there need not settle.
    pub(super) fn take_place(&mut self, core: &Core, place: StartingPlace) {
        if self.messages > 0 || self.table.held() > 0 {
            return;
        }
        let blocks = self.table.blocks();
        let start = place.among(blocks.end - blocks.start);
        self.table = ClaimTable::new(core.me, self.table.shard_ref(), blocks, start);
        self.immediate = place.of <= EXPECTED && self.stage().shards == 1;
        self.next_claim_at =
            if self.immediate { core.now } else { core.now + self.settle(core) + self.contention_backoff(core) };
    }

    /// Whether there is nothing more to claim here, as far as this peer knows.
    pub(super) fn is_over(&self) -> bool {
        self.table.is_drained() && (self.stage().shards == 1 || self.shards.iter().all(|s| s.blocks == 0))
    }

    /// Whether this worker holds claims or units of this stage.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.tasks_left.is_empty() || !self.outbox.is_empty()
    }

    /// Whether a block's tasks can be run now.
    fn is_open(&self, now: Time, block: u32) -> bool {
        if self.avoid.get(&block).is_some_and(|avoided| avoided.until > now) {
            return false;
        }
        if self.reads_inputs() {
            return true;
        }
        self.stage().tasks_of_block(block).iter().all(|task| self.opens(task).is_some_and(|at| at <= now))
    }

    /// Sets how many buckets make one task, as the authority or another peer reports; that gives the number of tasks.
    /// The first report of another peer is believed until the authority's: only a dishonest shuffler's can be wrong.
    fn set_split(&mut self, core: &Core, width: u32, by_authority: bool) {
        let Some(port) = self.ports.first() else { return };
        let Some(split) = self.manifest.split_of(port.from, width) else { return };
        match &mut self.split {
            Some((known, certain)) if *known == split => {
                *certain |= by_authority;
                return;
            }
            Some((_, certain)) if *certain || !by_authority => return,
            _ => {}
        }
        self.split = Some((split, by_authority));
        self.plan = self.manifest.stages[self.id.stage.index()].settled(&split);
        self.queue.clear();
        self.tasks_left.clear();
        self.avoid.clear();
        self.shards.clear();
        let shard = ShardId(self.table.shard().0 % self.plan.shards);
        self.open_shard(core, shard);
        for (worker, claim) in std::mem::take(&mut self.early) {
            self.on_claim(core, worker, &claim);
        }
    }

    /// The number of blocks that this worker wants to hold.
    fn wanted(&self, core: &Core, threads: u32) -> u32 {
        // The first claim is one block (rule 5); while it runs, there may be one per thread and one more.
        let Some(pace) = self.pace else {
            let scarce = self.table.free() < (threads + 1) * self.table.active_workers();
            return if self.messages == 0 || scarce { 1 } else { threads + 1 };
        };
        let ahead = self.ahead(core).as_micros() as f64 / f64::from(self.turn.rivals);
        ((ahead * f64::from(threads) / pace.max(1.0)).ceil() as u32).clamp(threads, limits::BLOCKS)
    }

    /// The amount of work that claims aim at, as time.
    fn ahead(&self, core: &Core) -> Duration {
        limits::CLAIM_AHEAD.max(core.gossip_budget.gap() * 5 / 2)
    }

    /// The most blocks to claim at once: half of this worker's share of what is free, so that the last batches are
    /// small (guided self-scheduling: Polychronopoulos and Kuck, 1987). But all claims of the shard together are
    /// `1 / interval` a second, and batches of *k* blocks that take `pace` each end the shard `free / k * interval +
    /// k * pace` from now: least at the root of `free * interval / pace`.
    fn fair(&self, core: &Core, threads: u32) -> u32 {
        let (free, company) = (self.claimable(), self.workers_in_reach(core));
        let interval = core.gossip_budget.gap().as_micros() as f64 / f64::from(company);
        let pace = self.pace.unwrap_or(f64::MAX).max(1.0) / f64::from(threads);
        let least = (f64::from(free) * interval / pace).sqrt() as u32;
        (free / (2 * company)).max(least).max(1)
    }

    /// The number of blocks that this worker may claim: without free ones, those that late workers hold.
    fn claimable(&self) -> u32 {
        match self.table.free() {
            0 => self.table.in_vain(),
            free => free,
        }
    }

    /// Whether this worker holds too few blocks.
    fn wants_more(&self, core: &Core, threads: u32) -> bool {
        let few = match self.pace {
            Some(_) => self.queue.len() as u32 * 2 <= self.wanted(core, threads),
            None => self.table.held() < self.wanted(core, threads),
        };
        // While its allowance grows (rule 5), a worker claims only if that doubles what it has in hand. Otherwise it
        // waits for a larger allowance.
        let grows = self.allowed() >= (self.queue.len() as u32).max(1);
        few && grows && self.turn.near && !self.is_over() && !self.is_closed()
    }

    /// How many more blocks this worker may hold now.
    fn allowed(&self) -> u32 {
        self.table.allowance().saturating_sub(self.table.held())
    }

    /// Claims blocks if it is worth it; returns whether it did. `upstream_over` is whether the stages that this one
    /// reads are done as far as this peer knows.
    pub(super) fn claim(&mut self, core: &mut Core, threads: u32, upstream_over: bool) -> bool {
        if self.claim_to_confirm(core) {
            return true;
        }
        if !self.wants_more(core, threads) {
            if self.is_over() || (self.is_closed() && upstream_over) {
                self.schedule_summary(core);
            }
            return false;
        }
        let now = core.now;
        if now < self.next_claim_at.max(self.may_publish_at(core)) {
            self.ask_about_newcomers(core);
            return false;
        }
        self.entering = false;
        let wanted = self.wanted(core, threads);
        let fair = self.fair(core, threads);
        let allowed = self.allowed();
        let in_hand = if self.pace.is_some() { self.queue.len() as u32 } else { self.table.held() };
        let want = wanted.saturating_sub(in_hand).min(fair).min(allowed);
        let (me, heartbeat) = (core.me, self.heartbeat(core));
        let nothing = ClaimTable::new(me, self.table.shard_ref(), 0..0, 0);
        let mut table = std::mem::replace(&mut self.table, nothing);
        let first = |block| self.stage().tasks_of_block(block).start;
        let mine = |block| self.first_owner(first(block)).is_none_or(|owner| owner == me);
        let mut chosen = table.choose(now, want, |b| self.is_open(now, b), mine);
        if chosen.is_empty() {
            // With other work in hand, newcomers get as much time as stragglers.
            let patience = if self.turn.idle || self.is_busy() { Duration::ZERO } else { STRAGGLER_PATIENCE };
            chosen = table.choose_in_vain(now, want, patience, |b| self.is_open(now, b));
            if !chosen.is_empty() {
                // Other newcomers may do the same, and nobody believes their claims before the authority names them.
                let wait = if table.has_newcomers() { 2 * LOOK_AGAIN } else { 2 * SUMMARY_WAIT.0 };
                self.summary_at = self.summary_at.min(self.asked_at + wait);
            }
        }
        let idle = u64::from(table.active_workers() - table.busy_workers()).max(1);
        if chosen.is_empty() && allowed > 0 && !self.is_busy() && table.draw().is_multiple_of(idle) {
            let patience = STRAGGLER_PATIENCE.max(Duration::from_micros(self.pace.unwrap_or(0.0) as u64 * 4));
            // A worker reports progress at least once per heartbeat.
            let patience = patience + heartbeat;
            chosen.extend(table.choose_straggler(now, patience, |b| self.is_open(now, b)));
        }
        self.table = table;
        if chosen.is_empty() {
            self.next_claim_at = now + LOOK_AGAIN;
            self.schedule_summary(core);
            return false;
        }
        self.summary_wait = SUMMARY_WAIT.0;
        let settle = if self.immediate && self.messages == 0 { Duration::ZERO } else { self.settle(core) };
        self.queue.extend(chosen.into_iter().map(|b| (b, now + settle)));
        self.must_publish = true;
        true
    }

    /// Requests a message and the authority's summary when they are due.
    pub(super) fn check_timers(&mut self, core: &mut Core) {
        self.must_publish |= core.now >= self.must_publish_at(core);
        if core.now >= self.summary_at {
            self.ask_summary(core);
        }
    }

    /// When this worker must publish a message if it does not claim before.
    fn must_publish_at(&self, core: &Core) -> Time {
        let holds = self.table.held() > 0;
        if holds && !self.contested {
            self.last + self.heartbeat(core)
        } else if self.contested {
            self.may_publish_at(core)
        } else if self.unpublished {
            self.may_report_at(core)
        } else {
            Time::NEVER
        }
    }

    /// Whether this worker must publish a message about this shard now.
    pub(super) fn must_publish(&self) -> bool {
        self.must_publish
    }

    /// Whether this worker's state is worth adding to a message that is published anyway.
    pub(super) fn has_update(&self) -> bool {
        self.unpublished || self.contested || self.table.held() > 0
    }

    /// Whether all workers of the mesh listen here, because they are so few that every job has a single shard.
    fn reaches_all_workers(&self, core: &Core) -> bool {
        core.workers <= EXPECTED && self.stage().shards == 1
    }

    /// Whether all workers of another shard listen to this one too, as far as this peer knows.
    pub(super) fn reaches_workers_of(&self, core: &Core, other: &StageWork) -> bool {
        let all = self.reaches_all_workers(core) && other.reaches_all_workers(core);
        let listeners = || self.table.listeners().collect::<BTreeSet<PeerKey>>();
        all || (other.table.active_workers() > 1
            && other.table.peers().collect::<BTreeSet<_>>().is_subset(&listeners()))
    }

    /// The message about this worker's state in this shard, to be published now.
    pub(super) fn next_claim(&mut self, core: &Core) -> Claim {
        self.table.set_settle(self.settle(core));
        let claim = self.table.next_message(core.now, self.messages);
        (self.messages, self.last) = (self.messages + 1, core.now);
        (self.must_publish, self.unpublished, self.contested) = (false, false, false);
        claim
    }

    /// Publishes this worker's state at once, of this shard alone.
    fn publish(&mut self, core: &mut Core) {
        let claim = self.next_claim(core);
        core.gossip_budget.spend(core.now);
        core.publish(self.topic, Gossip::Claims(vec![claim]));
    }

    /// The time of the next action here, if nothing happens before.
    pub(super) fn deadline(&self, core: &Core, threads: u32) -> Time {
        let now = core.now;
        // A claim that may start waits for a free slot, not for time.
        let start = self.queue.front().map_or(Time::NEVER, |&(_, from)| if from > now { from } else { Time::NEVER });
        let claim = if self.wants_more(core, threads) {
            self.next_claim_at.max(self.may_publish_at(core))
        } else {
            Time::NEVER
        };
        self.must_publish_at(core).min(start).min(claim).min(self.summary_at).min(self.outbox.deadline())
    }

    /// Handles another worker's message about this shard.
    pub(super) fn on_claim(&mut self, core: &Core, from: PeerKey, claim: &Claim) {
        if self.split.is_none() && !self.reads_inputs() {
            if self.early.len() < limits::SHARD_WORKERS || self.early.contains_key(&from) {
                self.early.insert(from, claim.clone());
            }
            return;
        }
        if claim.shard != self.table.shard() {
            return;
        }
        self.table.set_settle(self.settle(core));
        let effect = self.table.on_claim(core.now, from, claim);
        // Others must hear which claims are kept against theirs, and which are given up for them.
        self.contested |= effect.contested || !effect.lost.is_empty();
        if !effect.lost.is_empty() {
            let lost: BTreeSet<u32> = effect.lost.iter().copied().collect();
            self.queue.retain(|(b, _)| !lost.contains(b));
        }
        if effect.doubtful {
            // It may have finished something since the authority's last answer.
            let at = self.asked_at + self.summary_wait;
            self.summary_at = self.summary_at.min(at.max(core.now + LOOK_AGAIN));
        }
        if (effect.changed || !effect.lost.is_empty()) && !self.entering && self.table.free() > 0 {
            let at = core.now + self.contention_backoff(core);
            self.next_claim_at = if effect.lost.is_empty() { self.next_claim_at.min(at) } else { at };
        }
    }

    /// Releases all claims and publishes that.
    pub(super) fn leave(&mut self, core: &mut Core) {
        let held: Vec<u32> = self.table.message(core.now).holds.iter().flat_map(|h| h.run.iter()).collect();
        held.into_iter().for_each(|block| self.table.give_up(block));
        self.queue.clear();
        self.publish(core);
    }

    /// Resumes after this peer did not run for as long as `asleep`: other workers' leases do not expire by that time,
    /// as their messages could not be received.
    pub(super) fn on_resumed(&mut self, core: &mut Core, asleep: Duration) {
        self.table.on_resumed(asleep);
        self.ask_summary(core);
    }

    /// Drops leases that have expired.
    pub(super) fn lapse(&mut self, core: &Core) {
        if self.table.lapse(core.now, self.lease(core), self.longest_hold(core)) {
            self.next_claim_at = self.next_claim_at.min(core.now + self.contention_backoff(core));
        }
    }

    /// Handles a worker's broken connection, or its goodbye if `for_good`.
    pub(super) fn lost(&mut self, core: &Core, peer: &PeerKey, for_good: bool) {
        if for_good {
            self.table.on_goodbye(peer);
            self.next_claim_at = self.next_claim_at.min(core.now + self.contention_backoff(core));
        } else {
            self.table.on_disconnected(core.now, peer);
        }
    }
}
