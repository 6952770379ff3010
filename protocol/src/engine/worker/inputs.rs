//! The inputs of units: packs, and buckets of shuffles.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::job::Waiting;
use super::{PACK_SOON, PACK_WAIT, RETRY_INPUT, Running, Worker};
use crate::engine::blobs::Blobs;
use crate::engine::core::Core;
use crate::engine::pending::{Answer, Pending, WorkerRequest};
use crate::engine::shuffler::Shuffler;
use crate::engine::stage::{Read, Unit};
use crate::epoch::Epoch;
use crate::id::{Hash, JobId};
use crate::io::{
    BucketRef, Port, ReadError, ReadId, RunAction, SegmentAction, TaskFailure, TaskOutput, TaskResult, Work,
};
use crate::limits;
use crate::manifest::{BlobRef, Sink, Stage};
use crate::message::{BucketPiece, Cause, Request, Response};
use crate::part::{PartitionRef, StageRef, TaskRef};
use crate::ranges::Run;

impl Worker {
    /// Fetches a unit's input, and runs the unit once that is here.
    pub(super) fn prepare(&mut self, core: &mut Core, blobs: &mut Blobs, shuffler: &Shuffler, id: JobId, unit: Unit) {
        let Some(job) = self.jobs.get(&id) else { return };
        if !job.manifest.stages[unit.stage.index()].reads_inputs() {
            return self.fetch(core, shuffler, id, unit);
        }
        let Some(layout) = job.layout.clone() else { return self.run(core, id, unit, vec![Port::Numbers]) };
        // The tasks of a block may lie in two packs.
        let mut tasks = unit.tasks;
        while let Some((pack, of_pack)) = layout.pack_of(tasks.start).filter(|_| !tasks.is_empty()) {
            let end = of_pack.end().min(tasks.end());
            let unit = Unit { tasks: Run::between(tasks.start, end), input: pack.blob.len, ..unit.clone() };
            self.prepare_pack(core, blobs, id, unit, pack.blob);
            tasks = Run::between(end, tasks.end());
        }
    }

