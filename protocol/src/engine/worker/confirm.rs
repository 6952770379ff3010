//! Tasks of this peer's own jobs that it tries because they failed at other workers, even while it does not work.

use super::Worker;
use super::job::WorkerJob;
use crate::engine::core::Core;
use crate::engine::jobs::Change;
use crate::part::TaskRef;

impl Worker {
    /// Tries a task of a job of this peer's own beside the workers that claim it. `open` is the job as it stands.
    pub(in crate::engine) fn confirm(&mut self, core: &mut Core, task: TaskRef, open: Option<&Change>) {
        let TaskRef { job, stage, task } = task;
        if let Some(Change::Open { manifest, epoch, done, reopened, .. }) = open
            && !self.jobs.contains_key(&job)
        {
            let mut opened = WorkerJob::new(core, manifest, epoch, done.clone(), *reopened);
            // Marked as postponed before: the worker then asks for the state of the job first.
            opened.postponed = 1;
            opened.confirms_only = true;
            self.jobs.insert(job, opened);
        }
        if self.jobs.get(&job).is_some_and(|job| !job.active) {
            self.begin(core, job);
        }
        let stage = self.jobs.get_mut(&job).and_then(|job| job.stages.get_mut(stage.index()));
        if let Some(stage) = stage {
            stage.confirm(task);
        }
    }
}
