//! The state of a job: the fold over its log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::batch::{Batch, BatchError, Certified, Decision, Revoked};
use super::certificate::Certifiers;
use crate::epoch::{Epoch, Generations};
use crate::id::{Hash, JobId, PeerKey};
use crate::manifest::{Manifest, Sink, Stage};
use crate::message::{Attempts, AuthoredAttempt, Outcome};
use crate::part::{Generation, PartitionId, StageId, TaskId};
use crate::provenance::Provenance;
use crate::ranges::{BitSet, Run};
use crate::segment;
use crate::sign::Signed;
use crate::split::Split;

/// The hash that stands for the batch before the first.
const NO_BATCH: Hash = Hash([0; 32]);
/// The digest of a task without an accepted attempt.
const NO_DIGEST: Hash = Hash([0; 32]);

/// Why a batch does not follow from the log before it.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be decoded, or its certificate is invalid.
    #[error("{0}")]
    Invalid(String),
    /// It belongs to another log, or batches in between are missing.
    #[error("the batch does not continue this log")]
    OutOfOrder,
    /// It makes a decision that is invalid in this state.
    #[error("the batch makes an invalid decision: {0}")]
    Rule(&'static str),
}

impl From<BatchError> for Refused {
    fn from(why: BatchError) -> Self {
        Self::Invalid(why.to_string())
    }
}

/// The decisions on a job so far.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    job: JobId,
    manifest: Arc<Manifest>,
    signed: Signed<Manifest>,
    /// The number and the `previous` of the next batch.
    next: u64,
    tip: Hash,
    epoch: Option<(Epoch, Signed<Epoch>)>,
    stages: Vec<StageState>,
    /// The generation of the last revocation; 0 before the first.
    generation: Generation,
    banned: BTreeSet<PeerKey>,
    outcome: Option<Outcome>,
}

/// The decisions on a stage so far.
#[derive(Clone, Debug, PartialEq)]
pub struct StageState {
    accepted: BitSet<TaskId>,
    /// The accepted digest of each task; empty before the first acceptance.
    digests: Vec<Hash>,
    /// The author of each accepted attempt.
    authors: Provenance,
    /// The generation of the partitions that it writes.
    generation: Generation,
    /// The generation that its tasks must have read: the newest of its sources', so that it rises with each of them.
    reads: Generation,
    /// The roots of the sealed partitions of this generation.
    sealed: BTreeMap<PartitionId, Hash>,
    /// How tasks divide what it writes, once that is settled.
    split: Option<Split>,
}

impl State {
    /// The state after the first batch of a log, which names the job and its authority.
    ///
    /// # Errors
    /// If it is not a first batch, or its certificate is invalid.
    pub fn open(first: &Certified) -> Result<Self, Refused> {
        let batch = first.peek().map_err(BatchError::from)?;
        let Some(Decision::Open(signed)) = batch.decisions.first() else {
            return Err(Refused::Rule("a log that does not start with a manifest"));
        };
        let manifest = signed.open().map_err(|why| Refused::Invalid(why.to_string()))?;
        if signed.signer() != manifest.owner || Manifest::id_of(signed) != batch.job {
            return Err(Refused::Rule("a manifest of another job, or not signed by its owner"));
        }
        first.certificate.check(&first.hash(), Certifiers::of(&manifest)).map_err(BatchError::from)?;
        let mut state = Self::before(signed.clone(), manifest);
        state.take(&batch, first.hash())?;
        Ok(state)
    }

    /// The state of a job without decisions.
    pub(crate) fn before(signed: Signed<Manifest>, manifest: Manifest) -> Self {
        let stage = |(number, stage): (StageId, &Stage)| StageState {
            accepted: BitSet::new(stage.tasks),
            digests: Vec::new(),
            authors: Provenance::default(),
            generation: Generation::FIRST,
            reads: Generation::FIRST,
            sealed: BTreeMap::new(),
            split: manifest.fixed_split_of(number),
        };
        Self {
            job: Manifest::id_of(&signed),
            stages: manifest.numbered_stages().map(stage).collect(),
            manifest: Arc::new(manifest),
            signed,
            next: 0,
            tip: NO_BATCH,
            epoch: None,
            generation: Generation::FIRST,
            banned: BTreeSet::new(),
            outcome: None,
        }
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// If it does not follow from this state, or its certificate is invalid. The state must then be discarded: the
    /// decisions of the batch before the refused one are already in it. [`super::replay`] folds again from the start.
    pub fn apply(&mut self, certified: &Certified) -> Result<(), Refused> {
        let batch = certified.open(Certifiers::of(&self.manifest))?;
        self.take(&batch, certified.hash())
    }

    /// Adds a batch that is known to be certified.
    pub(crate) fn take(&mut self, batch: &Batch, hash: Hash) -> Result<(), Refused> {
        if (batch.job, batch.number, batch.previous) != (self.job, self.next, self.tip) {
            return Err(Refused::OutOfOrder);
        }
        for (place, decision) in batch.decisions.iter().enumerate() {
            if self.outcome.is_some() {
                return Err(Refused::Rule("a decision after the end"));
            }
            if matches!(decision, Decision::Open(_)) != (batch.number == 0 && place == 0) {
                return Err(Refused::Rule("a job that is opened twice, or not at the beginning"));
            }
            self.decide(decision).map_err(Refused::Rule)?;
        }
        (self.next, self.tip) = (self.next + 1, hash);
        Ok(())
    }

    fn decide(&mut self, decision: &Decision) -> Result<(), &'static str> {
        match decision {
            Decision::Open(signed) => {
                if *signed != self.signed {
                    return Err("another job's manifest");
                }
            }
            Decision::Epoch(signed) => self.begin_epoch(signed)?,
            Decision::Accept { stage, attempts } => self.accept(*stage, attempts, false)?,
            Decision::Output { stage, attempts } => self.accept(*stage, attempts, true)?,
            Decision::Split { stage, width } => self.split(*stage, *width)?,
            Decision::Revoke { stage, generation, of } => self.revoke(*stage, *generation, of)?,
            Decision::Seal { stage, generation, root, partitions } => {
                self.seal(*stage, *generation, *root, partitions)?;
            }
            Decision::Ban(peer) => {
                self.banned.insert(*peer);
            }
            Decision::End(outcome) => self.outcome = Some(outcome.clone()),
        }
        Ok(())
    }