    fn prepare_pack(&mut self, core: &mut Core, blobs: &mut Blobs, id: JobId, unit: Unit, pack: BlobRef) {
        if let Some(bytes) = self.packs.get(&pack.hash) {
            return self.run_pack(core, id, unit, bytes);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let waiting = job.waiting.entry(pack.hash).or_insert_with(|| Waiting::new(core.now));
        self.fetching += usize::from(!waiting.overdue);
        waiting.units.push(unit);
        blobs.fetch(core, pack, job.manifest.home, None);
    }

    /// Does not wait for late packs: they keep neither this worker from other work nor other workers from these tasks.
    pub(super) fn set_late_packs_aside(&mut self, core: &Core) {
        for job in self.jobs.values_mut() {
            for (_, waiting) in job.waiting.extract_if(.., |_, w| core.now.since(w.since) > PACK_WAIT) {
                self.fetching -= waiting.in_hand();
                for unit in waiting.units {
                    let work = &mut job.stages[unit.stage.index()];
                    unit.tasks.iter().for_each(|task| work.task_failed(core.now, task, RETRY_INPUT));
                }
            }
            for waiting in job.waiting.values_mut().filter(|w| core.now.since(w.since) > PACK_SOON) {
                self.fetching -= waiting.in_hand();
                waiting.overdue = true;
            }
            if job.is_stalled() {
                job.stages.iter_mut().for_each(|stage| stage.release_queue(core.now));
            }
        }
    }

    /// Fetches what a unit's task reads of shuffles, port by port.
    fn fetch(&mut self, core: &mut Core, shuffler: &Shuffler, id: JobId, mut unit: Unit) {
        let (stage, task) = (unit.stage, unit.tasks.start);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(reads) = job.stages[stage.index()].reads(task) else {
            // The seal was revoked after the claim.
            job.stages[stage.index()].task_failed(core.now, task, RETRY_INPUT);
            return;
        };
        unit.roots = reads.iter().map(|read| read.root).collect();
        unit.reads = job.epoch.generations_of(stage).reads;
        unit.width = reads.first().map_or(0, |read| read.place.width);
        self.fetching += 1;
        let fetch = Fetch { job: id, unit, reads, here: Vec::new(), got: BytesMut::new() };
        self.fetch_next(core, shuffler, fetch);
    }

    /// Fetches the input of the next port, or runs the unit if all of it is here.
    fn fetch_next(&mut self, core: &mut Core, shuffler: &Shuffler, mut fetch: Fetch) {
        let Some(&Read { from, place, owner, .. }) = fetch.next() else { return self.all_here(core, fetch) };
        if !self.is_sealed(core, shuffler, &fetch) {
            return self.no_input(core, fetch.job, &fetch.unit, NoInput::Missing);
        }
        if owner == core.me {
            let read = core.next_read();
            let bucket = BucketRef { job: fetch.job, stage: from, place };
            let all = self.memory_of(fetch.stage_ref());
            let most = all.saturating_sub(fetch.bytes());
            fetch.unit.input = all;
            self.reads.insert(read, fetch);
            core.act(SegmentAction::ReadBucket { read, bucket, most });
        } else {
            fetch.unit.input = fetch.bytes() + limits::BUCKET_PIECE as u64;
            ask_for_bucket(core, fetch);
        }
    }

    /// Whether all missing input is still sealed by the owners that are asked for it. Another peer may claim that this
    /// one sealed a partition, so for its own store this peer asks its own shuffler.
    fn is_sealed(&self, core: &Core, shuffler: &Shuffler, fetch: &Fetch) -> bool {
        let stages = self.jobs.get(&fetch.job).map(|job| &job.stages);
        let known = stages.and_then(|stages| stages.get(fetch.unit.stage.index())?.reads(fetch.unit.tasks.start));
        let rest = fetch.here.len()..;
        let here = |read: &Read| {
            let partition = PartitionRef { job: fetch.job, stage: read.from, partition: read.place.partition };
            read.owner != core.me || shuffler.has_sealed(partition, read.root)
        };
        known.is_some_and(|known| known.get(rest.clone()) == fetch.reads.get(rest.clone()))
            && fetch.reads[rest].iter().all(here)
    }

    /// Bytes of inputs in hand, of all jobs.
    pub(super) fn input_in_hand(&self, core: &Core) -> u64 {
        let waiting = self.jobs.values().flat_map(|job| job.waiting.values()).flat_map(|waiting| &waiting.units);
        let others = self.units_beyond_packs(core).map(|(_, unit)| unit);
        others.chain(waiting).map(|unit| unit.input).fold(0, u64::saturating_add)
    }

    /// The units in hand that do not wait for a pack, with their jobs.
    pub(super) fn units_beyond_packs<'w>(&'w self, core: &'w Core) -> impl Iterator<Item = (JobId, &'w Unit)> {
        let running = self.running.values().map(|r| (r.job, &r.unit));
        let read = self.reads.values().map(|fetch| (fetch.job, &fetch.unit));
        let asked = core.pending.values().filter_map(|pending| match pending {
            Pending::Worker(WorkerRequest::Bucket(fetch)) => Some((fetch.job, &fetch.unit)),
            _ => None,
        });
        running.chain(read).chain(asked)
    }

    fn run_pack(&mut self, core: &mut Core, id: JobId, unit: Unit, pack: Bytes) {
        let Some(layout) = self.jobs.get(&id).and_then(|j| j.layout.clone()) else { return };
        let Some((of, _)) = layout.pack_of(unit.tasks.start) else { return };
        let first_document = layout.documents_of(unit.tasks.start).map_or(0, |d| d.start);
        let documents = Port::Documents { pack, first_document, docs_per_task: of.docs_per_task };
        self.run(core, id, unit, vec![documents]);
    }

    fn run(&mut self, core: &mut Core, id: JobId, unit: Unit, inputs: Vec<Port>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let stage = &job.manifest.stages[unit.stage.index()];
        let run = core.next_run();
        let work = Work {
            run,
            job: id,
            owner: job.manifest.owner,
            stage: unit.stage,
            module: job.manifest.module.hash,
            limits: stage.limits,
            operator: stage.operator,
            tasks: unit.tasks,
            inputs,
            output: stage.sink,
        };
        let estimate = job.stages[unit.stage.index()].estimate(&unit);
        self.running.insert(run, Running::new(id, unit, estimate));
        core.act(RunAction::Start(Box::new(work)));
    }

