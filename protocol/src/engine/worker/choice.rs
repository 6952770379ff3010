//! Which job's turn it is (rule 8).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::job::{Waiting, WorkerJob};
use super::{Worker, listen};
use crate::engine::blobs::Blobs;
use crate::engine::core::Core;
use crate::engine::origin::{Amounts, Origin, Places};
use crate::engine::shuffler::Shuffler;
use crate::engine::stage::{StageWork, Turn, Unit};
use crate::id::JobId;
use crate::limits;
use crate::part::{StageId, StageRef};
use crate::time::Time;

/// Most jobs that this worker takes part in at a time; others wait until one ends. Each may take a claim table.
pub(super) const ACTIVE_JOBS: usize = 32;
/// If other jobs wait, a job without progress for this long gives up its place: long enough to fetch a module over a
/// slow line.
pub(super) const IDLE_JOB: Duration = Duration::from_secs(30);
/// Most short units in a row that go before a long one whose turn it is.
const PASSES: u32 = 16;
/// Number of jobs in which blocks are claimed ahead, those whose turn is next: a claim that waits here keeps other
/// workers from the block.
pub(super) const NEAR_JOBS: usize = 4;
/// Units in hand per thread: one runs and one waits with its input here.
const UNITS_PER_THREAD: usize = 2;
/// Additional units in hand for all threads together, whose inputs are fetched while others run.
const UNITS_AHEAD: usize = 2;
/// One unit in this many goes to the youngest job (rule 8).
const YOUNGEST_EVERY: u64 = 8;

impl Worker {
    /// Takes part in waiting jobs while there is room, or while another origin has more than its share of the places.
    pub(super) fn activate(&mut self, core: &mut Core, blobs: &mut Blobs) {
        while let Some(id) = self.next_to_begin().filter(|_| self.enabled) {
            if self.jobs.values().filter(|j| j.active).count() >= ACTIVE_JOBS {
                let Some(given) = self.place_for(&self.jobs[&id].origin) else { return };
                self.postpone(core, blobs, given);
            }
            self.begin(core, id);
        }
    }

    /// The places of the jobs that this worker takes part in.
    fn active_places(&self) -> Places {
        Places::of_all(self.jobs.values().filter(|j| j.active).map(|j| j.origin))
    }

    /// The job that takes the next place: the youngest one if no place is given to the youngest yet, otherwise the
    /// oldest of the origin with the fewest active jobs. Jobs that had a place and made no progress come last.
    fn next_to_begin(&self) -> Option<JobId> {
        let active = self.active_places();
        let waiting = || self.jobs.iter().filter(|(_, j)| !j.active);
        let full = self.jobs.values().filter(|j| j.active).count() >= ACTIVE_JOBS - 1;
        let next = if full && !self.jobs.values().any(|j| j.youngest) {
            waiting().max_by_key(|&(id, j)| (Reverse(j.postponed), j.opened, id))
        } else {
            waiting().min_by_key(|&(id, j)| (j.postponed, active.of(&j.origin), j.opened, id))
        };
        next.map(|(&id, _)| id)
    }

    /// A job of an origin that has more than its share of the places, to give its own to a newcomer: one with nothing
    /// in hand, or any if the newcomer's owner, home or network has no place at all; the youngest first, in which the
    /// least work is lost.
    fn place_for(&self, newcomer: &Origin) -> Option<JobId> {
        let places = self.active_places();
        let holders = self.jobs.iter().filter(|(_, j)| j.active && places.yields(&j.origin, newcomer));
        let spare = holders.filter_map(|(&id, j)| {
            let idle = !j.is_busy();
            let (_, own) = places.where_they_part(&j.origin, newcomer)?;
            (idle || own == 0).then(|| (idle, places.of(&j.origin), j.opened, id))
        });
        spare.max().map(|(.., id)| id)
    }

    /// Gives the places of jobs without progress to jobs that wait.
    pub(super) fn postpone_idle_jobs(&mut self, core: &mut Core, blobs: &mut Blobs) {
        if !self.enabled || self.jobs.values().all(|j| j.active) {
            return;
        }
        let stuck = |j: &WorkerJob| j.active && !j.is_busy() && core.now.since(j.progressed) > IDLE_JOB;
        let stuck: Vec<JobId> = self.jobs.iter().filter(|(_, j)| stuck(j)).map(|(&id, _)| id).collect();
        for id in stuck {
            self.postpone(core, blobs, id);
        }
        self.activate(core, blobs);
    }

