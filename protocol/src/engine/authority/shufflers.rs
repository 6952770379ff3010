//! What shufflers report: the attempts that they hold, the partitions that are complete, and that they lost their
//! segments.

use std::time::Duration;

use super::Authority;
use super::shuffle::NotSealed;
use crate::engine::core::Core;
use crate::id::{JobId, PeerKey};
use crate::message::{Commit, Response, Sealed};
use crate::part::PartitionId;
use crate::time::Time;

/// How long acceptances are gathered before they are sent.
const ACCEPT_DELAY: Duration = Duration::from_millis(10);

impl Authority {
    /// Called when a shuffler has lost the segments that it held for a job.
    pub(in crate::engine) fn on_resigned(&mut self, core: &Core, peer: PeerKey, id: JobId, why: &str) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_shuffler(&peer)) {
            job.replace_after(core.now, peer, Duration::ZERO, format!("it cannot store its segments: {why}"));
        }
    }

    /// Handles a shuffler's commit: the attempts that it holds.
    pub(in crate::engine) fn on_commit(&mut self, core: &mut Core, from: PeerKey, commit: &Commit) -> Response {
        let &Commit { job: id, stage, epoch, opened, ref partitions, ref attempts, bytes } = commit;
        let Some(job) = self.jobs.get_mut(&id) else { return Response::Missing };
        if epoch != job.epoch.number {
            return Response::NotOwner(job.signed_epoch.clone());
        }
        if job.awaits_epoch() {
            return Response::Busy;
        }
        let Some(of) = job.stages.get_mut(stage.index()) else { return Response::Missing };
        let Some(shuffle) = &mut of.shuffle else { return Response::Missing };
        let owned: Vec<PartitionId> = shuffle.ring.partitions_of(from).collect();
        let meant: Vec<PartitionId> =
            owned.into_iter().filter(|p| partitions.is_empty() || partitions.contains(p)).collect();
        if meant.is_empty() {
            // A peer that owns no partition has no influence on what is accepted.
            return Response::NotOwner(job.signed_epoch.clone());
        }
        if !shuffle.matches_incarnation(core.now, from, opened) {
            core.log(format!("ignored a commit of {} in job {} from before its restart", from.short(), id.short()));
            return Response::Missing;
        }
        shuffle.note_pushed(from, bytes);
        for attempt in attempts.authors_or(from) {
            let task = attempt.task;
            if shuffle.contradicts(attempt.id()) && !of.done.contains(task) {
                // The accepted attempt is lost, and cannot be computed again.
                job.differing.insert(stage);
            }
            if shuffle.commit(core.now, attempt, &meant) {
                job.failures.done(stage, task);
                if shuffle.accept_at == Time::NEVER {
                    shuffle.accept_at = core.now + ACCEPT_DELAY;
                }
            }
        }
        if shuffle.is_complete() && shuffle.due() > 0 {
            shuffle.accept_at = core.now;
        }
        Response::Ok
    }

    /// Handles a shuffler's seal of a partition.
    pub(in crate::engine) fn on_sealed(&mut self, core: &mut Core, from: PeerKey, sealed: &Sealed) -> Response {
        let &Sealed { job: id, stage, epoch, partition, root } = sealed;
        let Some(job) = self.jobs.get_mut(&id) else { return Response::Missing };
        if epoch != job.epoch.number {
            return Response::NotOwner(job.signed_epoch.clone());
        }
        if job.awaits_epoch() {
            return Response::Busy;
        }
        let Some(of) = job.stages.get_mut(stage.index()) else { return Response::Missing };
        let Some(shuffle) = of.shuffle.as_mut().filter(|s| s.ring.owns(from, partition)) else {
            return Response::Missing;
        };
        match shuffle.seal(partition, root) {
            Ok(()) => {
                let held = of.done.iter_missing().filter(|task| shuffle.lacking[task.index()] == 0);
                held.collect::<Vec<_>>().into_iter().for_each(|task| {
                    of.done.insert(task);
                });
                let known = job.ledger.state().stage(stage).is_some_and(|stage| stage.sealed(partition) == Some(root));
                if !known {
                    job.seals.entry((stage, root)).or_default().insert(partition);
                }
                Response::Ok
            }
            Err(NotSealed::TooEarly) => {
                core.log(format!("{} sealed partition {partition} of job {} too early", from.short(), id.short()));
                Response::Busy
            }
            Err(NotSealed::OtherRoot) => {
                core.log(format!(
                    "{} sealed in job {} other results than those accepted: given up",
                    from.short(),
                    id.short()
                ));
                job.replace_after(core.now, from, Duration::ZERO, "it sealed other results than those accepted");
                Response::Missing
            }
        }
    }
}