    /// Handles a blob that arrived, or that cannot be fetched.
    pub(in crate::engine) fn on_blob(&mut self, core: &mut Core, hash: Hash, bytes: Option<Bytes>) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.take_blob(core.now, hash, bytes.as_ref());
            let Some(waiting) = job.waiting.remove(&hash) else {
                // It came too late for the units that waited for it, but may serve later ones.
                if let Some(pack) = bytes.as_ref().filter(|_| job.layout.as_ref().is_some_and(|l| l.has_pack(&hash))) {
                    self.packs.put(hash, pack.clone());
                }
                continue;
            };
            self.fetching -= waiting.in_hand();
            let units = waiting.units;
            match &bytes {
                Some(pack) => {
                    self.packs.put(hash, pack.clone());
                    units.into_iter().for_each(|unit| self.run_pack(core, id, unit, pack.clone()));
                }
                None => {
                    for unit in units {
                        let work = &mut job.stages[unit.stage.index()];
                        unit.tasks.iter().for_each(|task| work.task_failed(core.now, task, RETRY_INPUT));
                    }
                }
            }
        }
    }

    /// Handles the answer of this peer's own segment store.
    pub(in crate::engine) fn on_bucket_read(
        &mut self,
        core: &mut Core,
        shuffler: &Shuffler,
        read: ReadId,
        records: Result<Vec<Bytes>, ReadError>,
    ) {
        let Some(fetch) = self.reads.remove(&read) else { return };
        self.port_here(core, shuffler, fetch, records.map_err(NoInput::Unreadable));
    }

    /// Handles a partition owner's answer: one more piece of the input of a port.
    pub(super) fn on_bucket_answer(&mut self, core: &mut Core, shuffler: &Shuffler, mut fetch: Fetch, answer: Answer) {
        let job = fetch.job;
        let unreadable = |why: String| NoInput::Unreadable(ReadError::Failed(why));
        let malformed = || unreadable("its owner sent malformed records".to_owned());
        let records = match answer {
            Ok((Response::Piece { of }, piece)) => {
                let here = (fetch.got.len() + piece.len()) as u64;
                let all = fetch.bytes().saturating_add(of);
                if all > self.memory_of(fetch.stage_ref()) {
                    Err(NoInput::Unreadable(ReadError::TooLarge(of)))
                } else if here == of {
                    let mut got = std::mem::take(&mut fetch.got);
                    let whole = if got.is_empty() {
                        piece
                    } else {
                        got.extend_from_slice(&piece);
                        got.freeze()
                    };
                    let most = fetch.next().map_or(0, |read| self.tasks_of(StageRef { job, stage: read.from }));
                    split_records(&whole, most).ok_or_else(malformed)
                } else if self.input_in_hand(core).saturating_add(all) > self.memory.inputs.max(all) {
                    // The task is tried again, here or elsewhere, when less is in hand: alone it would fit.
                    Err(NoInput::Missing)
                } else if here < of && !piece.is_empty() {
                    fetch.unit.input = all;
                    fetch.got.extend_from_slice(&piece);
                    return ask_for_bucket(core, fetch);
                } else {
                    Err(malformed())
                }
            }
            Ok((Response::Refused(why), _)) => Err(unreadable(why)),
            _ => Err(NoInput::Missing),
        };
        if let (Err(_), Some(work)) = (&records, self.stage(fetch.stage_ref())) {
            work.ask_summary(core);
        }
        self.port_here(core, shuffler, fetch, records);
    }

    /// Stops waiting for peers that no longer shuffle: if one hangs, its answer would come only as a timeout.
    pub(super) fn abandon_lost_owners(&mut self, core: &mut Core, id: JobId, epoch: &Epoch) {
        let lost = |read: &Read| !epoch.shufflers.iter().any(|s| s.peer == read.owner);
        let is_lost = |pending: &Pending| match pending {
            Pending::Worker(WorkerRequest::Bucket(fetch)) => fetch.job == id && fetch.next().is_some_and(lost),
            _ => false,
        };
        let asked = core.pending.values_mut().filter(|pending| is_lost(pending));
        let asked: Vec<Pending> = asked.map(|pending| std::mem::replace(pending, Pending::Ignored)).collect();
        for pending in asked {
            if let Pending::Worker(WorkerRequest::Bucket(fetch)) = pending {
                self.no_input(core, id, &fetch.unit, NoInput::Missing);
            }
        }
    }

    /// Memory limit of a task of a stage, in bytes.
    fn memory_of(&self, stage: StageRef) -> u64 {
        self.described(stage).map_or(0, |stage| stage.limits.memory)
    }

    /// Number of tasks of a stage, each of which wrote at most once into a bucket.
    fn tasks_of(&self, stage: StageRef) -> usize {
        self.described(stage).map_or(0, |stage| stage.tasks as usize)
    }

    /// A stage as its job's manifest describes it.
    fn described(&self, of: StageRef) -> Option<&Stage> {
        self.jobs.get(&of.job)?.manifest.stage(of.stage)
    }

    /// Called when the input of a port is here, or cannot be fetched.
    fn port_here(
        &mut self,
        core: &mut Core,
        shuffler: &Shuffler,
        mut fetch: Fetch,
        records: Result<Vec<Bytes>, NoInput>,
    ) {
        match records {
            Ok(records) => {
                fetch.here.push(records);
                self.fetch_next(core, shuffler, fetch);
            }
            Err(NoInput::Unreadable(ReadError::TooLarge(bytes))) => {
                let all = ReadError::TooLarge(fetch.bytes().saturating_add(bytes));
                self.no_input(core, fetch.job, &fetch.unit, NoInput::Unreadable(all));
            }
            Err(why) => self.no_input(core, fetch.job, &fetch.unit, why),
        }
    }

    /// Runs the unit: all input is here.
    fn all_here(&mut self, core: &mut Core, fetch: Fetch) {
        self.fetching -= 1;
        let bytes = fetch.bytes();
        let Fetch { job: id, mut unit, here, .. } = fetch;
        let (stage, task) = (unit.stage, unit.tasks.start);
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.active) else { return };
        let collects = job.manifest.stages[stage.index()].sink == Sink::Collect;
        if collects && here.iter().all(Vec::is_empty) {
            // Without keys the guest has nothing to reduce.
            let empty = TaskOutput::Collect { digest: Hash::of(b""), bytes: Bytes::new() };
            let result = TaskResult { task, elapsed: Duration::ZERO, outcome: Ok(empty) };
            job.stages[stage.index()].measure(1, result.elapsed);
            job.take_result(core, id, &unit, result);
        } else {
            unit.input = bytes;
            self.run(core, id, unit, here.into_iter().map(Port::Records).collect());
        }
    }

    /// Called when a task's input cannot be fetched.
    fn no_input(&mut self, core: &mut Core, id: JobId, unit: &Unit, why: NoInput) {
        self.fetching -= 1;
        let (stage, task) = (unit.stage, unit.tasks.start);
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.active) else { return };
        let (why, cause) = match why {
            NoInput::Missing => return job.stages[stage.index()].task_failed(core.now, task, RETRY_INPUT),
            NoInput::Unreadable(ReadError::TooLarge(bytes)) => {
                let most = job.manifest.stages[stage.index()].limits.memory;
                let why = format!("its input has {bytes} bytes, more than its memory limit of {most} bytes");
                (why, Cause::InputLimit)
            }
            NoInput::Unreadable(ReadError::Failed(why)) => (format!("could not read its input: {why}"), Cause::Job),
        };
        let failure = TaskFailure { document: None, why, cause };
        job.task_failed(core, TaskRef { job: id, stage, task }, failure, RETRY_INPUT);
    }
}

