//! The number of threads of a worker, changed while it works.

use super::Worker;
use super::job::WorkerJob;
use super::turns::Turns;
use crate::engine::blobs::Blobs;
use crate::engine::core::Core;
use crate::engine::jobs::Change;
use crate::id::JobId;

impl Worker {
    /// Changes the number of threads that run tasks. With fewer threads than before, claimed blocks that have not begun
    /// are released to other workers.
    pub(in crate::engine) fn set_threads(&mut self, core: &Core, threads: u32) {
        let fewer = threads < self.threads;
        self.threads = threads.max(1);
        self.enabled = true;
        self.jobs.values_mut().for_each(|job| job.confirms_only = false);
        if fewer {
            let stages = self.jobs.values_mut().filter(|j| j.active).flat_map(|j| &mut j.stages);
            stages.for_each(|stage| stage.release_beyond(core, self.threads));
        }
    }

    /// Takes part in a job that was open before this peer worked; nothing where it does so already.
    pub(in crate::engine) fn take_up(&mut self, core: &mut Core, blobs: &mut Blobs, job: JobId, open: &Change) {
        let Change::Open { manifest, epoch, done, reopened, .. } = open else { return };
        if !self.jobs.contains_key(&job) {
            let mut opened = WorkerJob::new(core, manifest, epoch, done.clone(), *reopened);
            // Marked as put off before: the worker then asks for the state of the job before it claims anything.
            opened.postponed = 1;
            self.open(core, blobs, job, opened);
        }
    }

    /// Stops working: ends all runs, releases every claim and announces that. Modules and indexes stay, to be served to
    /// other peers.
    pub(in crate::engine) fn retire(&mut self, core: &mut Core, blobs: &mut Blobs) {
        self.leave(core);
        for (id, job) in std::mem::take(&mut self.jobs) {
            self.close(core, blobs, id, job);
        }
        self.turns = Turns::default();
    }
}
