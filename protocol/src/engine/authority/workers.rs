//! What workers report: their claims, failed tasks, and that they cannot run a job.

use super::Authority;
use super::failures::Unable;
use crate::engine::core::Core;
use crate::id::{JobId, PeerKey};
use crate::io::Notice;
use crate::message::{Claim, Failure, Outcome};
use crate::part::StageRef;

impl Authority {
    /// Called when a worker cannot run a job: it gives a task less memory than the job requires, or speaks an older
    /// version.
    pub(in crate::engine) fn on_declined(
        &mut self,
        core: &Core,
        from: PeerKey,
        id: JobId,
        memory: u64,
        minor: Option<u16>,
    ) {
        if let Some(job) = self.jobs.get_mut(&id)
            && job.is_worker(core, &from)
        {
            let why = minor.map_or(Unable::Memory(memory), Unable::Version);
            job.failures.declined(core.now, from, why);
        }
    }

    /// Handles a failed task.
    pub(in crate::engine) fn on_failure(&mut self, core: &mut Core, from: PeerKey, failure: Failure) {
        let Some(job) = self.jobs.get_mut(&failure.job) else { return };
        if job.is_ending() || !job.is_worker(core, &from) {
            return;
        }
        let Some(stage) = job.stages.get(failure.stage.index()) else { return };
        let limits = stage.plan.limits;
        if failure.task.0 >= stage.plan.tasks || stage.is_finished(failure.task) {
            return;
        }
        job.note_worker(core, from);
        let mut left = job.failures.note(core, from, &failure, &limits, &job.workers);
        if left == 0 && job.failures.needs_confirmation(core, &failure, &limits) {
            core.to_confirm.push(StageRef { job: failure.job, stage: failure.stage }.task(failure.task));
            left = 1;
        }
        let notice = Notice::TaskFailed { failure: failure.clone(), worker: from, retries_left: left as u8 };
        core.act(notice);
        if left == 0 {
            job.end_with(Outcome::Failed(failure.why.clone()), Some(failure));
        }
    }

    /// Handles another peer's claim in a job of this peer's.
    pub(in crate::engine) fn on_claim(&mut self, core: &Core, from: PeerKey, claim: &Claim) {
        if let Some(job) = self.jobs.get_mut(&claim.job) {
            job.note_worker(core, from);
        }
    }
}
