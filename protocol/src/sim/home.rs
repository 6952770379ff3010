//! Homes that are killed and restarted, with their logs intact or damaged.

use crate::decisions::{State, replay};
use crate::id::Hash;
use crate::io::{Event, Resumption};
use crate::message::Outcome;
use crate::part::{StageId, TaskId};
use crate::ranges::{Run, runs_of};

use super::oracle::{Fate, Oracle};
use super::rng::Rng;
use super::scenario::Damage;
use super::world::{SimEvent, World};

impl World {
    /// Kills the submitter of the first job, and damages the logs of its jobs if asked to.
    pub(super) fn kill_home(&mut self, down: std::time::Duration, damage: Option<Damage>) {
        let home = self.scenario.jobs[0].submitter;
        if !self.end_engine(home) {
            // It has been killed already.
            return;
        }
        self.oracle.home_ended(home);
        if let Some(damage) = damage {
            let said = self.oracle.damage_logs(self.now, home, damage, &mut self.rng);
            self.log.extend(said.into_iter().map(|text| (self.now, home, text)));
        }
        self.after(down, SimEvent::RestartHome(home));
    }

    /// Restarts a killed submitter; its jobs continue as their logs allow.
    pub(super) fn restart_home(&mut self, number: u32) {
        self.peers[number as usize].store.drop_segments();
        self.arrive(number);
        for (state, lost) in self.oracle.read_back(number) {
            let resumption = Resumption { state, key: self.owner_key(number), lost };
            self.feed(number, Event::Resume(Box::new(resumption)));
        }
    }
}

impl Oracle {
    /// Called when a submitter is killed: writes in progress are lost, and results that are not in the log will be sent
    /// again.
    fn home_ended(&mut self, submitter: u32) {
        for fate in self.fates.iter_mut().filter(|fate| fate.plan.submitter == submitter) {
            fate.writing.clear();
            fate.revoked += 1;
        }
    }

    /// Damages the logs of a submitter's running jobs; returns a description for each.
    fn damage_logs(&mut self, now: u64, submitter: u32, damage: Damage, rng: &mut Rng) -> Vec<String> {
        let living = self.fates.iter_mut().filter(|fate| fate.plan.submitter == submitter && fate.ended.is_none());
        living.filter(|fate| !fate.log.is_empty()).map(|fate| fate.damage(now, damage, rng)).collect()
    }

    /// A submitter's running jobs as read from their logs, with the results that must be computed again.
    fn read_back(&mut self, submitter: u32) -> Vec<(State, Vec<Run<TaskId>>)> {
        let living = self.fates.iter_mut().filter(|fate| fate.plan.submitter == submitter && fate.ended.is_none());
        living.filter_map(Fate::read_back).collect()
    }
}

impl Fate {
    /// Damages the log and keeps what precedes the damage; returns a description.
    fn damage(&mut self, now: u64, damage: Damage, rng: &mut Rng) -> String {
        let batches = self.state.as_ref().map_or(0, State::next);
        match damage {
            Damage::Torn => self.log.truncate(rng.below(self.log.len())),
            Damage::BitFlipped => {
                let at = rng.below(self.log.len());
                self.log[at] ^= 1 << rng.below(8);
            }
            Damage::LastBatchesLost => {
                let ends = batch_ends(&self.log);
                // The first batch exists, or there would be no job.
                self.log.truncate(ends[rng.below(ends.len())]);
            }
        }
        let replayed = replay(&self.log);
        self.log.truncate(replayed.kept);
        self.state = replayed.state;
        // The missing divisions are decided again.
        let decided = |number: StageId| Some((number, self.state.as_ref()?.stage(number)?.split()?.width()));
        self.widths = StageId::below(self.plan.stages().len() as u8).filter_map(decided).collect();
        let kept = self.state.as_ref().map_or(0, State::next);
        if kept == 0 {
            let why = "the beginning of its log is damaged".to_owned();
            self.ended = Some((now, Outcome::Failed(why)));
            self.log_is_lost = true;
        }
        format!("is killed; {damage:?}: {kept} of {batches} batches are left of a log")
    }

    /// What is on disk: the state, and the results in the log that are missing.
    fn read_back(&mut self) -> Option<(State, Vec<Run<TaskId>>)> {
        let state = replay(&self.log).state.filter(|state| state.outcome().is_none())?;
        let last = state.stage(StageId::of_index(state.manifest().stages.len() - 1))?;
        let named = |task: TaskId| last.digest(task).filter(|_| task.0 < last.accepted().size());
        self.outputs.retain(|&task, (bytes, _)| named(task) == Some(Hash::of(bytes)));
        let lost = runs_of(last.accepted().iter().filter(|task| !self.outputs.contains_key(task)));
        Some((state, lost))
    }
}

/// The end of each batch of an intact log.
fn batch_ends(log: &[u8]) -> Vec<usize> {
    let mut ends: Vec<usize> = Vec::new();
    while let Ok((_, len)) = crate::decisions::take_frame(&log[ends.last().copied().unwrap_or(0)..]) {
        ends.push(ends.last().copied().unwrap_or(0) + len);
    }
    ends
}
