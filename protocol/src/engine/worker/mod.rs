//! The worker: chooses between jobs, fetches the inputs of tasks, runs them, and delivers their output.

mod capacity;
mod choice;
mod confirm;
mod inputs;
mod job;
mod preempt;
mod responses;
#[cfg(test)]
mod tests;
mod turns;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) use self::inputs::Fetch;
use self::job::{Waiting, WorkerJob};
use self::turns::Turns;
use super::Memory;
use super::blobs::Blobs;
use super::core::Core;
use super::jobs::Change;
use super::packs::Packs;
use super::pending::{Pending, WorkerRequest};
use super::shuffler::Shuffler;
use super::stage::{StageWork, Unit};
use super::starting_place::StartingPlace;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{NetAction, ReadId, RunAction, RunId, TaskResult};
use crate::limits;
use crate::manifest::Manifest;
use crate::membership::Advert;
use crate::message::{Cause, Claim, Gossip, Request, Seals, Standing, Topic};
use crate::part::{ShardId, ShardRef, StageRef, TaskId};
use crate::ranges::BitSet;
use crate::time::Time;
use crate::version;

/// Pause before a task that failed here is tried again when no other worker could try it.
const RETRY_HERE: Duration = Duration::from_millis(100);
/// Pause before an input is requested again that could not be fetched.
const RETRY_INPUT: Duration = Duration::from_millis(500);
/// Pause before the module is fetched again after this peer could not run a task at all.
const RETRY_MODULE: Duration = Duration::from_secs(2);
/// How long units wait for a pack before this worker turns to other work.
const PACK_SOON: Duration = Duration::from_secs(3);
/// How long units wait for a pack before they are left to others: enough for the largest pack over a slow line.
const PACK_WAIT: Duration = Duration::from_secs(60);
/// Latest time for asking the authority when pushes keep failing.
const SUMMARY_TROUBLE: Duration = Duration::from_secs(5);
/// Latest time for asking the authority after an answer under an epoch that is unknown here and on its way.
const SUMMARY_AGAIN: Duration = Duration::from_millis(500);
/// Most offered places kept for jobs that are not open yet.
const PLACES: usize = 64;

/// The worker role of this peer.
#[derive(Debug)]
pub(super) struct Worker {
    threads: u32,
    memory: Memory,
    enabled: bool,
    jobs: BTreeMap<JobId, WorkerJob>,
    running: BTreeMap<RunId, Running>,
    /// Units of which a port is being read from this peer's own segment store.
    reads: BTreeMap<ReadId, Fetch>,
    /// Number of units that wait for a pack, a bucket or a module.
    fetching: usize,
    packs: Packs,
    /// Module and index of each job, which other peers may ask this one for.
    shared: BTreeMap<JobId, Vec<Hash>>,
    topics: BTreeMap<Topic, u32>,
    /// Topics subscribed to for jobs of this peer's own in which it does not work itself.
    observed: BTreeMap<JobId, Vec<Topic>>,
    places: BTreeMap<JobId, StartingPlace>,
    started: u64,
    /// Short units in a row that went before a long one.
    passed: u32,
    turns: Turns,
}

/// A unit whose tasks run.
#[derive(Debug)]
struct Running {
    job: JobId,
    unit: Unit,
    /// Estimated microseconds left, as far as known.
    estimate: u64,
    /// The places in the unit of tasks that ended.
    ended: BitSet,
    /// When a thread seems to have begun its current task; `None` while it waits for a thread.
    began: Option<Time>,
}

impl Running {
    fn new(job: JobId, unit: Unit, estimate: u64) -> Self {
        Self { job, estimate, ended: BitSet::new(unit.tasks.len), began: None, unit }
    }

    /// The time since its current task began.
    fn elapsed(&self, now: Time) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.since(began))
    }

    /// Notes that a task ended; returns whether it had not ended before.
    fn ends(&mut self, task: TaskId) -> bool {
        self.unit.tasks.place_of(task).is_some_and(|place| self.ended.insert(place))
    }

    /// Tasks that have not ended.
    fn unended(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.ended.iter_missing().map(|place| self.unit.tasks.nth(place))
    }
}

impl Worker {
    pub(super) fn new(advert: &Advert, memory: Memory) -> Self {
        Self {
            memory,
            threads: u32::from(advert.threads).max(1),
            enabled: advert.roles.worker,
            jobs: BTreeMap::new(),
            running: BTreeMap::new(),
            reads: BTreeMap::new(),
            fetching: 0,
            packs: Packs::default(),
            shared: BTreeMap::new(),
            topics: BTreeMap::new(),
            observed: BTreeMap::new(),
            places: BTreeMap::new(),
            started: 0,
            passed: 0,
            turns: Turns::default(),
        }
    }

