//! The worker: chooses between jobs, fetches what tasks need, runs them, and brings their output home.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::blobs::Blobs;
use super::core::{Core, Pending};
use super::jobs::Change;
use super::packs::Packs;
use super::stage::{StageWork, Unit};
use crate::codec;
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Action, BlobClass, BucketRef, ReadId, RequestError, RunId, TaskOutput, TaskResult, Work, WorkInput};
use crate::limits;
use crate::manifest::{Inputs, Manifest, Source};
use crate::membership::Advert;
use crate::message::{Claim, Failure, Request, Response, Seals, Topic};
use crate::pack::{Index, Layout};
use crate::ranges::numbers_in_bytes;
use crate::ring::{Assignment, Ring};
use crate::time::Time;

/// Jobs that this worker takes part in at a time; others wait until one ends. Each may cost a claim table.
const ACTIVE_JOBS: usize = 32;
/// Units in hand for each thread, beside a few for all: one runs, one waits with its input here.
const UNITS_PER_THREAD: usize = 2;
/// Units in hand beside those: their inputs are on their way while others run.
const UNITS_AHEAD: usize = 2;
/// One unit in so many goes to the youngest job (rule 8).
const YOUNGEST_EVERY: u64 = 8;
/// The pause after a task failed here, when nobody else could try it.
const RETRY_HERE: Duration = Duration::from_millis(100);
/// The pause after an input or an answer could not be had.
const RETRY_INPUT: Duration = Duration::from_millis(500);
/// Places offered for jobs that are not open yet.
const PLACES: usize = 64;

/// This peer as a worker.
#[derive(Debug)]
pub(super) struct Worker {
    threads: u32,
    enabled: bool,
    jobs: BTreeMap<JobId, WorkerJob>,
    running: BTreeMap<RunId, (JobId, Unit)>,
    reads: BTreeMap<ReadId, (JobId, u8, u32)>,
    /// Units that wait for a pack, a bucket or a module.
    fetching: usize,
    packs: Packs,
    topics: BTreeMap<Topic, u32>,
    places: BTreeMap<JobId, (u32, u32)>,
    started: u64,
}

#[derive(Debug)]
struct WorkerJob {
    manifest: Arc<Manifest>,
    epoch: Arc<Epoch>,
    /// The holders of each stage's shuffle, where it has one.
    rings: Vec<Option<Assignment>>,
    module: Have,
    index: Have,
    layout: Option<Arc<Layout>>,
    stages: Vec<StageWork>,
    /// Units by the pack that they wait for.
    waiting: BTreeMap<Hash, Vec<Unit>>,
    /// Results of a collecting stage that the authority has not acknowledged, with when to send them again.
    outputs: BTreeMap<(u8, u32), Output>,
    /// When the first of them is to be sent.
    outputs_at: Time,
    opened: Time,
    /// Microseconds of thread time spent on it.
    served: u64,
    done: Vec<u32>,
    reopened: u32,
    active: bool,
}

/// Whether something is here that a job needs before anything runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Have {
    No,
    Asked,
    Yes,
    /// It could not be had; asked for again at this time.
    Retry(Time),
}

#[derive(Debug)]
struct Output {
    digest: Hash,
    root: Option<Hash>,
    bytes: Bytes,
    /// `NEVER` while an answer is awaited.
    send_at: Time,
}

impl Worker {
    pub(super) fn new(advert: &Advert) -> Self {
        Self {
            threads: u32::from(advert.threads).max(1),
            enabled: advert.roles.worker,
            jobs: BTreeMap::new(),
            running: BTreeMap::new(),
            reads: BTreeMap::new(),
            fetching: 0,
            packs: Packs::default(),
            topics: BTreeMap::new(),
            places: BTreeMap::new(),
            started: 0,
        }
    }

    /// A submitter's hint where to begin in a job (rule 7).
    pub(super) fn place(&mut self, core: &Core, job: JobId, slot: u32, of: u32) {
        match self.jobs.get_mut(&job) {
            // Gossip was faster than the offer.
            Some(open) => open.stages.iter_mut().take(1).for_each(|stage| stage.take_place(core, slot, of)),
            None if self.places.len() < PLACES => {
                self.places.insert(job, (slot, of));
            }
            None => {}
        }
    }

