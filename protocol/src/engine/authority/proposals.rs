//! What a job's authority decides and when: turns what shufflers and workers told it into decisions for the log.

use std::collections::{BTreeMap, BTreeSet};

use super::choice::choose_shufflers;
use super::job::Job;
use super::missing::Missing;
use super::shuffle::{RESUME_GRACE, Shuffle};
use crate::decisions::{Decision, Revoked};
use crate::engine::core::Core;
use crate::epoch::{Epoch, Generations, Shuffler};
use crate::id::PeerKey;
use crate::manifest::Sink;
use crate::message::{Attempts, Failure, Outcome};
use crate::part::{StageId, TaskId};
use crate::ranges::{Run, runs_of};
use crate::split::Split;

/// Most attempts in one acceptance.
pub(super) const ACCEPT_ATTEMPTS: usize = 8192;

impl Job {
    /// Decides the job's end.
    pub(super) fn end_with(&mut self, outcome: Outcome, failure: Option<Failure>) {
        if !self.ending {
            self.ending = true;
            self.failure = failure;
            self.ledger.decide(Decision::End(outcome));
        }
    }

    /// Whether the job's end is decided.
    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Ends the job without a last log entry, because its log cannot be continued.
    pub(super) fn give_up(&mut self, core: &mut Core, why: &str) {
        core.log(format!("job {}: {why}", self.id.short()));
        self.ending = true;
        self.ended = Some(Outcome::Failed(format!("the log of the job's decisions cannot be continued: {why}")));
    }

    /// Decides the end of a job once all results are in.
    pub(super) fn end_if_done(&mut self) {
        if self.is_all_done() {
            self.end_with(Outcome::Done, None);
        }
    }

    /// Whether all results are in.
    pub(super) fn is_all_done(&self) -> bool {
        let mut last = self.stages.iter().zip(&self.manifest.stages).filter(|(_, s)| s.sink == Sink::Collect);
        last.all(|(stage, _)| stage.done.is_full())
    }

    /// Decides an epoch without the shufflers that are lost.
    pub(super) fn replace_lost_shufflers(&mut self, core: &mut Core) {
        if self.awaits_epoch() {
            return;
        }
        let given_up = self.missing.extract_if(.., |_, missing| missing.until <= core.now);
        let mut given_up: BTreeMap<PeerKey, Missing> = given_up.collect();
        given_up.retain(|peer, _| self.is_shuffler(peer));
        if given_up.is_empty() {
            return;
        }
        let lost: BTreeSet<PeerKey> = given_up.keys().copied().collect();
        let before: Vec<PeerKey> = self.epoch.shufflers.iter().map(|s| s.peer).collect();
        let mut shufflers: Vec<Shuffler> =
            self.epoch.shufflers.iter().filter(|s| !lost.contains(&s.peer)).copied().collect();
        // A new shuffler takes the lost one's place if there is a candidate.
        self.gone.extend(&lost);
        self.connected_only |= given_up.values().any(|missing| missing.was_remembered);
        for fresh in choose_shufflers(core, &self.manifest, &self.gone, self.connected_only) {
            let known = shufflers.iter().any(|s| s.peer == fresh.peer);
            if !known && shufflers.len() < before.len() && (fresh.peer != core.me || shufflers.is_empty()) {
                shufflers.push(fresh);
            }
        }
        shufflers.sort_unstable_by_key(|s| s.peer);
        let number = self.next_epoch();
        for (peer, Missing { why, .. }) in given_up {
            core.log(format!("job {}: lost shuffler {}: {why}; epoch {number}", self.id.short(), peer.short()));
            self.note_replaced(peer, why);
        }
        self.decide_epoch(number, shufflers, self.epoch.generations.clone());
    }

    /// Whether an epoch is decided and not in force yet. What arrives meanwhile may be computed from what is revoked
    /// with it; its sender sends it again under that epoch.
    pub(super) fn awaits_epoch(&self) -> bool {
        self.ledger.awaits(|decision| matches!(decision, Decision::Epoch(_) | Decision::Revoke { .. }))
    }

    /// Revokes acceptances of lost attempts in stages where attempts turned out to differ: the accepted ones cannot be
    /// computed again, so no owner would ever hold them. What was computed from them is revoked with them.
    pub(super) fn revoke_differing_outputs(&mut self, core: &mut Core) {
        if self.awaits_epoch() {
            return;
        }
        let Some(stage) = self.differing.pop_first() else { return };
        let of = &self.stages[stage.index()];
        let Some(shuffle) = &of.shuffle else { return };
        let runs = runs_of(shuffle.accepted_and_lost().filter(|&task| !of.done.contains(task)));
        if runs.is_empty() {
            return;
        }
        let tasks: u32 = runs.iter().map(|run| run.len).sum();
        core.log(format!(
            "job {}: the outputs of {tasks} tasks of stage {stage} are lost and differ when computed again; \
             what was computed from them is revoked",
            self.id.short()
        ));
        let generations = self.decide_revocations(vec![(stage, Revoked::Tasks(runs))]);
        self.decide_epoch(self.next_epoch(), self.epoch.shufflers.clone(), generations);
    }

    /// Decides the next epoch.
    pub(super) fn decide_epoch(&mut self, number: u32, shufflers: Vec<Shuffler>, generations: Vec<Generations>) {
        let epoch = Epoch { job: self.id, number, previous: Some(self.signed_epoch.hash()), shufflers, generations };
        let signed = self.ledger.sign(&epoch);
        self.ledger.decide(Decision::Epoch(signed));
    }

