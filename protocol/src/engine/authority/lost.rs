//! Decisions of an earlier run of this peer that are lost because the end of the log is damaged.
//!
//! Acceptances, seals and results that are lost are decided again. Epochs and revocations are known to peers, which
//! refuse messages of older ones. So a resumed run numbers its epochs and revocations from its clock, past all numbers
//! that earlier runs can have used; and a peer that receives an epoch which contradicts a revocation shows this peer
//! the epoch that it signed itself. The division into tasks is decided again with a new generation.

use std::time::Duration;

use super::job::Job;
use crate::decisions::{Decision, Revoked};
use crate::engine::core::Core;
use crate::epoch::{Epoch, Generations};
use crate::part::{Generation, StageId, TaskId};
use crate::ranges::Run;
use crate::sign::Signed;
use crate::time::Time;

/// Numbers taken from a clock are capped at this, which leaves room for later ones below the largest `u32`.
const LAST_FENCE: u32 = 1 << 31;
/// Interval between epochs that supersede lost ones: two runs of one home may be active and supersede each other's.
const SUPERSEDE_INTERVAL: Duration = Duration::from_secs(1);

/// The decisions of earlier runs of this peer that this run does not know.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// The lowest number of new epochs and generations: 0 in a job's first run, and the seconds of this peer's clock
    /// when it resumed the job.
    fence: u32,
    /// A lost epoch that this peer signed in an earlier run, as shown by another peer.
    shown: Option<Epoch>,
    /// The earliest time of the next epoch that supersedes a lost one.
    supersede_at: Time,
}

impl Lost {
    /// A run that resumes a job and started at this time, in microseconds of its clock.
    pub(super) fn since(started: u64) -> Self {
        let fence = u32::try_from(started / 1_000_000).unwrap_or(LAST_FENCE).min(LAST_FENCE);
        Self { fence, ..Self::default() }
    }

    /// When this job supersedes the lost epoch that it was shown.
    pub(super) fn deadline(&self) -> Time {
        if self.shown.is_some() { self.supersede_at } else { Time::NEVER }
    }
}

impl Job {
    /// The number of the next epoch.
    pub(super) fn next_epoch(&self) -> u32 {
        (self.epoch.number + 1).max(self.lost.fence)
    }

    /// Decides revocations, each of acceptances of a stage; returns the generations for the epoch that has to follow.
    pub(super) fn decide_revocations(&mut self, revocations: Vec<(StageId, Revoked)>) -> Vec<Generations> {
        let shown = self.lost.shown.as_ref().map_or(Generation::FIRST, Epoch::generation);
        let state = self.ledger.state();
        if revocations.is_empty() {
            return state.generations();
        }
        let first = (state.generation().max(shown).0 + 1).max(self.lost.fence);
        let numbers = (first..).map(Generation);
        let numbered: Vec<_> = revocations.iter().zip(numbers).map(|((stage, _), of)| (*stage, of)).collect();
        let generations = state.generations_after(numbered.iter().copied());
        for ((stage, of), (_, generation)) in revocations.into_iter().zip(numbered) {
            self.ledger.decide(Decision::Revoke { stage, generation, of });
        }
        generations
    }

    /// The stages whose acceptances, or the division of whose output, may have been lost with the end of the log: in
    /// the log, no stage that reads them has an acceptance.
    pub(super) fn unsettled(&self) -> Vec<StageId> {
        let state = self.ledger.state();
        let is_settled = |number: StageId| {
            let of = state.stage(number)?;
            Some(of.accepted().is_full() && of.split().is_some())
        };
        let shuffling = StageId::enumerate(&self.stages).filter(|(_, stage)| stage.shuffle.is_some());
        shuffling.map(|(number, _)| number).filter(|&number| is_settled(number) == Some(false)).collect()
    }

    /// Handles an epoch that another peer knows: keeps it if an earlier run of this peer signed it and this run has to
    /// supersede it.
    pub(super) fn on_epoch_shown(&mut self, signed: &Signed<Epoch>) {
        let generation = self.ledger.state().generation();
        let (own, known) = (self.epoch.number, signed.hash() == self.signed_epoch.hash());
        let is_lost = |e: &Epoch| !known && (e.number >= own || e.generation() > generation);
        let is_past = |e: &Epoch| self.lost.shown.as_ref().is_none_or(|shown| shown.number < e.number);
        if signed.signer() != self.manifest.owner || !signed.peek(|e| is_lost(e) && is_past(e)).unwrap_or(false) {
            return;
        }
        if let Ok(epoch) = signed.open() {
            self.lost.shown = Some(epoch);
        }
    }

    /// Supersedes an epoch that was lost with the end of the log, and repeats the revocations that it announced.
    pub(super) fn supersede_lost_epoch(&mut self, core: &mut Core) {
        if core.now < self.lost.supersede_at || self.awaits_epoch() {
            return;
        }
        let Some(shown) = self.lost.shown.clone() else { return };
        self.lost.supersede_at = core.now + SUPERSEDE_INTERVAL;
        let state = self.ledger.state();
        let mut revoked: Vec<(StageId, Revoked)> = Vec::new();
        let mut downstream = Vec::new();
        for (number, stage) in StageId::enumerate(&self.stages) {
            let own = state.stage(number).map_or(Generation::FIRST, |of| of.generation());
            if shown.generations_of(number).writes <= own || downstream.contains(&number) {
                continue;
            }
            downstream.extend(crate::decisions::downstream(&self.manifest, number));
            // Attempts that the owners hold are accepted again, whichever those are.
            let all = (stage.plan.tasks > 0).then(|| Run::new(TaskId(0), stage.plan.tasks)).into_iter().collect();
            revoked.push((number, Revoked::Tasks(all)));
        }
        let number = self.next_epoch().max(shown.number + 1);
        core.log(format!(
            "job {}: epoch {} is missing from the damaged log; the job continues with epoch {number}, and what \
             stages {:?} wrote is accepted anew",
            self.id.short(),
            shown.number,
            revoked.iter().map(|(stage, _)| *stage).collect::<Vec<StageId>>(),
        ));
        if shown.number >= self.epoch.number {
            // Owners that followed the lost epoch may own other partitions than this run assumed.
            self.stages.iter_mut().filter_map(|stage| stage.shuffle.as_mut()).for_each(|s| s.forget_all(core.now));
        }
        let generations = self.decide_revocations(revoked);
        self.decide_epoch(number, self.epoch.shufflers.clone(), generations);
        self.lost.shown = None;
    }
}