    /// Something about a job changed.
    pub(super) fn on_job(&mut self, core: &mut Core, blobs: &mut Blobs, job: &JobId, change: &Change) {
        match change {
            Change::Open { manifest, epoch, done, reopened, .. } => {
                // Whoever knows the job may be asked for these, as a home or as one who fetched them.
                let opened = WorkerJob::new(core.now, manifest, epoch, done.clone(), *reopened);
                opened.shared_blobs().for_each(|hash| blobs.share(hash));
                if self.enabled {
                    self.jobs.insert(*job, opened);
                    self.activate(core);
                }
            }
            Change::Epoch { epoch, .. } => {
                if let Some(open) = self.jobs.get_mut(job) {
                    open.new_epoch(core.now, epoch);
                }
            }
            Change::Reopened(count) => {
                if let Some(open) = self.jobs.get_mut(job).filter(|j| j.reopened < *count) {
                    open.reopened = *count;
                    open.stages.iter_mut().for_each(|s| s.ask_summary(core));
                }
            }
            Change::Over => {
                if let Some(over) = self.jobs.remove(job) {
                    self.close(core, blobs, *job, over);
                    self.activate(core);
                }
                self.places.remove(job);
            }
        }
    }

    /// Takes part in waiting jobs, oldest first, as long as there is room.
    fn activate(&mut self, core: &mut Core) {
        let mut room = ACTIVE_JOBS.saturating_sub(self.jobs.values().filter(|j| j.active).count());
        let mut waiting: Vec<(Time, JobId)> =
            self.jobs.iter().filter(|(_, j)| !j.active).map(|(&id, j)| (j.opened, id)).collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            let Some(job) = self.jobs.get_mut(&id).filter(|_| room > 0) else { return };
            room -= 1;
            job.active = true;
            let place = self.places.remove(&id);
            for number in 0..job.manifest.stages.len() as u8 {
                let place = place.filter(|_| number == 0);
                let mut stage = StageWork::new(core, id, number, job.manifest.clone(), place);
                // Whoever comes late learns what is done already.
                if job.done.iter().any(|&done| done > 0) {
                    stage.ask_summary(core);
                }
                listen(&mut self.topics, core, stage.topic, true);
                job.stages.push(stage);
            }
        }
    }

    fn close(&mut self, core: &mut Core, blobs: &mut Blobs, id: JobId, mut job: WorkerJob) {
        for stage in &job.stages {
            listen(&mut self.topics, core, stage.listening, false);
        }
        self.fetching -= job.waiting.values().map(Vec::len).sum::<usize>();
        let buckets = core.pending.values_mut().filter(|p| matches!(p, Pending::Bucket { job, .. } if *job == id));
        for pending in buckets {
            *pending = Pending::Ignored;
            self.fetching -= 1;
        }
        self.reads.retain(|_, (job, _, _)| {
            *job != id || {
                self.fetching -= 1;
                false
            }
        });
        self.running.retain(|_, (job, _)| *job != id);
        // What another job needs too stays: the same inputs may be submitted twice.
        for hash in std::mem::take(&mut job.waiting).into_keys() {
            if !self.jobs.values().any(|j| j.waiting.contains_key(&hash)) {
                self.packs.drop_pack(&hash);
                blobs.unshare(&hash);
            }
        }
        for hash in job.shared_blobs() {
            if !self.jobs.values().any(|j| j.shared_blobs().any(|h| h == hash)) {
                blobs.unshare(&hash);
            }
        }
        core.act(Action::StopRuns { job: id });
    }

    /// Goes on with every job: units, claims, output, messages.
    pub(super) fn go_on(&mut self, core: &mut Core, blobs: &mut Blobs) {
        for (id, job) in self.jobs.iter_mut().filter(|(_, j)| j.active) {
            job.set_up(core, blobs);
            job.send_outputs(core, *id);
        }
        // Units leave the queues first, so that claims see what room there is; some claims may start at once.
        self.start_units(core, blobs);
        if self.claim(core) {
            self.start_units(core, blobs);
        }
        // With nothing left to run, output need not wait for company.
        let idle = self.in_hand() == 0;
        for (id, job) in &mut self.jobs {
            for stage in &mut job.stages {
                if let Some(ring) = &job.rings[usize::from(stage.number)] {
                    stage.outbox.flush(core, *id, stage.number, job.epoch.number, ring, idle);
                }
                stage.speak(core);
            }
        }
    }

    /// Claims in all jobs; says whether anything was claimed.
    fn claim(&mut self, core: &mut Core) -> bool {
        let mut claimed = false;
        for job in self.jobs.values_mut().filter(|j| j.active && j.is_set_up()) {
            // Later stages first: what they need is here, and their results free it.
            for i in (0..job.stages.len()).rev() {
                let upstream_over = match job.manifest.stages[i].source {
                    Source::Shuffle { stage } => job.stages[usize::from(stage)].is_over(),
                    Source::Inputs => true,
                };
                let stage = &mut job.stages[i];
                claimed |= stage.claim(core, self.threads, upstream_over);
                if stage.topic != stage.listening {
                    listen(&mut self.topics, core, stage.listening, false);
                    listen(&mut self.topics, core, stage.topic, true);
                    stage.listening = stage.topic;
                }
            }
        }
        claimed
    }

    pub(super) fn tick(&mut self, core: &mut Core) {
        for stage in self.jobs.values_mut().flat_map(|j| &mut j.stages) {
            stage.lapse(core);
        }
    }

    /// Blocks claimed, units in hand, finished tasks that are not acknowledged.
    pub(super) fn load(&self) -> (usize, usize, usize) {
        let stages = || self.jobs.values().flat_map(|j| &j.stages);
        let claims = stages().map(|s| s.table.held() as usize).sum();
        let outputs: usize = self.jobs.values().map(|j| j.outputs.len()).sum();
        let attempts = stages().map(|s| s.outbox.len()).sum::<usize>() + outputs;
        (claims, self.in_hand(), attempts)
    }

    pub(super) fn deadline(&self, now: Time) -> Time {
        let jobs = self.jobs.values().filter(|j| j.active);
        jobs.flat_map(|job| {
            let stages = job.stages.iter().filter(|_| job.is_set_up()).map(|s| s.deadline(now, self.threads));
            stages.chain([job.outputs_at]).chain(job.retry_at())
        })
        .min()
        .unwrap_or(Time::NEVER)
    }

    /// Units that run, or wait for their input.
    fn in_hand(&self) -> usize {
        self.running.len() + self.fetching
    }

    fn start_units(&mut self, core: &mut Core, blobs: &mut Blobs) {
        let most = self.threads as usize * UNITS_PER_THREAD + UNITS_AHEAD;
        while self.in_hand() < most {
            let Some((id, unit)) = self.pick_unit(core.now) else { return };
            self.started += 1;
            self.prepare(core, blobs, id, unit);
        }
    }

    /// The next unit of the job whose turn it is (rule 8): the owner that was served least, of its jobs the one
    /// with the highest priority, then the oldest; but at times the youngest job of all.
    fn pick_unit(&mut self, now: Time) -> Option<(JobId, Unit)> {
        let mut served: BTreeMap<PeerKey, u64> = BTreeMap::new();
        for job in self.jobs.values() {
            *served.entry(job.manifest.owner).or_default() += job.served;
        }
        let youngest = self.started % YOUNGEST_EVERY == YOUNGEST_EVERY - 1;
        let mut order: Vec<(JobId, _)> = self
            .jobs
            .iter()
            .filter(|(_, j)| j.active && j.is_set_up())
            .map(|(&id, j)| {
                let by_turn = (served[&j.manifest.owner], u8::MAX - j.manifest.priority, j.opened);
                (id, if youngest { (0, 0, Time(u64::MAX - j.opened.0)) } else { by_turn })
            })
            .collect();
        order.sort_unstable_by_key(|&(id, rank)| (rank, id));
        // One long unit waits behind those that run: more would only be missing elsewhere.
        let long = self.in_hand() <= self.threads as usize;
        order.into_iter().find_map(|(id, _)| Some((id, self.jobs.get_mut(&id)?.next_unit(now, long)?)))
    }

    /// Gets a unit's input, and runs it once that is here.
    fn prepare(&mut self, core: &mut Core, blobs: &mut Blobs, id: JobId, unit: Unit) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.manifest.stages[usize::from(unit.stage)].source != Source::Inputs {
            return self.fetch_bucket(core, id, unit);
        }
        let Some(layout) = job.layout.clone() else {
            let input = WorkInput::Numbers { tasks: unit.tasks.clone() };
            return self.run(core, id, unit, input);
        };
        // A block may lie in two packs.
        let mut tasks = unit.tasks;
        while let Some((pack, of_pack)) = layout.pack_of(tasks.start).filter(|_| !tasks.is_empty()) {
            let end = of_pack.end.min(tasks.end);
            self.prepare_pack(core, blobs, id, Unit { stage: unit.stage, tasks: tasks.start..end }, pack.blob.hash);
            tasks.start = end;
        }
    }

    fn prepare_pack(&mut self, core: &mut Core, blobs: &mut Blobs, id: JobId, unit: Unit, pack: Hash) {
        if let Some(bytes) = self.packs.get(&pack) {
            return self.run_pack(core, id, unit, bytes);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        self.fetching += 1;
        job.waiting.entry(pack).or_default().push(unit);
        blobs.fetch(core, pack, job.manifest.home, None);
    }

    fn fetch_bucket(&mut self, core: &mut Core, id: JobId, unit: Unit) {
        let (stage, task) = (unit.stage, unit.tasks.start);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let work = &mut job.stages[usize::from(stage)];
        let Some((from, partition, root, owner)) = work.reads(task) else {
            // Unsealed since it was claimed.
            unit.tasks.clone().for_each(|task| work.task_failed(core.now, task, RETRY_INPUT));
            return;
        };
        let (partitions, buckets) = job.manifest.stages[usize::from(from)].shuffle().unwrap_or((1, 1));
        self.fetching += 1;
        if owner == core.me {
            let read = core.next_read();
            let bucket =
                BucketRef { job: id, stage: from, partition, bucket: task % (buckets / u32::from(partitions)) };
            self.reads.insert(read, (id, stage, task));
            core.act(Action::ReadBucket { read, bucket });
        } else {
            let request = Request::Bucket { job: id, stage: from, bucket: task, root };
            core.request(owner, request, vec![], Pending::Bucket { job: id, stage, task });
        }
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
        self.running.insert(run, (id, unit));
        core.act(Action::Run(Box::new(work)));
    }

    /// A blob arrived, or cannot be had.
    pub(super) fn on_blob(&mut self, core: &mut Core, hash: Hash, bytes: Option<Bytes>) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.take_blob(core.now, hash, bytes.as_ref());
            let Some(units) = job.waiting.remove(&hash) else { continue };
            self.fetching -= units.len();
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
    pub(super) fn on_bucket_read(&mut self, core: &mut Core, read: ReadId, records: Result<Vec<Bytes>, String>) {
        let Some((job, stage, task)) = self.reads.remove(&read) else { return };
        self.fetching -= 1;
        if let Err(why) = &records {
            core.log(format!("bucket {task} of job {} cannot be read: {why}", job.short()));
        }
        self.bucket_here(core, job, stage, task, records.ok());
    }

    /// The owner of a partition answered.
    pub(super) fn on_bucket_answer(
        &mut self,
        core: &mut Core,
        job: JobId,
        stage: u8,
        task: u32,
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        self.fetching -= 1;
        let records = match outcome {
            Ok((Response::Body, body)) => split_records(&body),
            _ => None,
        };
        if let (None, Some(work)) = (&records, self.stage(&job, stage)) {
            work.ask_summary(core);
        }
        self.bucket_here(core, job, stage, task, records);
    }

    fn bucket_here(&mut self, core: &mut Core, id: JobId, stage: u8, task: u32, records: Option<Vec<Bytes>>) {
        let Some(work) = self.stage(&id, stage) else { return };
        match records {
            Some(records) => {
                let unit = Unit { stage, tasks: task..task + 1 };
                self.run(core, id, unit, WorkInput::Bucket { task, records });
            }
            None => work.task_failed(core.now, task, RETRY_INPUT),
        }
    }

    /// A stage that this worker takes part in. An answer may come for a job that is over, or that was forgotten,
    /// came back, and waits for its turn.
    fn stage(&mut self, job: &JobId, stage: u8) -> Option<&mut StageWork> {
        self.jobs.get_mut(job)?.stages.get_mut(usize::from(stage))
    }

    /// Tasks of a run ended.
    pub(super) fn on_results(&mut self, core: &mut Core, run: RunId, results: Vec<TaskResult>, last: bool) {
        let Some((id, unit)) = self.running.get(&run).cloned() else { return };
        if last {
            self.running.remove(&run);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some(ended) = u32::try_from(results.len()).ok().filter(|&n| n > 0) {
            let elapsed: Duration = results.iter().map(|r| r.elapsed).sum();
            job.served += elapsed.as_micros() as u64;
            job.stages[usize::from(unit.stage)].measure(ended, elapsed);
        }
        for result in results {
            job.take_result(core, id, unit.stage, result);
        }
    }

    /// An owner answered a push.
    #[expect(clippy::too_many_arguments, reason = "all of it names one push")]
    pub(super) fn on_pushed(
        &mut self,
        core: &mut Core,
        job: JobId,
        stage: u8,
        owner: PeerKey,
        epoch: u32,
        tasks: &[u32],
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        let Some(open) = self.jobs.get_mut(&job) else { return };
        // Under a newer epoch everything was sent again; this answer is about the past.
        if open.epoch.number != epoch {
            return;
        }
        let (Some(work), Some(Some(ring))) =
            (open.stages.get_mut(usize::from(stage)), open.rings.get(usize::from(stage)))
        else {
            return;
        };
        if matches!(outcome, Ok((Response::Ok, _))) {
            for task in work.outbox.acknowledged(owner, tasks) {
                work.task_finished(core.now, task);
            }
        } else {
            work.outbox.refused(core.now, owner, tasks, ring);
            // The owner may be lost, or the job over: the authority knows.
            work.ask_summary_soon(core.now);
        }
    }

    /// The authority answered a result.
    pub(super) fn on_output_answer(
        &mut self,
        core: &mut Core,
        job: JobId,
        stage: u8,
        task: u32,
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        let Some(open) = self.jobs.get_mut(&job) else { return };
        let Some(work) = open.stages.get_mut(usize::from(stage)) else { return };
        match outcome {
            Ok((Response::Ok, _)) => {
                open.outputs.remove(&(stage, task));
                work.task_finished(core.now, task);
            }
            Ok((Response::Missing | Response::Refused(_), _)) => {
                open.outputs.remove(&(stage, task));
                work.task_failed(core.now, task, RETRY_INPUT);
                work.ask_summary(core);
            }
            _ => {
                if let Some(output) = open.outputs.get_mut(&(stage, task)) {
                    output.send_at = core.now + RETRY_INPUT;
                    open.outputs_at = open.outputs_at.min(output.send_at);
                }
            }
        }
    }

    pub(super) fn on_summary(
        &mut self,
        core: &mut Core,
        job: JobId,
        stage: u8,
        shard: u16,
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        let Some(open) = self.jobs.get_mut(&job) else { return };
        let Some(work) = open.stages.get_mut(usize::from(stage)) else { return };
        work.answered(shard);
        let Ok((Response::Summary(summary), body)) = outcome else { return };
        if summary.reopened < open.reopened {
            // It was on its way when tasks were opened again.
            return work.ask_summary(core);
        }
        let source = open.manifest.stages[usize::from(stage)].source;
        let ring = match source {
            Source::Shuffle { stage } => open.rings[usize::from(stage)].clone(),
            Source::Inputs => None,
        };
        let owner_of = |p: u16| ring.as_ref().and_then(|r| r.replicas(p).first().copied());
        open.reopened = open.reopened.max(summary.reopened);
        let done = numbers_in_bytes(&body, 0);
        work.hear_summary(core, shard, &summary, done, owner_of);
    }

    /// Who enters a shard of this worker's asks for the claims in it.
    pub(super) fn standings(&self, now: Time, job: &JobId, stage: u8, shard: u16) -> Option<Vec<(PeerKey, Claim)>> {
        self.jobs.get(job)?.stages.get(usize::from(stage))?.standings(now, shard)
    }

    /// Someone in a shard that this worker entered told of the claims in it.
    pub(super) fn on_standings(
        &mut self,
        core: &Core,
        job: &JobId,
        (stage, shard): (u8, u16),
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        let Some(stage) = self.stage(job, stage) else { return };
        match outcome {
            Ok((Response::Claims(standings), _)) => stage.hear_standings(core, shard, Some(&standings)),
            _ => stage.hear_standings(core, shard, None),
        }
    }

    /// Another worker's standing.
    pub(super) fn on_claim(&mut self, core: &mut Core, from: PeerKey, claim: &Claim) {
        let Some(job) = self.jobs.get_mut(&claim.job) else { return };
        if let Some(stage) = job.stages.get_mut(usize::from(claim.stage)) {
            stage.hear(core, from, claim);
        }
    }

    /// Partitions were sealed by whoever owns them under the newest epoch.
    pub(super) fn on_seals(&mut self, core: &mut Core, from: PeerKey, seals: &Seals) {
        let Some(job) = self.jobs.get_mut(&seals.job) else { return };
        let Some(Some(ring)) = job.rings.get(usize::from(seals.stage)) else { return };
        if seals.epoch == job.epoch.number && seals.seals.iter().all(|&(p, _)| ring.owns(from, p)) {
            job.stages.iter_mut().for_each(|stage| stage.hear_seals(core, from, seals));
        }
    }

    pub(super) fn on_broken(&mut self, core: &mut Core, peer: &PeerKey) {
        self.jobs.values_mut().flat_map(|j| &mut j.stages).for_each(|s| s.lost(core, peer, false));
    }

    pub(super) fn on_goodbye(&mut self, core: &mut Core, peer: &PeerKey) {
        self.jobs.values_mut().flat_map(|j| &mut j.stages).for_each(|s| s.lost(core, peer, true));
    }

    /// Releases every claim.
    pub(super) fn leave(&mut self, core: &mut Core) {
        self.enabled = false;
        for (id, job) in &mut self.jobs {
            job.stages.iter_mut().filter(|s| s.is_busy()).for_each(|s| s.leave(core));
            job.active = false;
            core.act(Action::StopRuns { job: *id });
        }
    }
}

impl WorkerJob {
    fn new(now: Time, manifest: &Arc<Manifest>, epoch: &Arc<Epoch>, done: Vec<u32>, reopened: u32) -> Self {
        let index = if manifest.inputs == Inputs::Numbers { Have::Yes } else { Have::No };
        Self {
            rings: rings(manifest, epoch),
            manifest: manifest.clone(),
            epoch: epoch.clone(),
            module: Have::No,
            index,
            layout: None,
            stages: Vec::new(),
            waiting: BTreeMap::new(),
            outputs: BTreeMap::new(),
            outputs_at: Time::NEVER,
            opened: now,
            served: 0,
            done,
            reopened,
            active: false,
        }
    }

    fn is_set_up(&self) -> bool {
        self.module == Have::Yes && self.index == Have::Yes
    }

    /// What many ask for: module and index.
    fn shared_blobs(&self) -> impl Iterator<Item = Hash> {
        let index = match &self.manifest.inputs {
            Inputs::Packs { index, .. } => Some(index.hash),
            Inputs::Numbers => None,
        };
        std::iter::once(self.manifest.module.hash).chain(index)
    }

    fn retry_at(&self) -> Option<Time> {
        let at = |have| if let Have::Retry(at) = have { Some(at) } else { None };
        at(self.module).into_iter().chain(at(self.index)).min()
    }

    /// Asks for module and index until they are here.
    fn set_up(&mut self, core: &mut Core, blobs: &mut Blobs) {
        let wanted = |have: Have| have == Have::No || matches!(have, Have::Retry(at) if at <= core.now);
        let (module, index) = (wanted(self.module), wanted(self.index));
        if module {
            self.module = Have::Asked;
            blobs.fetch(core, self.manifest.module.hash, self.manifest.home, Some(BlobClass::Module));
        }
        if let Inputs::Packs { index: blob, .. } = &self.manifest.inputs
            && index
        {
            self.index = Have::Asked;
            blobs.fetch(core, blob.hash, self.manifest.home, Some(BlobClass::Index));
        }
    }

    fn take_blob(&mut self, now: Time, hash: Hash, bytes: Option<&Bytes>) {
        let retry = Have::Retry(now + RETRY_INPUT);
        if hash == self.manifest.module.hash && self.module != Have::Yes {
            self.module = if bytes.is_some() { Have::Yes } else { retry };
        }
        let Inputs::Packs { index, .. } = &self.manifest.inputs else { return };
        if hash == index.hash && self.index != Have::Yes {
            let parsed = bytes.and_then(|b| codec::decode::<Index>(b).ok()).map(Layout::new);
            // An index that does not fit its manifest is of no use; nor would it be on a second try.
            let fits = parsed.filter(|layout| layout.tasks() == self.manifest.stages[0].tasks);
            self.index = if fits.is_some() { Have::Yes } else { retry };
            self.layout = fits.map(Arc::new);
        }
    }

    fn next_unit(&mut self, now: Time, long: bool) -> Option<Unit> {
        let unacked: usize = self.stages.iter().map(|s| s.outbox.bytes()).sum::<usize>()
            + self.outputs.values().map(|o| o.bytes.len()).sum::<usize>();
        if unacked > limits::UNACKED_BYTES {
            return None;
        }
        let layout = self.layout.clone();
        self.stages.iter_mut().rev().filter(|stage| long || !stage.is_long()).find_map(|stage| {
            let reads_inputs = stage.number == 0;
            stage.next_unit(now, layout.as_deref().filter(|_| reads_inputs))
        })
    }

    fn take_result(&mut self, core: &mut Core, id: JobId, stage: u8, result: TaskResult) {
        let task = result.task;
        let work = &mut self.stages[usize::from(stage)];
        match result.outcome {
            Ok(TaskOutput::Shuffle(attempt)) => {
                if let Some(ring) = &self.rings[usize::from(stage)] {
                    work.outbox.add(core.now, task, attempt, ring);
                }
            }
            Ok(TaskOutput::Collect { digest, bytes }) => {
                let root = work.reads(task).map(|(_, _, root, _)| root);
                self.outputs.insert((stage, task), Output { digest, root, bytes, send_at: core.now });
                self.outputs_at = core.now;
            }
            Err(failure) => {
                work.task_failed(core.now, task, RETRY_HERE);
                let failure = Failure {
                    job: id,
                    stage,
                    task,
                    document: failure.document,
                    why: cut_text(failure.why),
                    worker_fault: failure.worker_fault,
                };
                core.request(self.manifest.home, Request::Failed(failure), vec![], Pending::Ignored);
            }
        }
    }

    fn send_outputs(&mut self, core: &mut Core, id: JobId) {
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
            let (digest, root) = (output.digest, output.root);
            let request = Request::Output { job: id, stage, task, digest, root };
            core.request(
                self.manifest.home,
                request,
                vec![output.bytes.clone()],
                Pending::Output { job: id, stage, task },
            );
        }
    }

    fn new_epoch(&mut self, now: Time, epoch: &Arc<Epoch>) {
        self.epoch = epoch.clone();
        self.rings = rings(&self.manifest, epoch);
        for stage in &mut self.stages {
            if let Some(ring) = &self.rings[usize::from(stage.number)] {
                stage.outbox.redirect(now, ring);
            }
            if let Source::Shuffle { stage: from } = self.manifest.stages[usize::from(stage.number)].source {
                let ring = self.rings[usize::from(from)].as_ref();
                stage.new_epoch(now, |p| ring.and_then(|r| r.replicas(p).first().copied()));
            }
        }
    }
}