    /// Accepts attempts that all owners hold, after gathering them for a while.
    pub(super) fn decide_acceptances(&mut self, core: &mut Core, stage: StageId) {
        let Some(shuffle) = &mut self.stages[stage.index()].shuffle else { return };
        if core.now < shuffle.accept_at && shuffle.due() < ACCEPT_ATTEMPTS {
            return;
        }
        let due = shuffle.due_acceptances();
        let decided = self.ledger.state().stage(stage);
        let is_decided = |task: TaskId| decided.is_some_and(|stage| stage.accepted().contains(task));
        // Owners that joined later are told of acceptances that are decided already.
        let (again, new): (Vec<_>, Vec<_>) = due.into_iter().partition(|attempt| is_decided(attempt.task));
        for part in again.chunks(ACCEPT_ATTEMPTS) {
            self.accepted(core, stage, Attempts::pack_authored(part));
        }
        for part in new.chunks(ACCEPT_ATTEMPTS) {
            self.ledger.decide(Decision::Accept { stage, attempts: Attempts::pack_authored(part) });
        }
    }

    /// Decides how many tasks read a stage's output, once the size of that output is known: an attempt is accepted of
    /// every task of the stage, and of those that are read together with it. A pending revocation goes first.
    pub(super) fn decide_split(&mut self, number: StageId) {
        let is_decided = |decision: &Decision| matches!(decision, Decision::Split { stage, .. } if *stage == number);
        if self.split_of(number).is_some() || self.ledger.awaits(is_decided) || self.awaits_epoch() {
            return;
        }
        let Some(reader) = self.manifest.flexible_reader_of(number) else { return };
        let reads: Vec<StageId> = self.manifest.stages[reader.index()].reads().collect();
        let is_complete =
            |read: &StageId| self.ledger.state().stage(*read).is_some_and(|stage| stage.accepted().is_full());
        if !reads.iter().all(is_complete) {
            return;
        }
        let Some(shape) = self.manifest.stages[number.index()].shuffle() else { return };
        let written = |read: &StageId| self.stages[read.index()].shuffle.as_ref().map_or(0, Shuffle::written);
        let written = reads.iter().map(written).fold(0u64, u64::saturating_add);
        let per_task = self.manifest.stages[reader.index()].task_bytes;
        // A division that an earlier run of this peer settled for one of them holds for all.
        let settled = reads.iter().find_map(|&read| self.width_of(read));
        let width = settled.unwrap_or_else(|| Split::by_size(shape, written, per_task).width());
        for stage in reads {
            if self.split_of(stage).is_none() {
                self.ledger.decide(Decision::Split { stage, width });
            }
        }
    }

    /// Decides what was received since the last call: one decision for all seals of a stage, and one for all its
    /// results.
    pub(super) fn decide_seals_and_outputs(&mut self) {
        for ((stage, root), partitions) in std::mem::take(&mut self.seals) {
            let generation = self.epoch.generations_of(stage).writes;
            let partitions = partitions.into_iter().collect();
            self.ledger.decide(Decision::Seal { stage, generation, root, partitions });
        }
        for (stage, mut outputs) in std::mem::take(&mut self.outputs) {
            outputs.sort_unstable();
            for part in outputs.chunks(ACCEPT_ATTEMPTS) {
                self.ledger.decide(Decision::Output { stage, attempts: Attempts::pack_authored(part) });
            }
        }
    }

    /// Restores what an earlier run decided. Which peer holds what must be committed again, under the epoch that is
    /// decided here; the results in `lost` must be computed again.
    pub(super) fn restore(&mut self, core: &Core, lost: Vec<Run<TaskId>>) {
        self.manifest.stage_ids().for_each(|stage| self.settle_reader_of(stage));
        // What this peer held is lost with its earlier run: if it was the only shuffler, there is no other to wait for.
        let alone = self.epoch.shufflers.iter().all(|shuffler| shuffler.peer == core.me);
        let reopen_at = if alone { core.now } else { core.now + RESUME_GRACE };
        let state = self.ledger.state();
        for (number, stage) in StageId::enumerate(&mut self.stages) {
            let Some(decided) = state.stage(number) else { continue };
            stage.done = decided.accepted().clone();
            if let Some(shuffle) = &mut stage.shuffle {
                shuffle.restore(reopen_at, number, state);
            }
        }
        let authors_of = |number: StageId| {
            let accepted = state.stage(number).map(|decided| decided.accepted().iter());
            accepted.into_iter().flatten().filter_map(move |task| state.author(number, task))
        };
        let authors: BTreeSet<PeerKey> = self.manifest.stage_ids().flat_map(authors_of).collect();
        self.note_authors(authors);
        let last = StageId::of_index(self.stages.len() - 1);
        let done = &mut self.stages[last.index()].done;
        lost.iter().flat_map(Run::iter).for_each(|task| {
            done.remove(task);
        });
        // Shufflers may know acceptances that this log has lost. With a new generation they forget those and commit
        // what they hold.
        let mut revocations: Vec<(StageId, Revoked)> =
            self.unsettled().into_iter().map(|stage| (stage, Revoked::Tasks(Vec::new()))).collect();
        if !lost.is_empty() {
            revocations.push((last, Revoked::Tasks(lost)));
        }
        let generations = self.decide_revocations(revocations);
        let number = self.next_epoch();
        // Workers ignore a smaller count than they know as outdated; this one exceeds those of earlier runs.
        self.reopened = number;
        self.decide_epoch(number, self.epoch.shufflers.clone(), generations);
    }
}
