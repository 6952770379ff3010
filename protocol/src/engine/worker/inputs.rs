//! What units need before they run: packs, and buckets of a shuffle.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::job::Waiting;
use super::{PACK_SOON, PACK_WAIT, RETRY_INPUT, Running, Worker};
use crate::engine::blobs::Blobs;
use crate::engine::core::Core;
use crate::engine::pending::{Answer, BucketRequest, Pending, WorkerRequest};
use crate::engine::shuffler::Shuffler;
use crate::engine::stage::{Read, Unit};
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{
    BucketRef, ReadError, ReadId, RunAction, SegmentAction, TaskFailure, TaskOutput, TaskResult, Work, WorkInput,
};
use crate::limits;
use crate::manifest::{BlobRef, Sink, Source, Stage};
use crate::message::{Cause, Request, Response};

impl Worker {
    /// Gets a unit's input, and runs it once that is here.
    pub(super) fn prepare(&mut self, core: &mut Core, blobs: &mut Blobs, shuffler: &Shuffler, id: JobId, unit: Unit) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.manifest.stages[usize::from(unit.stage)].source != Source::Inputs {
            return self.fetch_bucket(core, shuffler, id, unit);
        }
        let Some(layout) = job.layout.clone() else {
            let input = WorkInput::Numbers { tasks: unit.tasks.clone() };
            return self.run(core, id, unit, input);
        };
        // A block may lie in two packs.
        let mut tasks = unit.tasks.clone();
        while let Some((pack, of_pack)) = layout.pack_of(tasks.start).filter(|_| !tasks.is_empty()) {
            let end = of_pack.end.min(tasks.end);
            let unit = Unit { tasks: tasks.start..end, input: pack.blob.len, ..unit.clone() };
            self.prepare_pack(core, blobs, id, unit, pack.blob);
            tasks.start = end;
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

    /// Packs of a home that stalls keep a worker neither from other work nor others from theirs.
    pub(super) fn go_on_without_late_packs(&mut self, core: &Core) {
        for job in self.jobs.values_mut() {
            for (_, waiting) in job.waiting.extract_if(.., |_, w| core.now.since(w.since) > PACK_WAIT) {
                self.fetching -= waiting.in_hand();
                for unit in waiting.units {
                    let work = &mut job.stages[usize::from(unit.stage)];
                    unit.tasks.for_each(|task| work.task_failed(core.now, task, RETRY_INPUT));
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

    fn fetch_bucket(&mut self, core: &mut Core, shuffler: &Shuffler, id: JobId, mut unit: Unit) {
        let (stage, task) = (unit.stage, unit.tasks.start);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let work = &mut job.stages[usize::from(stage)];
        // Others may say that this peer sealed a partition; what lies here is whole if its own shuffler says so.
        let sealed = work.reads(task).filter(|read| {
            read.owner != core.me || shuffler.has_sealed(&id, read.from, read.place.partition, &read.root)
        });
        let Some(Read { from, place, root, owner, .. }) = sealed else {
            // Unsealed since it was claimed.
            work.task_failed(core.now, task, RETRY_INPUT);
            return;
        };
        unit.root = Some(root);
        unit.reads = job.epoch.generations_of(stage).reads;
        unit.width = place.width;
        self.fetching += 1;
        if owner == core.me {
            let read = core.next_read();
            let bucket = BucketRef { job: id, stage: from, place };
            let most = job.manifest.stages[usize::from(stage)].limits.memory;
            unit.input = most;
            self.reads.insert(read, (id, unit));
            core.act(SegmentAction::ReadBucket { read, bucket, most });
        } else {
            unit.input = limits::BUCKET_PIECE as u64;
            ask_for_bucket(core, id, unit, (owner, from), BytesMut::new());
        }
    }

    /// Bytes of the inputs in hand, of all jobs.
    pub(super) fn input_in_hand(&self, core: &Core) -> u64 {
        let running = self.running.values().map(|r| &r.unit);
        let read = self.reads.values().map(|(_, unit)| unit);
        let asked = core.pending.values().filter_map(|pending| match pending {
            Pending::Worker(WorkerRequest::Bucket(request)) => Some(&request.unit),
            _ => None,
        });
        let waiting = self.jobs.values().flat_map(|job| job.waiting.values()).flat_map(|waiting| &waiting.units);
        running.chain(read).chain(asked).chain(waiting).map(|unit| unit.input).fold(0, u64::saturating_add)
    }

    fn run_pack(&mut self, core: &mut Core, id: JobId, unit: Unit, pack: Bytes) {
        let Some(layout) = self.jobs.get(&id).and_then(|j| j.layout.clone()) else { return };
        let Some((of, _)) = layout.pack_of(unit.tasks.start) else { return };
        let first_document = layout.documents_of(unit.tasks.start).map_or(0, |d| d.start);
        let input =
            WorkInput::Pack { pack, tasks: unit.tasks.clone(), first_document, docs_per_task: of.docs_per_task };
        self.run(core, id, unit, input);
    }

    fn run(&mut self, core: &mut Core, id: JobId, unit: Unit, input: WorkInput) {
        let Some(job) = self.jobs.get(&id) else { return };
        let stage = &job.manifest.stages[usize::from(unit.stage)];
        let run = core.next_run();
        let work = Work {
            run,
            job: id,
            stage: unit.stage,
            module: job.manifest.module.hash,
            limits: stage.limits,
            input,
            shuffle: stage.shuffle(),
        };
        let estimate = job.stages[usize::from(unit.stage)].estimate(&unit);
        self.running.insert(run, Running::new(id, unit, estimate));
        core.act(RunAction::Start(Box::new(work)));
    }

    /// A blob arrived, or cannot be had.
    pub(in crate::engine) fn on_blob(&mut self, core: &mut Core, hash: Hash, bytes: Option<Bytes>) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.take_blob(core.now, hash, bytes.as_ref());
            let Some(waiting) = job.waiting.remove(&hash) else {
                // It came too late for those that waited, and early for the next.
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
                        let work = &mut job.stages[usize::from(unit.stage)];
                        unit.tasks.for_each(|task| work.task_failed(core.now, task, RETRY_INPUT));
                    }
                }
            }
        }
    }

    /// This peer's own segment store answered.
    pub(in crate::engine) fn on_bucket_read(
        &mut self,
        core: &mut Core,
        read: ReadId,
        records: Result<Vec<Bytes>, ReadError>,
    ) {
        let Some((job, unit)) = self.reads.remove(&read) else { return };
        self.bucket_here(core, job, unit, records.map_err(NoBucket::Unreadable));
    }

    /// The owner of a partition, written by the stage `from`, answered with one more piece of a bucket.
    pub(super) fn on_bucket_answer(&mut self, core: &mut Core, request: BucketRequest, answer: Answer) {
        let BucketRequest { job, mut unit, owner, from, mut got } = request;
        let unreadable = |why: String| NoBucket::Unreadable(ReadError::Failed(why));
        let malformed = || unreadable("its owner sent malformed records".to_owned());
        let records = match answer {
            Ok((Response::Piece { of }, piece)) => {
                let (here, most) = ((got.len() + piece.len()) as u64, self.memory_of(&job, unit.stage));
                if of > most {
                    Err(NoBucket::Unreadable(ReadError::TooLarge(of)))
                } else if here == of {
                    let whole = if got.is_empty() {
                        piece
                    } else {
                        got.extend_from_slice(&piece);
                        got.freeze()
                    };
                    split_records(&whole, self.tasks_of(&job, from)).ok_or_else(malformed)
                } else if self.input_in_hand(core).saturating_add(of) > self.memory.inputs.max(of) {
                    // Its turn comes, here or elsewhere, when less is in hand: alone it would have room.
                    Err(NoBucket::Missing)
                } else if here < of && !piece.is_empty() {
                    unit.input = of;
                    got.extend_from_slice(&piece);
                    return ask_for_bucket(core, job, unit, (owner, from), got);
                } else {
                    Err(malformed())
                }
            }
            Ok((Response::Refused(why), _)) => Err(unreadable(why)),
            _ => Err(NoBucket::Missing),
        };
        if let (Err(_), Some(work)) = (&records, self.stage(&job, unit.stage)) {
            work.ask_summary(core);
        }
        self.bucket_here(core, job, unit, records);
    }

    /// Whoever shuffles no more is waited for no more either: where it hangs, its answers do not come before their time
    /// is up.
    pub(super) fn leave_lost_owners(&mut self, core: &mut Core, id: JobId, epoch: &Epoch) {
        let lost = |owner: &PeerKey| !epoch.shufflers.iter().any(|s| s.peer == *owner);
        let is_lost = |pending: &Pending| match pending {
            Pending::Worker(WorkerRequest::Bucket(request)) => request.job == id && lost(&request.owner),
            _ => false,
        };
        let asked = core.pending.values_mut().filter(|pending| is_lost(pending));
        let asked: Vec<Pending> = asked.map(|pending| std::mem::replace(pending, Pending::Ignored)).collect();
        for pending in asked {
            if let Pending::Worker(WorkerRequest::Bucket(request)) = pending {
                self.bucket_here(core, id, request.unit, Err(NoBucket::Missing));
            }
        }
    }

    /// What a task of a stage may take, in bytes.
    fn memory_of(&self, job: &JobId, stage: u8) -> u64 {
        self.described(job, stage).map_or(0, |stage| stage.limits.memory)
    }

    /// How many tasks a stage has, each of which wrote once into a bucket at most.
    fn tasks_of(&self, job: &JobId, stage: u8) -> usize {
        self.described(job, stage).map_or(0, |stage| stage.tasks as usize)
    }

    /// A stage as the manifest of its job describes it.
    fn described(&self, job: &JobId, stage: u8) -> Option<&Stage> {
        self.jobs.get(job)?.manifest.stages.get(usize::from(stage))
    }

    fn bucket_here(&mut self, core: &mut Core, id: JobId, mut unit: Unit, records: Result<Vec<Bytes>, NoBucket>) {
        self.fetching -= 1;
        let (stage, task) = (unit.stage, unit.tasks.start);
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.active) else { return };
        let collects = job.manifest.stages[usize::from(stage)].sink == Sink::Collect;
        match records {
            Ok(records) if records.is_empty() && collects => {
                // Where there are no keys there is nothing for the guest to do.
                let empty = TaskOutput::Collect { digest: Hash::of(b""), bytes: Bytes::new() };
                let result = TaskResult { task, elapsed: Duration::ZERO, outcome: Ok(empty) };
                job.stages[usize::from(stage)].measure(1, result.elapsed);
                job.take_result(core, id, &unit, result);
            }
            Ok(records) => {
                unit.input = records.iter().map(|r| r.len() as u64).sum();
                self.run(core, id, unit, WorkInput::Bucket { task, records });
            }
            Err(NoBucket::Missing) => job.stages[usize::from(stage)].task_failed(core.now, task, RETRY_INPUT),
            Err(NoBucket::Unreadable(why)) => {
                let most = job.manifest.stages[usize::from(stage)].limits.memory;
                let (why, cause) = match why {
                    ReadError::TooLarge(bytes) => {
                        let why = format!("would read {bytes} bytes, and may take {most} bytes of memory");
                        (why, Cause::InputLimit)
                    }
                    ReadError::Failed(why) => (format!("could not read its input: {why}"), Cause::Job),
                };
                let failure = TaskFailure { document: None, why, cause };
                job.task_failed(core, id, (stage, task), failure, RETRY_INPUT);
            }
        }
    }
}

/// Asks for what is missing of a bucket, which the stage `from` wrote.
fn ask_for_bucket(core: &mut Core, job: JobId, unit: Unit, (owner, from): (PeerKey, u8), got: BytesMut) {
    let Some(root) = unit.root else { return };
    let (task, width) = (unit.tasks.start, unit.width);
    let request = Request::Bucket { job, stage: from, task, width, root, from: got.len() as u64 };
    core.request(owner, request, vec![], WorkerRequest::Bucket(BucketRequest { job, unit, owner, from, got }));
}

/// Why there is no bucket to reduce.
enum NoBucket {
    /// It lies elsewhere, or its owner was not reached: no fault of the task's.
    Missing,
    /// It lies where it should and cannot be read, which trying elsewhere does not help: the task's failure, so that
    /// the job ends with the reason once its retries are spent.
    Unreadable(ReadError),
}

/// Takes a served bucket apart: the records of each of so many tasks at most stand behind their `u32` length.
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