/// The holders of each stage's shuffle.
fn rings(manifest: &Manifest, epoch: &Epoch) -> Vec<Option<Assignment>> {
    let ring = Ring::new(epoch);
    let stages = manifest.stages.iter().enumerate();
    stages.map(|(i, s)| s.shuffle().map(|(p, _)| ring.owners(i as u8, p, manifest.replicas))).collect()
}

/// Counts who listens to a topic; the first and the last matter to the network.
fn listen(topics: &mut BTreeMap<Topic, u32>, core: &mut Core, topic: Topic, on: bool) {
    let count = topics.entry(topic).or_default();
    if on {
        *count += 1;
        if *count == 1 {
            core.act(Action::Subscribe { topic, on });
        }
    } else {
        *count = count.saturating_sub(1);
        if *count == 0 {
            topics.remove(&topic);
            core.act(Action::Subscribe { topic, on });
        }
    }
}

/// Takes a served bucket apart: each task's records stand behind their `u32` length.
fn split_records(body: &Bytes) -> Option<Vec<Bytes>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let head = body.get(at..at + 4)?;
        let len = u32::from_le_bytes(head.try_into().ok()?) as usize;
        let end = (at + 4).checked_add(len).filter(|&end| end <= body.len())?;
        records.push(body.slice(at + 4..end));
        at = end;
    }
    Some(records)
}

/// Cuts a text to what a message may carry.
fn cut_text(mut text: String) -> String {
    let end = text.floor_char_boundary(limits::TEXT_BYTES);
    text.truncate(end);
    text
}