    /// Takes the submitter's hint where to start in a job (rule 7).
    pub(super) fn place(&mut self, core: &Core, job: JobId, place: StartingPlace) {
        match self.jobs.get_mut(&job) {
            // Gossip was faster than the offer.
            Some(open) => open.stages.iter_mut().take(1).for_each(|stage| stage.take_place(core, place)),
            None if self.places.len() < PLACES => {
                self.places.insert(job, place);
            }
            None => {}
        }
    }

    /// Number of places kept for jobs that are not open yet.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// Subscribes to all claims for as long as this peer runs: tabs around a relay receive each other's claims only
    /// through it, and only subscribers pass gossip on.
    pub(super) fn pass_on_claims(&mut self, core: &mut Core) {
        (0..limits::CLAIM_TOPICS).for_each(|n| listen(&mut self.topics, core, Topic::Claims(n), true));
    }

    /// Subscribes to the claims of an own job, so that its authority learns which workers take part. Stages with
    /// several shards are left out: their workers ask the authority, and there would be too many messages.
    fn listen_to_workers(&mut self, core: &mut Core, job: JobId, manifest: &Manifest) {
        let stages = manifest.numbered_stages().filter(|(_, described)| described.shards == 1);
        let only_shard = |stage| ShardRef { job, stage, shard: ShardId(0) };
        let topics: BTreeSet<Topic> = stages.map(|(stage, _)| Topic::of_shard(only_shard(stage))).collect();
        for &topic in &topics {
            listen(&mut self.topics, core, topic, true);
        }
        self.observed.insert(job, topics.into_iter().collect());
    }