    fn begin_epoch(&mut self, signed: &Signed<Epoch>) -> Result<(), &'static str> {
        let epoch = signed.open().map_err(|_| "an invalid epoch")?;
        // Gaps are allowed: an earlier run of the home may have used the numbers between, and lost their record.
        let follows = match &self.epoch {
            Some((before, signed)) => epoch.number > before.number && epoch.previous == Some(signed.hash()),
            None => epoch.number == 0,
        };
        if epoch.generations != self.generations() {
            return Err("an epoch with other generations than those decided");
        }
        if !follows || epoch.job != self.job || signed.signer() != self.manifest.owner {
            return Err("an epoch that does not follow the one before");
        }
        self.epoch = Some((epoch, signed.clone()));
        Ok(())
    }

    fn accept(&mut self, number: StageId, attempts: &Attempts, collects: bool) -> Result<(), &'static str> {
        let described = self.manifest.stages.get(number.index()).ok_or("a stage that the job does not have")?;
        if described.reads().any(|read| self.stages[read.index()].split.is_none()) {
            return Err("a task whose input is not divided into tasks yet");
        }
        let stage = &mut self.stages[number.index()];
        if (described.sink == Sink::Collect) != collects {
            return Err("a result of a stage that shuffles, or a shuffle of one that collects");
        }
        let tasks = stage.accepted.size();
        if attempts.runs.last().is_some_and(|run| run.end().0 > tasks) {
            return Err("a task that the stage does not have");
        }
        if stage.digests.is_empty() {
            stage.digests = vec![NO_DIGEST; tasks as usize];
            stage.authors = Provenance::new(tasks);
        }
        for AuthoredAttempt { task, digest, author } in attempts.iter_authored() {
            if self.banned.contains(&author) {
                return Err("an attempt of a peer that is banned");
            }
            if !stage.accepted.insert(task) {
                return Err("a task that has an accepted attempt already");
            }
            stage.digests[task.index()] = digest;
            stage.authors.set(task, author);
        }
        Ok(())
    }

    fn split(&mut self, number: StageId, width: u32) -> Result<(), &'static str> {
        let manifest = &self.manifest;
        let reader = manifest
            .flexible_reader_of(number)
            .ok_or("a division of output whose readers have a fixed number of tasks")?;
        let split = manifest.split_of(number, width).ok_or("a division that leaves buckets out")?;
        let sources = || manifest.stages[reader.index()].reads().map(|read| &self.stages[read.index()]);
        if self.stages[number.index()].split.is_some() || sources().any(|source| !source.accepted.is_full()) {
            return Err("a division that is decided already, or before all output is written");
        }
        if sources().any(|source| source.split.is_some_and(|settled| settled != split)) {
            return Err("a division that differs from the one of another source");
        }
        self.stages[number.index()].split = Some(split);
        // None of its tasks can have been accepted before: they had nothing to read.
        let reader = &mut self.stages[reader.index()];
        (reader.accepted, reader.digests) = (BitSet::new(split.tasks()), Vec::new());
        Ok(())
    }

    fn revoke(&mut self, number: StageId, generation: Generation, of: &Revoked) -> Result<(), &'static str> {
        if generation <= self.generation {
            return Err("a generation that is not greater than the last one");
        }
        let stage = self.stages.get_mut(number.index()).ok_or("a stage that the job does not have")?;
        match of {
            Revoked::Tasks(runs) => {
                for run in runs {
                    // Only the stage's own tasks: a run may extend past them.
                    let own = Run::between(run.start, run.end().min(TaskId(stage.accepted.size())));
                    own.iter().for_each(|task| stage.forget(task));
                }
            }
            Revoked::Author(author) => {
                let theirs: Vec<TaskId> = stage.authors.tasks_of(author).collect();
                theirs.into_iter().for_each(|task| stage.forget(task));
            }
        }
        self.generation = generation;
        stage.generation = generation;
        stage.sealed.clear();
        for reader in downstream(&self.manifest, number) {
            let stage = &mut self.stages[reader.index()];
            *stage = StageState {
                accepted: BitSet::new(stage.accepted.size()),
                digests: Vec::new(),
                authors: Provenance::default(),
                generation,
                reads: generation,
                sealed: BTreeMap::new(),
                split: stage.split,
            };
        }
        Ok(())
    }

    fn seal(
        &mut self,
        number: StageId,
        generation: Generation,
        root: Hash,
        partitions: &[PartitionId],
    ) -> Result<(), &'static str> {
        let stage = self.stages.get_mut(number.index()).ok_or("a stage that the job does not have")?;
        let Some(shape) = self.manifest.stages[number.index()].shuffle() else {
            return Err("a seal of a stage that does not shuffle");
        };
        if generation != stage.generation || !stage.accepted.is_full() || stage.root() != root {
            return Err("a seal whose root or generation is not that of the accepted attempts");
        }
        if partitions.last().is_some_and(|last| last.0 >= shape.partitions) {
            return Err("a partition that the stage does not have");
        }
        stage.sealed.extend(partitions.iter().map(|&partition| (partition, root)));
        Ok(())
    }

    /// The job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The manifest as its owner signed it.
    pub fn signed_manifest(&self) -> &Signed<Manifest> {
        &self.signed
    }

    /// The newest epoch; `None` before the first.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref().map(|(epoch, _)| epoch)
    }

    /// The newest epoch as it was signed; `None` before the first.
    pub fn signed_epoch(&self) -> Option<&Signed<Epoch>> {
        self.epoch.as_ref().map(|(_, signed)| signed)
    }

    /// The state of a stage of the manifest's list.
    pub fn stage(&self, number: StageId) -> Option<&StageState> {
        self.stages.get(number.index())
    }

    /// The author of a task's accepted attempt.
    pub fn author(&self, stage: StageId, task: TaskId) -> Option<PeerKey> {
        self.stage(stage)?.authors.author(task)
    }

    /// The generation of the last revocation; 0 before the first.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The generations of all stages, as an epoch names them.
    pub fn generations(&self) -> Vec<Generations> {
        if self.generation == Generation::FIRST {
            return Vec::new();
        }
        self.stages.iter().map(|stage| Generations { reads: stage.reads, writes: stage.generation }).collect()
    }

    /// The generations of all stages after these revocations, each given by its stage and generation.
    pub(crate) fn generations_after(
        &self,
        revocations: impl IntoIterator<Item = (StageId, Generation)>,
    ) -> Vec<Generations> {
        let now = self.stages.iter().map(|stage| Generations { reads: stage.reads, writes: stage.generation });
        let mut after: Vec<Generations> = now.collect();
        for (stage, generation) in revocations {
            after[stage.index()].writes = generation;
            for reader in downstream(&self.manifest, stage) {
                after[reader.index()] = Generations { reads: generation, writes: generation };
            }
        }
        after
    }

    /// Whether a peer is banned: nothing more is accepted from it.
    pub fn is_banned(&self, peer: &PeerKey) -> bool {
        self.banned.contains(peer)
    }

    /// How the job ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The number of the next batch.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The hash of the last batch, which the next one names; zeros before the first.
    pub fn tip(&self) -> Hash {
        self.tip
    }
}

