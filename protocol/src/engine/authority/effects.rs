//! The effects of a decision, which take place only once it is in force.

use super::job::Job;
use super::proposals::ACCEPT_ATTEMPTS;
use crate::decisions::{Decision, Revoked, downstream};
use crate::engine::core::Core;
use crate::engine::jobs::Jobs;
use crate::epoch::Epoch;
use crate::io::Notice;
use crate::message::{AttemptId, Attempts, Response};
use crate::part::{StageId, TaskId};
use crate::ranges::BitSet;
use crate::ring::Ring;
use crate::sign::Signed;

impl Job {
    /// Certifies the pending decisions and carries out the effects of all that are in force.
    pub(super) fn advance(&mut self, core: &mut Core, jobs: &mut Jobs) {
        loop {
            self.end_if_done();
            if let Err(why) = self.ledger.certify(core) {
                return self.give_up(core, &why.to_string());
            }
            let Some(decision) = self.ledger.next_in_force() else { return };
            self.take_effect(core, jobs, decision);
        }
    }

    /// Carries out the effects of all decisions in force.
    pub(super) fn take_effects(&mut self, core: &mut Core, jobs: &mut Jobs) {
        while let Some(decision) = self.ledger.next_in_force() {
            self.take_effect(core, jobs, decision);
        }
    }

    fn take_effect(&mut self, core: &mut Core, jobs: &mut Jobs, decision: Decision) {
        match decision {
            // The first epoch is a decision of its own in the same batch.
            Decision::Open(_) => {}
            Decision::Epoch(signed) => self.begin_epoch(core, jobs, signed),
            Decision::Accept { stage, attempts } => self.accepted(core, stage, attempts),
            Decision::Split { stage, .. } => {
                self.settle_reader_of(stage);
                // Owners seal once they know the division. This peer does not track which ones know it, and tells all.
                self.tell_owners(core, stage, &Attempts::default());
            }
            Decision::Output { stage, attempts } => self.outputs_are_in(core, stage, &attempts),
            Decision::End(outcome) => self.ended = Some(outcome),
            // Summaries report seals; no message is sent for them.
            Decision::Seal { .. } | Decision::Ban(_) => {}
            Decision::Revoke { stage, of, .. } => self.revoked(core, stage, &of),
        }
    }

    fn begin_epoch(&mut self, core: &mut Core, jobs: &mut Jobs, signed: Signed<Epoch>) {
        let Some(epoch) = self.ledger.state().epoch().cloned() else { return };
        if self.is_open {
            self.follow_epoch(core, jobs, epoch, signed);
            return;
        }
        self.is_open = true;
        (self.epoch, self.signed_epoch) = (epoch, signed);
        self.announce_at = core.now;
        jobs.enter_own(core, self.signed.clone(), self.announce(core.now));
        self.expect_shufflers(core);
        core.act(Notice::Submitted { job: self.id });
        self.places = Some(self.offer_to_many(core));
    }

    /// Announces a later epoch to all peers concerned.
    fn follow_epoch(&mut self, core: &mut Core, jobs: &mut Jobs, epoch: Epoch, signed: Signed<Epoch>) {
        let before = std::mem::replace(&mut self.epoch, epoch);
        self.signed_epoch = signed;
        self.expect_shufflers(core);
        let ring = Ring::new(&self.epoch);
        for (number, stage) in StageId::enumerate(&mut self.stages) {
            let Some(shape) = stage.plan.shuffle() else { continue };
            let Some(shuffle) = &mut stage.shuffle else { continue };
            shuffle.new_ring(core.now, ring.owners(number, shape.partitions, self.manifest.replicas));
        }
        jobs.take_epoch(core, &self.signed_epoch);
        // Makes the next probe, which carries the epoch, due at once.
        self.watch.at = core.now;
        for stage in self.manifest.stage_ids() {
            if self.epoch.generations_of(stage).writes != before.generations_of(stage).writes {
                self.repeat_all_acceptances(core, stage);
            }
        }
        self.announce_at = core.now;
    }

