//! The path of a job's decisions into force: they are gathered, certified, written to the job's log if it has one, then
//! folded.

use std::collections::VecDeque;

use crate::decisions::{Batch, Certified, Decision, Refused, State, frame};
use crate::engine::core::Core;
use crate::id::Hash;
use crate::io::StoreAction;
use crate::limits;
use crate::sign::{Document, Keypair, Signed};

/// The log of one job, and the key that certifies it.
#[derive(Debug)]
pub(super) struct Ledger {
    key: Keypair,
    /// The state that follows from all batches in force.
    state: State,
    /// Whether batches must be persisted before they come into force. Otherwise they are in memory only and folded at
    /// once.
    kept: bool,
    gathered: VecDeque<Decision>,
    /// The batch being written. Decisions made meanwhile go into later ones.
    writing: Option<(Batch, Hash)>,
    /// Decisions in force whose effects have not taken place yet.
    in_force: VecDeque<Decision>,
}

impl Ledger {
    pub(super) fn new(key: Keypair, state: State, kept: bool) -> Self {
        Self { key, state, kept, gathered: VecDeque::new(), writing: None, in_force: VecDeque::new() }
    }

    /// The state in force: the only one that other peers may be told.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept
    }

    pub(super) fn sign<T: Document>(&self, document: &T) -> Signed<T> {
        self.key.sign(document)
    }

    /// Adds a decision. It takes effect once it is in force.
    pub(super) fn decide(&mut self, decision: Decision) {
        self.gathered.push_back(decision);
    }

    /// Whether a decision of some kind was made and has not taken effect yet.
    pub(super) fn awaits(&self, kind: impl Fn(&Decision) -> bool) -> bool {
        let writing = self.writing.iter().flat_map(|(batch, _)| &batch.decisions);
        writing.chain(&self.gathered).chain(&self.in_force).any(kind)
    }

    /// The next decision in force whose effects have not taken place.
    pub(super) fn next_in_force(&mut self) -> Option<Decision> {
        self.in_force.pop_front()
    }

    /// Certifies the gathered decisions, unless a batch is being written.
    pub(super) fn certify(&mut self, core: &mut Core) -> Result<(), Refused> {
        while self.writing.is_none() && !self.gathered.is_empty() {
            let (batch, hash) = self.next_batch(core);
            if self.kept {
                self.writing = Some((batch, hash));
            } else {
                self.fold(batch, hash)?;
            }
        }
        Ok(())
    }

    /// Called when a batch was persisted.
    pub(super) fn persisted(&mut self, number: u64) -> Result<(), Refused> {
        match self.writing.take_if(|(batch, _)| batch.number == number) {
            Some((batch, hash)) => self.fold(batch, hash),
            None => Ok(()),
        }
    }

    /// Makes a last decision without waiting until it is persisted.
    pub(super) fn close(&mut self, core: &mut Core, decision: Decision) -> Result<(), Refused> {
        if let Some((batch, hash)) = self.writing.take() {
            self.fold(batch, hash)?;
        }
        self.gathered.clear();
        self.gathered.push_back(decision);
        self.next_batch(core);
        Ok(())
    }

    /// Certifies as many gathered decisions as fit into one batch, and has it written if the log is persisted.
    fn next_batch(&mut self, core: &mut Core) -> (Batch, Hash) {
        let mut room = limits::BATCH_BYTES;
        let fits = |decision: &&Decision| {
            let size = decision.size();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        };
        // Every single decision fits into a batch.
        let count = self.gathered.iter().take_while(fits).count().max(1);
        let decisions: Vec<Decision> = self.gathered.drain(..count.min(self.gathered.len())).collect();
        let (job, number, previous) = (self.state.job(), self.state.next(), self.state.tip());
        let batch = Batch { job, number, previous, decisions };
        let certified = Certified::by_owner(&batch, &self.key);
        if self.kept {
            let binding = number > 0 && batch.decisions.iter().any(Decision::is_binding);
            core.act(StoreAction::Persist { job, number, bytes: frame(&certified).into(), binding });
        }
        (batch, certified.hash())
    }

    fn fold(&mut self, batch: Batch, hash: Hash) -> Result<(), Refused> {
        self.state.take(&batch, hash)?;
        self.in_force.extend(batch.decisions);
        Ok(())
    }
}
