//! Which job's turn it is (rule 8).

use std::collections::BTreeMap;

use super::{Worker, listen};
use crate::engine::blobs::Blobs;
use crate::engine::core::Core;
use crate::engine::shuffler::Shuffler;
use crate::engine::stage::{StageWork, Unit};
use crate::id::{JobId, PeerKey};
use crate::manifest::Source;
use crate::time::Time;

/// Jobs that this worker takes part in at a time; others wait until one ends. Each may cost a claim table.
const ACTIVE_JOBS: usize = 32;
/// Units in hand for each thread, beside a few for all: one runs, one waits with its input here.
const UNITS_PER_THREAD: usize = 2;
/// Units in hand beside those: their inputs are on their way while others run.
const UNITS_AHEAD: usize = 2;
/// One unit in so many goes to the youngest job (rule 8).
const YOUNGEST_EVERY: u64 = 8;

impl Worker {
    /// Takes part in waiting jobs, oldest first, as long as there is room.
    pub(super) fn activate(&mut self, core: &mut Core) {
        let mut room = ACTIVE_JOBS.saturating_sub(self.jobs.values().filter(|j| j.active).count());
        let mut waiting: Vec<(Time, JobId)> =
            self.jobs.iter().filter(|(_, j)| !j.active).map(|(&id, j)| (j.opened, id)).collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            let Some(job) = self.jobs.get_mut(&id).filter(|_| room > 0) else { return };
            room -= 1;
            job.active = true;
            let place = self.places.remove(&id);
            for number in 0..job.manifest.stages.len() as u8 {
                let place = place.filter(|_| number == 0);
                let mut stage = StageWork::new(core, id, number, job.manifest.clone(), place);
                // Whoever comes late learns what is done already.
                if job.done.iter().any(|&done| done > 0) {
                    stage.ask_summary(core);
                }
                listen(&mut self.topics, core, stage.topic, true);
                job.stages.push(stage);
            }
        }
    }

    /// Claims in all jobs; says whether anything was claimed.
    pub(super) fn claim(&mut self, core: &mut Core) -> bool {
        let mut claimed = false;
        for job in self.jobs.values_mut().filter(|j| j.active && j.is_set_up()) {
            // Later stages first: what they need is here, and their results free it.
            for i in (0..job.stages.len()).rev() {
                let upstream_over = match job.manifest.stages[i].source {
                    Source::Shuffle { stage } => job.stages[usize::from(stage)].is_over(),
                    Source::Inputs => true,
                };
                let stage = &mut job.stages[i];
                claimed |= stage.claim(core, self.threads, upstream_over);
                if stage.topic != stage.listening {
                    listen(&mut self.topics, core, stage.listening, false);
                    listen(&mut self.topics, core, stage.topic, true);
                    stage.listening = stage.topic;
                }
            }
        }
        claimed
    }

    /// Units that run, or wait for their input.
    pub(super) fn in_hand(&self) -> usize {
        self.running.len() + self.fetching
    }

    pub(super) fn start_units(&mut self, core: &mut Core, blobs: &mut Blobs, shuffler: &Shuffler) {
        let most = self.threads as usize * UNITS_PER_THREAD + UNITS_AHEAD;
        while self.in_hand() < most {
            let Some((id, unit)) = self.pick_unit(core.now) else { return };
            self.started += 1;
            self.prepare(core, blobs, shuffler, id, unit);
        }
    }

    /// The next unit of the job whose turn it is (rule 8): the owner that was served least, of its jobs the one
    /// with the highest priority, then the oldest; but at times the youngest job of all.
    fn pick_unit(&mut self, now: Time) -> Option<(JobId, Unit)> {
        let mut served: BTreeMap<PeerKey, u64> = BTreeMap::new();
        for job in self.jobs.values() {
            *served.entry(job.manifest.owner).or_default() += job.served;
        }
        let youngest = self.started % YOUNGEST_EVERY == YOUNGEST_EVERY - 1;
        let mut order: Vec<(JobId, _)> = self
            .jobs
            .iter()
            .filter(|(_, j)| j.active && j.is_set_up())
            .map(|(&id, j)| {
                let by_turn = (served[&j.manifest.owner], u8::MAX - j.manifest.priority, j.opened);
                (id, if youngest { (0, 0, Time(u64::MAX - j.opened.0)) } else { by_turn })
            })
            .collect();
        order.sort_unstable_by_key(|&(id, rank)| (rank, id));
        // One long unit waits behind those that run: more would only be missing elsewhere.
        let long = self.in_hand() <= self.threads as usize;
        order.into_iter().find_map(|(id, _)| Some((id, self.jobs.get_mut(&id)?.next_unit(now, long)?)))
    }
}