    /// Withdraws acceptances of a stage and all that was computed from them. The epoch that follows announces it.
    fn revoked(&mut self, core: &mut Core, stage: StageId, of: &Revoked) {
        // That epoch is decided together with the revocation.
        let since = self.ledger.state().epoch().map_or(0, |epoch| epoch.number).max(self.epoch.number + 1);
        let mut open = self.reopen_revoked_tasks(stage, since);
        for reader in downstream(&self.manifest, stage) {
            let of = &mut self.stages[reader.index()];
            open += of.done.count();
            of.done = BitSet::new(of.done.size());
            of.shuffle.iter_mut().for_each(|shuffle| shuffle.reset(since));
            for storing in of.storing.values_mut() {
                storing.is_stale = true;
                storing.tokens.drain(..).for_each(|token| core.respond(token, Response::Missing));
            }
            for output in self.outputs.remove(&reader).unwrap_or_default() {
                of.storing.remove(&output.task);
            }
            self.seals.retain(|(sealed, _), _| *sealed != reader);
            self.failures.forget_stage(reader);
        }
        self.seals.retain(|(sealed, _), _| *sealed != stage);
        self.reopened = self.reopened.saturating_add(1);
        if *of != Revoked::Tasks(Vec::new()) {
            core.act(Notice::Revoked { job: self.id, stage, tasks: open });
        }
    }

    /// Reopens the tasks of a stage whose acceptances were withdrawn; returns how many.
    fn reopen_revoked_tasks(&mut self, stage: StageId, since: u32) -> u32 {
        let Some(decided) = self.ledger.state().stage(stage) else { return 0 };
        let standing = decided.accepted().clone();
        let of = &mut self.stages[stage.index()];
        let done: Vec<TaskId> = of.done.iter().filter(|&task| !standing.contains(task)).collect();
        done.into_iter().for_each(|task| {
            of.done.remove(task);
        });
        of.shuffle.iter_mut().for_each(|shuffle| shuffle.revoke(&standing, since));
        standing.size() - standing.count()
    }

    /// Shufflers forget acceptances at a new generation, so those that stand are sent again.
    fn repeat_all_acceptances(&mut self, core: &mut Core, number: StageId) {
        let Some(decided) = self.ledger.state().stage(number) else { return };
        let attempt = |task| Some(AttemptId { task, digest: decided.digest(task)? });
        let standing: Vec<AttemptId> = decided.accepted().iter().filter_map(attempt).collect();
        for part in standing.chunks(ACCEPT_ATTEMPTS) {
            self.tell_owners(core, number, &Attempts::pack(part.iter().copied()));
        }
    }

    /// Marks tasks as done whose attempts are accepted, and tells the owners of their partitions.
    pub(super) fn accepted(&mut self, core: &mut Core, stage: StageId, attempts: Attempts) {
        let of = &mut self.stages[stage.index()];
        for task in attempts.tasks() {
            of.done.insert(task);
            self.failures.done(stage, task);
        }
        self.note_authors(attempts.authors.iter().map(|&(author, _)| author));
        self.tell_owners(core, stage, &attempts.without_authors());
        self.decide_split(stage);
    }

    /// Tells the owners of a stage's partitions which attempts are accepted, and how many buckets make a task.
    fn tell_owners(&self, core: &mut Core, stage: StageId, attempts: &Attempts) {
        let shuffle = self.stages[stage.index()].shuffle.as_ref();
        for owner in shuffle.map(|shuffle| shuffle.ring.owners()).unwrap_or_default() {
            self.send_accept(core, owner, stage, attempts.clone());
        }
    }

    /// Acknowledges results that are in, so that their workers may drop them.
    fn outputs_are_in(&mut self, core: &mut Core, stage: StageId, attempts: &Attempts) {
        self.note_authors(attempts.authors.iter().map(|&(author, _)| author));
        for task in attempts.tasks() {
            let of = &mut self.stages[stage.index()];
            of.done.insert(task);
            self.failures.done(stage, task);
            let tokens = of.storing.remove(&task).map(|storing| storing.tokens).unwrap_or_default();
            tokens.into_iter().for_each(|token| core.respond(token, Response::Ok));
        }
    }
}
