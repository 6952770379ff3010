//! Ends runs that hold the threads which others wait for (rule 8).
//!
//! WebAssembly cannot be suspended, so a preempted task starts again later, and what it has done is wasted. An origin
//! gives up threads beyond its share soon, those that lose least first. Its last one it keeps for longer each time, so
//! that long tasks end although others wait all the time.

use std::time::Duration;

use super::{Running, Worker};
use crate::engine::core::Core;
use crate::engine::origin::{Origin, Places};
use crate::id::JobId;
use crate::io::{RunAction, RunId};
use crate::time::Time;

/// The shortest time that a task runs before it is preempted: most tasks take less, and a person who waits for a thread
/// hardly notices.
const QUANTUM: Duration = Duration::from_secs(1);
/// The same for the last thread of an origin, at first, and for tasks that are about to end as far as known.
const LAST_QUANTUM: Duration = Duration::from_secs(2);
/// How many times that is doubled, at most. Who submits tasks that never end can make others wait for as long.
const MOST_DOUBLED: u32 = 3;

impl Worker {
    /// Ends a run of an origin with more than its share of the threads, if another one that has been served less waits;
    /// also the runs that wait in the pool's queue before those of that origin.
    pub(super) fn preempt(&mut self, core: &mut Core) {
        let threads = self.threads as usize;
        let on_threads: Vec<RunId> = self.on_threads().map(|(&run, _)| run).collect();
        for run in &on_threads {
            if let Some(running) = self.running.get_mut(run) {
                running.began.get_or_insert(core.now);
            }
        }
        let is_long = |(_, running): (&RunId, &Running)| running.elapsed(core.now) >= QUANTUM;
        if on_threads.len() < threads || !self.on_threads().any(is_long) {
            return;
        }
        let order = self.by_turn(core.now);
        let Some((run, waiting)) = self.victim(core.now, &order) else { return };
        if let Some(origin) = self.running.get(&run).and_then(|running| self.origin_of(running)) {
            let is_last = self.on_threads().filter(|(_, r)| self.origin_of(r) == Some(origin)).count() == 1;
            let of_origin = self.jobs.values_mut().filter(|job| job.origin == origin);
            of_origin.for_each(|job| job.kept_last += u32::from(is_last));
        }
        self.end_run(core, run);
        let first = self.running.iter().find(|(_, r)| self.origin_of(r) == Some(waiting)).map(|(&run, _)| run);
        let queued = self.running.iter().filter(|(run, r)| {
            let is_loaded = self.jobs.get(&r.job).is_some_and(|job| job.begun);
            is_loaded && r.began.is_none() && first.is_none_or(|first| **run < first)
        });
        let before: Vec<RunId> = queued.map(|(&run, _)| run).collect();
        before.into_iter().for_each(|run| self.end_run(core, run));
    }

    /// The run to be ended, the one of which least is lost, and the origin that waits for its thread. `order` is that of
    /// [`Worker::by_turn`].
    fn victim(&self, now: Time, order: &[JobId]) -> Option<(RunId, Origin)> {
        let threads = Places::of_all(self.on_threads().filter_map(|(_, running)| self.origin_of(running)));
        let place_of = |job: &JobId| order.iter().position(|id| id == job);
        for (place, id) in order.iter().enumerate().filter(|(_, id)| self.waits(now, id)) {
            let waiting = self.jobs[id].origin;
            let ended = self.on_threads().filter(|(_, running)| {
                let Some(job) = self.jobs.get(&running.job) else { return false };
                let quantum = match threads.where_they_part(&job.origin, &waiting) {
                    Some((1, 0)) => LAST_QUANTUM * (1 << job.kept_last.min(MOST_DOUBLED)),
                    Some((theirs, own)) if theirs > own + 1 => QUANTUM,
                    _ => return false,
                };
                let expected = (Duration::from_micros(running.estimate) * 2).min(LAST_QUANTUM);
                running.elapsed(now) >= quantum.max(expected) && place_of(&running.job) > Some(place)
            });
            if let Some((&run, _)) = ended.min_by_key(|(_, running)| running.elapsed(now)) {
                return Some((run, waiting));
            }
        }
        None
    }

    /// The runs that hold threads: the pool starts runs in the order in which it got them, those whose module is loaded.
    fn on_threads(&self) -> impl Iterator<Item = (&RunId, &Running)> {
        let is_loaded = |running: &Running| self.jobs.get(&running.job).is_some_and(|job| job.begun);
        self.running.iter().filter(move |(_, running)| is_loaded(running)).take(self.threads as usize)
    }

    /// Whether a job has a unit that could run if a thread were free.
    fn waits(&self, now: Time, id: &JobId) -> bool {
        let job = &self.jobs[id];
        let is_queued = |running: &Running| running.job == *id && job.begun && running.began.is_none();
        self.running.values().any(is_queued) || (job.has_unit(now) && !job.is_stalled())
    }

    fn origin_of(&self, running: &Running) -> Option<Origin> {
        Some(self.jobs.get(&running.job)?.origin)
    }

    /// Ends a run; its tasks are tried again later, here or by others.
    fn end_run(&mut self, core: &mut Core, run: RunId) {
        let Some(running) = self.running.remove(&run) else { return };
        core.act(RunAction::Cancel { run });
        let Some(job) = self.jobs.get_mut(&running.job) else { return };
        if running.began.is_some() {
            self.turns.serve(&job.origin, running.elapsed(core.now).as_micros() as u64);
            job.preempted = true;
        }
        let stage = &mut job.stages[running.unit.stage.index()];
        running.unended().for_each(|task| stage.task_failed(core.now, task, Duration::ZERO));
    }
}