    /// Handles a change of a job.
    pub(super) fn on_job(&mut self, core: &mut Core, blobs: &mut Blobs, job: &JobId, change: &Change) {
        match change {
            Change::Open { manifest, epoch, done, reopened, .. } => {
                let opened = WorkerJob::new(core, manifest, epoch, done.clone(), *reopened);
                if !self.enabled && manifest.home == core.me {
                    self.listen_to_workers(core, *job, manifest);
                }
                self.open(core, blobs, *job, opened);
            }
            Change::Newer { home } if self.enabled => {
                let (memory, minor) = (self.memory.tasks, Some(version::MINOR));
                core.request(*home, Request::Decline { job: *job, memory, minor }, vec![], Pending::Ignored);
            }
            Change::Newer { .. } => {}
            Change::Epoch { epoch, .. } => {
                if let Some(open) = self.jobs.get_mut(job) {
                    open.new_epoch(core.now, epoch);
                }
                self.abandon_lost_owners(core, *job, epoch);
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
                    self.turns.retain(self.jobs.values().map(|j| j.origin));
                    self.activate(core, blobs);
                }
                self.places.remove(job);
                for topic in self.observed.remove(job).unwrap_or_default() {
                    listen(&mut self.topics, core, topic, false);
                }
                for hash in self.shared.remove(job).unwrap_or_default() {
                    if !self.shared.values().flatten().any(|h| *h == hash) {
                        blobs.unshare(&hash);
                    }
                }
            }
        }
    }

    /// Opens a job that can be worked on; this worker takes part in it if its limits allow.
    fn open(&mut self, core: &mut Core, blobs: &mut Blobs, job: JobId, opened: WorkerJob) {
        let (home, stages) = (opened.manifest.home, &opened.manifest.stages);
        // Other peers ask for these blobs at the home and at every peer that has fetched them.
        if self.enabled || home == core.me {
            opened.shared_blobs().for_each(|hash| blobs.share(hash));
            self.shared.insert(job, opened.shared_blobs().collect());
        }
        if self.enabled && stages.iter().any(|s| s.limits.memory > self.memory.tasks) {
            // A peer with more memory may run it; the job's home learns why this one does not.
            let decline = Request::Decline { job, memory: self.memory.tasks, minor: None };
            core.request(home, decline, vec![], Pending::Ignored);
        } else if self.enabled {
            self.jobs.insert(job, opened);
            self.activate(core, blobs);
        }
    }

    fn close(&mut self, core: &mut Core, blobs: &mut Blobs, id: JobId, mut job: WorkerJob) {
        for stage in &job.stages {
            listen(&mut self.topics, core, stage.listening, false);
        }
        self.fetching -= job.waiting.values().map(Waiting::in_hand).sum::<usize>();
        let reads_bucket = |p: &Pending| matches!(p, Pending::Worker(WorkerRequest::Bucket(fetch)) if fetch.job == id);
        let buckets = core.pending.values_mut().filter(|p| reads_bucket(p));
        for pending in buckets {
            *pending = Pending::Ignored;
            self.fetching -= 1;
        }
        self.reads.retain(|_, fetch| {
            fetch.job != id || {
                self.fetching -= 1;
                false
            }
        });
        self.running.retain(|_, running| running.job != id);
        // Blobs that another job needs stay: the same inputs may be submitted twice.
        for hash in std::mem::take(&mut job.waiting).into_keys() {
            if !self.jobs.values().any(|j| j.waiting.contains_key(&hash)) {
                self.packs.drop_pack(&hash);
                blobs.unshare(&hash);
            }
        }
        core.act(RunAction::Stop { job: id });
    }

    /// Drives every job: units, claims, output, messages.
    pub(super) fn drive(&mut self, core: &mut Core, blobs: &mut Blobs, shuffler: &Shuffler) {
        for (id, job) in self.jobs.iter_mut().filter(|(_, j)| j.active) {
            job.set_up(core, blobs);
            job.send_outputs(core, *id);
        }
        // Units leave the queues first, so that claims see the free room; some claims may start at once.
        self.start_units(core, blobs, shuffler);
        if self.claim(core) {
            self.start_units(core, blobs, shuffler);
        }
        // With nothing left to run, outputs are sent without waiting for more.
        let idle = self.in_hand() == 0;
        for job in self.jobs.values_mut() {
            for stage in &mut job.stages {
                stage.outbox.flush(core, stage.id, job.epoch.number, idle);
                stage.check_timers(core);
            }
        }
        self.publish_claims(core);
    }

    /// Publishes this worker's state where that is due. States that all listeners of one shard receive anyway share one
    /// message, so that many jobs need no more messages than one.
    fn publish_claims(&mut self, core: &mut Core) {
        let stages = self.jobs.values_mut().filter(|j| j.active).flat_map(|j| &mut j.stages);
        let mut stages: Vec<&mut StageWork> = stages.filter(|s| s.has_update() || s.must_publish()).collect();
        // Stages that cannot wait come first, and of these the one with the most workers.
        stages.sort_by_key(|s| Reverse((s.must_publish(), s.table.active_workers())));
        while stages.first().is_some_and(|s| s.must_publish()) {
            let first = stages.remove(0);
            let mut claims = vec![first.next_claim(core)];
            let mut room = limits::GOSSIP_BYTES - claims[0].size();
            stages.retain_mut(|stage| {
                // The largest claim takes less than a third of a message.
                let fits = claims.len() < limits::CLAIMS_IN_MESSAGE && room > limits::GOSSIP_BYTES / 2;
                let rides = fits && first.reaches_workers_of(core, stage);
                if rides {
                    let claim = stage.next_claim(core);
                    room = room.saturating_sub(claim.size());
                    claims.push(claim);
                }
                !rides
            });
            core.gossip_budget.spend(core.now);
            core.publish(first.topic, Gossip::Claims(claims));
        }
    }

    /// Number of workers that hear each other in the shards of this one, itself included.
    fn workers_in_reach(&self) -> u32 {
        let shared = self.jobs.values().filter(|j| j.active).flat_map(|j| &j.stages).filter(|s| s.is_shared());
        let workers: BTreeSet<PeerKey> = shared.flat_map(|s| s.table.peers()).collect();
        workers.len() as u32 + 1
    }

    /// Resumes after this peer did not run for as long as `asleep`; asks the authority what others have done meanwhile.
    pub(super) fn on_resumed(&mut self, core: &mut Core, asleep: Duration) {
        for stage in self.jobs.values_mut().filter(|job| job.active).flat_map(|job| &mut job.stages) {
            stage.on_resumed(core, asleep);
        }
    }

    pub(super) fn tick(&mut self, core: &mut Core, blobs: &mut Blobs) {
        for stage in self.jobs.values_mut().flat_map(|j| &mut j.stages) {
            stage.lapse(core);
            stage.release_unstarted(core);
        }
        // A home's network is known once it is connected.
        self.jobs.values_mut().for_each(|job| job.origin = core.origin(job.manifest.home, job.manifest.owner));
        self.preempt(core);
        self.set_late_packs_aside(core);
        core.gossip_budget.set_workers(core.now, self.workers_in_reach());
        self.postpone_idle_jobs(core, blobs);
    }

    /// Number of blocks claimed, of units in hand, and of finished tasks that are not acknowledged.
    pub(super) fn load(&self) -> (usize, usize, usize) {
        let stages = || self.jobs.values().flat_map(|j| &j.stages);
        let claims = stages().map(|s| s.table.held() as usize).sum();
        let outputs: usize = self.jobs.values().map(|j| j.outputs.len()).sum();
        let attempts = stages().map(|s| s.outbox.len()).sum::<usize>() + outputs;
        (claims, self.in_hand(), attempts)
    }

    pub(super) fn deadline(&self, core: &Core) -> Time {
        let jobs = self.jobs.values().filter(|j| j.active);
        jobs.flat_map(|job| {
            let stages = job.stages.iter().filter(|_| job.is_set_up()).map(|s| s.deadline(core, self.threads));
            stages.chain([job.outputs_at]).chain(job.retry_at())
        })
        .min()
        .unwrap_or(Time::NEVER)
    }

    /// A stage in which this worker takes part. `None` for answers that arrive after a job is over, or after it was
    /// forgotten, came back and waits for a place.
    fn stage(&mut self, of: StageRef) -> Option<&mut StageWork> {
        self.jobs.get_mut(&of.job)?.stages.get_mut(of.stage.index())
    }

    /// Handles results of tasks of a run.
    pub(super) fn on_results(&mut self, core: &mut Core, run: RunId, results: Vec<TaskResult>, last: bool) {
        let Some(mut running) = self.running.remove(&run) else { return };
        let (id, stage) = (running.job, running.unit.stage);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        // A unit whose module cannot be loaded has not begun.
        job.begun |= results.iter().all(|r| !matches!(&r.outcome, Err(failure) if failure.cause == Cause::Worker));
        if let Some(ended) = u32::try_from(results.len()).ok().filter(|&n| n > 0) {
            let elapsed: Duration = results.iter().map(|r| r.elapsed).sum();
            self.turns.serve(&job.origin, elapsed.as_micros() as u64);
            running.began = running.began.map(|_| core.now);
            running.estimate = running.estimate.saturating_sub(elapsed.as_micros() as u64);
            (job.progressed, job.postponed) = (core.now, 0);
            job.stages[stage.index()].measure(ended, elapsed);
        }
        for result in results {
            if running.ends(result.task) {
                job.take_result(core, id, &running.unit, result);
            }
        }
        if !last {
            self.running.insert(run, running);
            return;
        }
        // These tasks gave no result for some reason; their blocks must not be held for ever.
        for task in running.unended() {
            job.stages[stage.index()].task_failed(core.now, task, RETRY_HERE);
        }
    }

    /// The claims in a shard of this worker's, for a worker that enters it.
    pub(super) fn standings(&self, core: &Core, of: ShardRef) -> Option<Vec<Standing>> {
        self.jobs.get(&of.job)?.stages.get(of.stage.index())?.standings(core, of.shard)
    }

    /// Handles another worker's message about its claims.
    pub(super) fn on_claim(&mut self, core: &mut Core, from: PeerKey, claim: &Claim) {
        let Some(job) = self.jobs.get_mut(&claim.job) else { return };
        if let Some(stage) = job.stages.get_mut(claim.stage.index()) {
            stage.on_claim(core, from, claim);
        }
    }

    /// Handles seals from the owner of partitions under the newest epoch.
    pub(super) fn on_seals(&mut self, core: &mut Core, from: PeerKey, seals: &Seals) {
        let Some(job) = self.jobs.get_mut(&seals.job) else { return };
        let Some(Some(ring)) = job.rings.get(seals.stage.index()) else { return };
        if seals.epoch == job.epoch.number && seals.seals.iter().all(|&(p, _)| ring.owns(from, p)) {
            job.stages.iter_mut().for_each(|stage| stage.on_seals(core, from, seals));
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
            core.act(RunAction::Stop { job: *id });
        }
    }
}

/// Counts the subscribers of a topic within this worker; the network learns of the first and the last.
fn listen(topics: &mut BTreeMap<Topic, u32>, core: &mut Core, topic: Topic, on: bool) {
    let count = topics.entry(topic).or_default();
    if on {
        *count += 1;
        if *count == 1 {
            core.act(NetAction::Subscribe { topic, on });
        }
    } else {
        *count = count.saturating_sub(1);
        if *count == 0 {
            topics.remove(&topic);
            core.act(NetAction::Subscribe { topic, on });
        }
    }
}
