//! Ends of jobs that do not come from the job's log, such as a cancellation, and their announcement.

use std::time::Duration;

use super::Authority;
use super::job::Job;
use crate::decisions::Decision;
use crate::engine::core::Core;
use crate::engine::jobs::Jobs;
use crate::engine::pending::AuthorityRequest;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::Notice;
use crate::limits;
use crate::manifest::Inputs;
use crate::message::{End, Outcome, Request};
use crate::sign::{Keypair, Signed};
use crate::time::Time;

/// Interval at which another home is told of a cancelled job until it answers.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);
/// Most times that another home is told of a cancelled job.
const CANCEL_TRIES: u32 = 10;

/// The failure of a job that was done, when the end of its log is lost.
const LOST_AFTER_DONE: &str = "the job was done, and the end of its log, which names its last results, is lost; submit it \
                               again";

/// A job that was cancelled here and whose home is another peer.
#[derive(Debug)]
pub(super) struct Cancelled {
    job: JobId,
    to: PeerKey,
    end: Signed<End>,
    tries: u32,
    /// When to send next: `NEVER` while an answer is awaited.
    pub(super) send_at: Time,
}

impl Authority {
    /// Fails a job for a reason of this peer's own.
    pub(in crate::engine) fn fail(&mut self, id: JobId, why: String) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.end_with(Outcome::Failed(why), None);
        }
    }

    /// Called when an input cannot be read any more: the jobs that need it fail.
    pub(in crate::engine) fn on_input_lost(&mut self, lost: Hash, why: &str) {
        let reads = |job: &Job| matches!(&job.manifest.inputs, Inputs::Packs { index, .. } if index.hash == lost);
        for job in self.jobs.values_mut().filter(|job| reads(job)) {
            job.end_with(Outcome::Failed(why.to_owned()), None);
        }
    }

    /// Cancels a job for this peer's user.
    pub(in crate::engine) fn cancel(&mut self, core: &mut Core, jobs: &mut Jobs, id: JobId, key: &Keypair) {
        match jobs.owner(&id) {
            Some(owner) if owner == key.public() => {
                let end = key.sign(&End { job: id, outcome: Outcome::Cancelled });
                // The home must learn of it even if gossip is lost, or the job continues.
                if let Some(to) = jobs.home(&id).filter(|home| *home != core.me && self.ends.len() < limits::JOBS) {
                    self.ends.push(Cancelled { job: id, to, end: end.clone(), tries: 0, send_at: core.now });
                }
                self.on_ended(core, jobs, &end);
                self.announcer.tell_end(end);
            }
            Some(owner) => {
                let why = format!("it belongs to {}, and only its owner's key can cancel it", owner.short());
                core.act(Notice::CancelRefused { job: id, why });
            }
            None => {
                let why = "no such job is known here; it may be over already".to_owned();
                core.act(Notice::CancelRefused { job: id, why });
            }
        }
    }

    /// Leaves the mesh. This peer's jobs end with it, except those whose logs are persisted: they continue when it
    /// comes back.
    pub(in crate::engine) fn leave(&mut self, core: &mut Core, jobs: &mut Jobs) {
        let ending: Vec<JobId> = self.jobs.iter().filter(|(_, j)| !j.ledger.is_kept()).map(|(&id, _)| id).collect();
        for id in ending {
            self.finish(core, jobs, id, Outcome::Cancelled);
        }
    }

    /// Handles the signed end of a job from any source; returns whether it is valid and new.
    pub(in crate::engine) fn on_ended(&mut self, core: &mut Core, jobs: &mut Jobs, signed: &Signed<End>) -> bool {
        let Some(end) = jobs.end(core, signed) else { return false };
        if let Some(mut job) = self.jobs.remove(&end.job) {
            let outcome = match end.outcome {
                // An earlier run signed it, and its last decisions are lost. All peers have dropped the job since.
                Outcome::Done if !job.is_all_done() => Outcome::Failed(LOST_AFTER_DONE.to_owned()),
                outcome => outcome,
            };
            // The job ends whether or not that can be written to its log.
            if let Err(why) = job.ledger.close(core, Decision::End(outcome.clone())) {
                core.log(format!("job {}: {why}", end.job.short()));
            }
            job.tell_all_of_end(core, signed);
            core.act(Notice::Ended { job: end.job, outcome, failure: None });
        }
        true
    }

    /// Takes the end of a job that arrived by another way than the mesh, and publishes it if it is new, so that the
    /// same end received many times causes one message.
    pub(in crate::engine) fn pass_on_end(&mut self, core: &mut Core, jobs: &mut Jobs, signed: Signed<End>) {
        if self.on_ended(core, jobs, &signed) {
            self.announcer.tell_end(signed);
        }
    }

    /// Announces a job's end, which is decided.
    pub(super) fn finish(&mut self, core: &mut Core, jobs: &mut Jobs, id: JobId, outcome: Outcome) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let signed = job.ledger.sign(&End { job: id, outcome: outcome.clone() });
        core.act(Notice::Progress(job.progress()));
        // No other peer knows of a job whose first batch could not be persisted.
        jobs.set_counts(core.now, id, job.counts());
        jobs.end(core, &signed);
        job.tell_all_of_end(core, &signed);
        self.announcer.tell_end(signed);
        core.act(Notice::Ended { job: id, outcome, failure: job.failure });
    }

    /// Handles the answer of another home that was told of a job's end; `heard` is whether it acknowledged that.
    pub(super) fn on_cancel_answer(&mut self, now: Time, id: JobId, heard: bool) {
        self.ends.retain_mut(|cancelled| {
            if cancelled.job == id {
                cancelled.send_at = now + CANCEL_AGAIN;
            }
            cancelled.job != id || (!heard && cancelled.tries < CANCEL_TRIES)
        });
    }

    /// Tells the homes of jobs that were cancelled here, if that is due.
    pub(super) fn tell_other_homes(&mut self, core: &mut Core) {
        let now = core.now;
        for cancelled in self.ends.iter_mut().filter(|c| c.send_at <= now) {
            cancelled.send_at = Time::NEVER;
            cancelled.tries += 1;
            let pending = AuthorityRequest::Cancel(cancelled.job);
            core.request(cancelled.to, Request::Ended(cancelled.end.clone()), vec![], pending);
        }
    }
}