impl StageState {
    fn forget(&mut self, task: TaskId) {
        if self.accepted.remove(task) {
            self.digests[task.index()] = NO_DIGEST;
            self.authors.clear(task);
        }
    }

    /// The tasks with an accepted attempt.
    pub fn accepted(&self) -> &BitSet<TaskId> {
        &self.accepted
    }

    /// The accepted digest of a task.
    pub fn digest(&self, task: TaskId) -> Option<Hash> {
        self.accepted.contains(task).then(|| self.digests[task.index()])
    }

    /// The generation of the partitions that it writes.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The generation of the partitions that its tasks must have read.
    pub fn reads(&self) -> Generation {
        self.reads
    }

    /// How tasks divide what it writes, once that is settled.
    pub fn split(&self) -> Option<Split> {
        self.split
    }

    /// The root of a partition, if it is sealed in this generation.
    pub fn sealed(&self, partition: PartitionId) -> Option<Hash> {
        self.sealed.get(&partition).copied()
    }

    /// The root over all accepted digests, in order of task.
    pub fn root(&self) -> Hash {
        segment::root(&self.digests)
    }
}

/// All stages that read what a stage wrote, directly or through others, in ascending order.
pub(crate) fn downstream(manifest: &Manifest, stage: StageId) -> Vec<StageId> {
    let mut touched = BTreeSet::from([stage]);
    // A stage reads earlier ones only.
    for (number, described) in manifest.numbered_stages() {
        if described.reads().any(|read| touched.contains(&read)) {
            touched.insert(number);
        }
    }
    touched.remove(&stage);
    touched.into_iter().collect()
}
