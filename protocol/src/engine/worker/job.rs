//! One job in which this worker takes part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{RETRY_HERE, RETRY_INPUT, RETRY_MODULE};
use crate::codec;
use crate::engine::blobs::Blobs;
use crate::engine::core::Core;
use crate::engine::origin::Origin;
use crate::engine::pending::{Pending, WorkerRequest};
use crate::engine::stage::{StageWork, Unit};
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{BlobClass, TaskFailure, TaskOutput, TaskResult};
use crate::manifest::{Inputs, Manifest, Stage};
use crate::message::{self, Cause, Failure, Request, cut_text};
use crate::pack::{Index, Layout};
use crate::part::{PartitionId, StageId, TaskId, TaskRef};
use crate::ring::{Assignment, Ring};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct WorkerJob {
    pub(super) manifest: Arc<Manifest>,
    pub(super) origin: Origin,
    pub(super) epoch: Arc<Epoch>,
    /// The holders of each stage's shuffle; `None` for stages without one.
    pub(super) rings: Vec<Option<Assignment>>,
    pub(super) module: FetchState,
    pub(super) index: FetchState,
    pub(super) layout: Option<Arc<Layout>>,
    pub(super) stages: Vec<StageWork>,
    /// Units by the pack that they wait for.
    pub(super) waiting: BTreeMap<Hash, Waiting>,
    /// Results of a collecting stage that the authority has not acknowledged, each with the time to send it again.
    pub(super) outputs: BTreeMap<(StageId, TaskId), Output>,
    pub(super) output_bytes: usize,
    /// When the first of them must be sent.
    pub(super) outputs_at: Time,
    pub(super) opened: Time,
    /// When this worker last made progress in it.
    pub(super) progressed: Time,
    pub(super) done: Vec<u32>,
    /// Workers of which the authority accepted a result, as far as it told.
    pub(super) proven: BTreeSet<PeerKey>,
    pub(super) reopened: u32,
    pub(super) active: bool,
    /// How many times it lost its place because it made no progress.
    pub(super) postponed: u32,
    /// Whether a run of it was ended because others waited for a thread.
    pub(super) preempted: bool,
    /// How many times its origin had to give up its last thread.
    pub(super) kept_last: u32,
    /// Whether it holds the place that is reserved for the youngest job.
    pub(super) youngest: bool,
    /// Whether the host has begun a unit of it. Until then, its module may still be compiling.
    pub(super) begun: bool,
    /// Whether this peer does not work, and only confirms failures of this job of its own.
    pub(super) confirms_only: bool,
}

/// Units that wait for one pack.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) units: Vec<Unit>,
    pub(super) since: Time,
    /// Whether they have waited so long that other work goes first. They do not count as in hand then.
    pub(super) overdue: bool,
}

impl Waiting {
    pub(super) fn new(now: Time) -> Self {
        Self { units: Vec::new(), since: now, overdue: false }
    }

    /// How many of them count as in hand.
    pub(super) fn in_hand(&self) -> usize {
        if self.overdue { 0 } else { self.units.len() }
    }
}

/// Whether something that a job needs before it can run is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchState {
    Missing,
    Requested,
    Present,
    /// It could not be fetched; the next attempt is at this time.
    Retry(Time),
    /// The bytes under this hash are invalid, and always will be.
    Invalid,
}

#[derive(Debug)]
pub(super) struct Output {
    pub(super) digest: Hash,
    /// The roots of the partitions that were read, one per port.
    pub(super) roots: Vec<Hash>,
    pub(super) bytes: Bytes,
    /// `NEVER` while an answer is awaited.
    pub(super) send_at: Time,
}

impl WorkerJob {
    pub(super) fn new(
        core: &Core,
        manifest: &Arc<Manifest>,
        epoch: &Arc<Epoch>,
        done: Vec<u32>,
        reopened: u32,
    ) -> Self {
        let index = if manifest.inputs == Inputs::Numbers { FetchState::Present } else { FetchState::Missing };
        Self {
            origin: core.origin(manifest.home, manifest.owner),
            rings: rings(manifest, epoch),
            manifest: manifest.clone(),
            epoch: epoch.clone(),
            module: FetchState::Missing,
            index,
            layout: None,
            stages: Vec::new(),
            waiting: BTreeMap::new(),
            outputs: BTreeMap::new(),
            output_bytes: 0,
            outputs_at: Time::NEVER,
            opened: core.now,
            progressed: core.now,
            done,
            proven: BTreeSet::new(),
            reopened,
            active: false,
            postponed: 0,
            preempted: false,
            kept_last: 0,
            youngest: false,
            begun: false,
            confirms_only: false,
        }
    }