    /// Takes a job's place away; it waits behind all others.
    fn postpone(&mut self, core: &mut Core, blobs: &mut Blobs, id: JobId) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        job.stages.iter_mut().filter(|stage| stage.is_busy()).for_each(|stage| stage.leave(core));
        let mut again = WorkerJob::new(core, &job.manifest, &job.epoch, job.done.clone(), job.reopened);
        again.postponed = job.postponed + 1;
        self.close(core, blobs, id, job);
        self.jobs.insert(id, again);
    }

    pub(super) fn begin(&mut self, core: &mut Core, id: JobId) {
        let places = self.jobs.values().filter(|j| j.active).count();
        let youngest = places == ACTIVE_JOBS - 1 && !self.jobs.values().any(|j| j.youngest);
        let place = self.places.remove(&id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let late = job.postponed > 0 || job.opened < core.now;
        job.active = true;
        job.youngest = youngest;
        job.progressed = core.now;
        for stage in job.manifest.stage_ids() {
            let place = place.filter(|_| stage == StageId(0));
            let mut stage = StageWork::new(core, StageRef { job: id, stage }, job.manifest.clone(), place);
            // A worker that comes late or comes back learns first what is done and which workers do the rest.
            if late || job.done.iter().any(|&done| done > 0) {
                stage.await_standings(core);
            }
            listen(&mut self.topics, core, stage.topic, true);
            job.stages.push(stage);
        }
    }

    /// Claims in the jobs whose turn is near; returns whether anything was claimed.
    pub(super) fn claim(&mut self, core: &mut Core) -> bool {
        let mut claimed = false;
        let mut order = self.by_turn(core.now);
        // What waits for a compiler is nobody's turn.
        let unbegun = self.unbegun(core);
        let waits: BTreeSet<JobId> = order.iter().copied().filter(|id| !self.has_place(id, &unbegun)).collect();
        order.sort_by_key(|id| waits.contains(id));
        // The job whose turn it is and the youngest are always near (rule 8).
        let first = order.first().copied();
        let turns = order.len() - waits.len();
        if let Some(youngest) = (0..turns).max_by_key(|&i| self.jobs[&order[i]].opened) {
            order[..=youngest].rotate_right(1);
        }
        let mut ahead = order[..turns].iter().filter(|id| self.jobs[id].has_claims()).count();
        let mut before = 0;
        let idle = self.in_hand() == 0 && ahead == 0;
        let alone = self.jobs.values().filter(|job| job.active).count() <= 1;
        let rivals = order[..turns].iter().filter(|id| self.jobs[id].is_busy()).count().max(1) as u32;
        for (place, id) in order.into_iter().enumerate() {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let had = job.has_claims();
            let near = if had { before < NEAR_JOBS } else { ahead < NEAR_JOBS };
            let near = (near || place == 0 || Some(id) == first) && !job.is_stalled() && place < turns;
            let turn = Turn { near: near && !job.confirms_only, rivals, idle, alone };
            if !near {
                // It waits for this worker's other jobs, which is no lack of progress.
                job.progressed = core.now;
            }
            // Later stages first: their input is here, and their results free it.
            for i in (0..job.stages.len()).rev() {
                let upstream_over = job.manifest.stages[i].reads().all(|read| job.stages[read.index()].is_over());
                let stage = &mut job.stages[i];
                stage.turn = turn;
                claimed |= stage.claim(core, self.threads, upstream_over);
                if stage.topic != stage.listening {
                    listen(&mut self.topics, core, stage.listening, false);
                    listen(&mut self.topics, core, stage.topic, true);
                    stage.listening = stage.topic;
                }
            }
            ahead += usize::from(!had && job.has_claims());
            before += usize::from(job.has_claims());
        }
        claimed
    }

    /// Units that run or wait for their input.
    pub(super) fn in_hand(&self) -> usize {
        self.running.len() + self.fetching
    }

    pub(super) fn start_units(&mut self, core: &mut Core, blobs: &mut Blobs, shuffler: &Shuffler) {
        let most = self.threads as usize * UNITS_PER_THREAD + UNITS_AHEAD;
        loop {
            let unbegun = self.unbegun(core);
            let places = self.in_hand() - unbegun.values().sum::<usize>();
            if places >= most || (self.in_hand() > 0 && self.input_in_hand(core) >= self.memory.inputs) {
                return;
            }
            let Some((id, unit)) = self.pick_unit(core.now, places, &unbegun) else { return };
            self.started += 1;
            self.prepare(core, blobs, shuffler, id, unit);
        }
    }

    /// The number of units in hand of each job that has not begun here. They take no place while its module is
    /// compiled, which may take a minute.
    fn unbegun(&self, core: &Core) -> BTreeMap<JobId, usize> {
        let unbegun = self.jobs.iter().filter(|(_, job)| job.active && !job.begun);
        let mut units: BTreeMap<JobId, usize> =
            unbegun.map(|(id, job)| (*id, job.waiting.values().map(Waiting::in_hand).sum())).collect();
        if !units.is_empty() {
            for (id, _) in self.units_beyond_packs(core) {
                units.entry(id).and_modify(|units| *units += 1);
            }
        }
        units
    }

    /// Whether one more unit of a job may be in hand. A job that has not begun may always have one, so that its module
    /// is compiled however many others are, and more while there are few such units.
    fn has_place(&self, id: &JobId, unbegun: &BTreeMap<JobId, usize>) -> bool {
        unbegun.get(id).is_none_or(|&units| units == 0)
            || unbegun.values().sum::<usize>() < self.threads as usize + UNITS_AHEAD
    }

    /// The next unit: of the job whose turn it is, and sometimes of the youngest job of all (rule 8). `places` are
    /// taken by units of jobs that have begun.
    fn pick_unit(&mut self, now: Time, places: usize, unbegun: &BTreeMap<JobId, usize>) -> Option<(JobId, Unit)> {
        // A job may use twice the memory that all jobs together leave free: one job alone gets two thirds, and one
        // whose shufflers accept nothing leaves room for the others (dynamic thresholds: Choudhury and Hahne, 1998).
        let unacked: usize = self.jobs.values().map(WorkerJob::unacked).sum();
        let free = limits::UNACKED_BYTES.checked_sub(unacked).filter(|&free| free > 0)?;
        let mut order = self.by_turn(now);
        let youngest = self.started % YOUNGEST_EVERY == YOUNGEST_EVERY - 1
            && order.iter().max_by_key(|id| self.jobs[id].opened).is_some_and(|id| !self.jobs[id].preempted);
        if youngest {
            order.sort_by_key(|id| Reverse(self.jobs[id].opened));
        }
        // At most one long unit waits behind those that run: other workers could run more.
        let long = places <= self.threads as usize;
        let mut waits = false;
        // A job whose tasks were preempted does not fill the gaps between the units of a job whose turn it is: it would
        // keep the thread for long.
        let mut is_served = false;
        for id in order {
            if !self.has_place(&id, unbegun) {
                continue;
            }
            let Some(job) = self.jobs.get_mut(&id).filter(|job| job.unacked() <= 2 * free && !job.is_stalled()) else {
                continue;
            };
            let waits_for_turn = job.preempted && is_served;
            is_served |= job.has_claims() || (job.is_busy() && places >= self.threads as usize);
            if waits_for_turn {
                continue;
            }
            if let Some(unit) = job.next_unit(now, long) {
                self.passed = if waits { self.passed + 1 } else { 0 };
                if !youngest {
                    self.turns.start_turn(&job.origin);
                }
                return Some((id, unit));
            }
            // A long unit whose turn it is waits for a thread. The number of short ones that go first is limited: they
            // could fill the threads for ever.
            waits |= !long && job.has_unit(now);
            if waits && self.passed >= PASSES {
                return None;
            }
        }
        None
    }

    /// The active jobs, ordered by the least served origin, then by age.
    pub(super) fn by_turn(&self, now: Time) -> Vec<JobId> {
        let mut under_way = Amounts::default();
        for running in self.running.values() {
            if let Some(job) = self.jobs.get(&running.job) {
                under_way.add(&job.origin, running.estimate.max(running.elapsed(now).as_micros() as u64));
            }
        }
        let ready = self.jobs.iter().filter(|(_, j)| j.active && j.is_set_up());
        let mut order: Vec<_> =
            ready.map(|(&id, j)| (self.turns.place_of(&j.origin, &under_way), j.opened, id)).collect();
        order.sort_unstable();
        order.into_iter().map(|(.., id)| id).collect()
    }
}