/// A unit whose input from shuffles is being fetched. Its ports are read one after another: it has one request under
/// way at a time, whatever the number of its sources, and one total of bytes.
#[derive(Debug)]
pub(in crate::engine) struct Fetch {
    pub(super) job: JobId,
    unit: Unit,
    /// What its task reads at each port.
    reads: Vec<Read>,
    /// The records of the ports that were read completely.
    here: Vec<Vec<Bytes>>,
    /// What has arrived of the next port's records.
    got: BytesMut,
}

impl Fetch {
    /// The stage whose task reads it.
    fn stage_ref(&self) -> StageRef {
        StageRef { job: self.job, stage: self.unit.stage }
    }

    /// What to read next; `None` when all is here.
    fn next(&self) -> Option<&Read> {
        self.reads.get(self.here.len())
    }

    /// Bytes of all records that have arrived.
    fn bytes(&self) -> u64 {
        self.here.iter().flatten().map(|records| records.len() as u64).sum()
    }
}

/// Requests the missing rest of a port's input.
fn ask_for_bucket(core: &mut Core, fetch: Fetch) {
    let Some(&Read { from: stage, root, owner, .. }) = fetch.next() else { return };
    let (task, width) = (fetch.unit.tasks.start, fetch.unit.width);
    let piece = BucketPiece { job: fetch.job, stage, task, width, root, from: fetch.got.len() as u64 };
    core.request(owner, Request::Bucket(piece), vec![], WorkerRequest::Bucket(fetch));
}

/// Why a task's input is not here.
enum NoInput {
    /// It lies elsewhere, or its owner was not reached: not the task's fault.
    Missing,
    /// It lies where it should and cannot be read, so other workers would fail too. It counts as a failure of the task,
    /// so that the job ends with this reason once its retries are used up.
    Unreadable(ReadError),
}

/// Splits a served bucket into the records of at most `most` tasks, each behind its length as a `u32`.
fn split_records(body: &Bytes, most: usize) -> Option<Vec<Bytes>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < body.len() {
        if records.len() == most {
            return None;
        }
        let head = body.get(at..at + 4)?;
        let len = u32::from_le_bytes(head.try_into().ok()?) as usize;
        let end = (at + 4).checked_add(len).filter(|&end| end <= body.len())?;
        records.push(body.slice(at + 4..end));
        at = end;
    }
    Some(records)
}