    pub(super) fn is_set_up(&self) -> bool {
        self.module == FetchState::Present && self.index == FetchState::Present
    }

    /// Whether packs are overdue: nothing more of the job is started meanwhile.
    pub(super) fn is_stalled(&self) -> bool {
        self.waiting.values().any(|w| w.overdue)
    }

    /// Whether this worker holds claims, units or outputs of it.
    pub(super) fn is_busy(&self) -> bool {
        !self.outputs.is_empty() || self.stages.iter().any(StageWork::is_busy)
    }

    /// Whether any claimed block has not started.
    pub(super) fn has_claims(&self) -> bool {
        self.stages.iter().any(StageWork::has_claims)
    }

    /// Whether a unit could start.
    pub(super) fn has_unit(&self, now: Time) -> bool {
        self.stages.iter().any(|s| s.has_unit(now))
    }

    /// The blobs that many peers ask for: module and index.
    pub(super) fn shared_blobs(&self) -> impl Iterator<Item = Hash> {
        let index = match &self.manifest.inputs {
            Inputs::Packs { index, .. } => Some(index.hash),
            Inputs::Numbers => None,
        };
        std::iter::once(self.manifest.module.hash).chain(index)
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        let at = |state| if let FetchState::Retry(at) = state { Some(at) } else { None };
        at(self.module).into_iter().chain(at(self.index)).min()
    }

    /// Fetches module and index until they are here.
    pub(super) fn set_up(&mut self, core: &mut Core, blobs: &mut Blobs) {
        let wanted = |state: FetchState| {
            state == FetchState::Missing || matches!(state, FetchState::Retry(at) if at <= core.now)
        };
        let (module, index) = (wanted(self.module), wanted(self.index));
        if module {
            self.module = FetchState::Requested;
            blobs.fetch(core, self.manifest.module, self.manifest.home, Some(BlobClass::Module));
        }
        if let Inputs::Packs { index: blob, .. } = &self.manifest.inputs
            && index
        {
            self.index = FetchState::Requested;
            blobs.fetch(core, *blob, self.manifest.home, Some(BlobClass::Index));
        }
    }

    pub(super) fn take_blob(&mut self, now: Time, hash: Hash, bytes: Option<&Bytes>) {
        let retry = FetchState::Retry(now + RETRY_INPUT);
        if hash == self.manifest.module.hash && self.module != FetchState::Present {
            self.module = if bytes.is_some() { FetchState::Present } else { retry };
        }
        let Inputs::Packs { index, .. } = &self.manifest.inputs else { return };
        if hash == index.hash && self.index != FetchState::Present {
            let parsed = bytes.and_then(|b| codec::decode::<Index>(b).ok()).map(Layout::new);
            let fits = parsed
                .filter(|layout| self.manifest.stages.iter().all(|s| !s.reads_inputs() || layout.tasks() == s.tasks));
            self.index = match (&fits, bytes) {
                (Some(_), _) => FetchState::Present,
                (None, Some(_)) => FetchState::Invalid,
                (None, None) => retry,
            };
            self.layout = fits.map(Arc::new);
        }
    }

    /// Bytes of output that no peer has acknowledged.
    pub(super) fn unacked(&self) -> usize {
        self.stages.iter().map(|s| s.outbox.bytes()).sum::<usize>() + self.output_bytes
    }

    /// Drops a result that the authority has, or does not need.
    pub(super) fn drop_output(&mut self, stage: StageId, task: TaskId) {
        if let Some(output) = self.outputs.remove(&(stage, task)) {
            self.output_bytes -= output.bytes.len();
        }
    }

    pub(super) fn next_unit(&mut self, now: Time, long: bool) -> Option<Unit> {
        let layout = self.layout.clone();
        self.stages.iter_mut().rev().filter(|stage| long || !stage.is_long()).find_map(|stage| {
            let reads_inputs = stage.reads_inputs();
            stage.next_unit(now, layout.as_deref().filter(|_| reads_inputs))
        })
    }

    pub(super) fn take_result(&mut self, core: &mut Core, id: JobId, unit: &Unit, result: TaskResult) {
        let (stage, task) = (unit.stage, result.task);
        if unit.reads != self.epoch.generations_of(stage).reads {
            // Its input has been revoked meanwhile.
            self.stages[stage.index()].task_failed(core.now, task, Duration::ZERO);
            return;
        }
        match result.outcome {
            Ok(TaskOutput::Shuffle(attempt)) if let Some(ring) = &self.rings[stage.index()] => {
                self.stages[stage.index()].outbox.add(core.now, task, attempt, ring);
            }
            Ok(TaskOutput::Collect { digest, bytes }) if self.rings[stage.index()].is_none() => {
                self.drop_output(stage, task);
                self.output_bytes += bytes.len();
                self.outputs
                    .insert((stage, task), Output { digest, roots: unit.roots.clone(), bytes, send_at: core.now });
                self.outputs_at = core.now;
            }
            Ok(_) => {
                let why = "the task returned another kind of output than its stage expects".to_owned();
                let failure = TaskFailure { document: None, why, cause: Cause::Job };
                self.task_failed(core, TaskRef { job: id, stage, task }, failure, RETRY_HERE);
            }
            Err(failure) => {
                if failure.cause == Cause::Worker && self.module == FetchState::Present {
                    // What this peer lacks may be the module: its disk dropped it or never stored it.
                    self.module = FetchState::Retry(core.now + RETRY_MODULE);
                }
                self.task_failed(core, TaskRef { job: id, stage, task }, failure, RETRY_HERE);
            }
        }
    }

    /// Handles a task without a result: its block is released, and the authority is told why.
    pub(super) fn task_failed(&mut self, core: &mut Core, of: TaskRef, failure: TaskFailure, pause: Duration) {
        let TaskRef { job, stage, task } = of;
        self.stages[stage.index()].task_failed(core.now, task, pause);
        let TaskFailure { document, why, cause } = failure;
        let failure = Failure { job, stage, task, document, why: cut_text(why), cause };
        core.request(self.manifest.home, Request::Failed(failure), vec![], Pending::Ignored);
    }

    pub(super) fn send_outputs(&mut self, core: &mut Core, id: JobId) {
        let now = core.now;
        if now < self.outputs_at {
            return;
        }
        self.outputs_at = Time::NEVER;
        for (&(stage, task), output) in &mut self.outputs {
            if output.send_at > now {
                self.outputs_at = self.outputs_at.min(output.send_at);
                continue;
            }
            output.send_at = Time::NEVER;
            let (root, further) = match output.roots.split_first() {
                Some((first, further)) => (Some(*first), further.to_vec()),
                None => (None, Vec::new()),
            };
            let result = message::Output { job: id, stage, task, digest: output.digest, root, further };
            let pending = WorkerRequest::Output(TaskRef { job: id, stage, task });
            core.request(self.manifest.home, Request::Output(result), vec![output.bytes.clone()], pending);
        }
    }

    /// Handles a revocation of what the tasks of a stage read: drops their unacknowledged outputs and reopens the
    /// tasks.
    fn drop_revoked_outputs(&mut self, now: Time, number: StageId) {
        let work = &mut self.stages[number.index()];
        let mut tasks = work.outbox.clear();
        tasks.extend(self.outputs.keys().filter(|(stage, _)| *stage == number).map(|&(_, task)| task));
        tasks.iter().for_each(|&task| work.task_failed(now, task, Duration::ZERO));
        tasks.into_iter().for_each(|task| self.drop_output(number, task));
    }

    pub(super) fn new_epoch(&mut self, now: Time, epoch: &Arc<Epoch>) {
        let before = std::mem::replace(&mut self.epoch, epoch.clone());
        self.rings = rings(&self.manifest, epoch);
        for number in self.manifest.stage_ids() {
            let (old, new) = (before.generations_of(number), epoch.generations_of(number));
            if new.reads != old.reads {
                self.drop_revoked_outputs(now, number);
            }
            if new.writes != old.writes {
                self.stages.iter_mut().for_each(|reader| reader.unseal(number));
            }
        }
        for stage in &mut self.stages {
            if let Some(ring) = &self.rings[stage.id.stage.index()] {
                stage.outbox.redirect(now, ring);
            }
            if !stage.reads_inputs() {
                stage.new_epoch(now, |from, partition| owner_of(&self.rings, from, partition));
            }
        }
    }
}

/// The owner of a partition of a stage's output.
pub(super) fn owner_of(rings: &[Option<Assignment>], stage: StageId, partition: PartitionId) -> Option<PeerKey> {
    rings.get(stage.index())?.as_ref()?.replicas(partition).first().copied()
}

/// The holders of each stage's shuffle.
fn rings(manifest: &Manifest, epoch: &Epoch) -> Vec<Option<Assignment>> {
    let ring = Ring::new(epoch);
    let holders = |(stage, described): (StageId, &Stage)| {
        Some(ring.owners(stage, described.shuffle()?.partitions, manifest.replicas))
    };
    manifest.numbered_stages().map(holders).collect()
}
