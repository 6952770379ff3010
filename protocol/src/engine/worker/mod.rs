//! The worker: chooses between jobs, fetches what tasks need, runs them, and brings their output home.

mod capacity;
mod choice;
mod inputs;
mod job;
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
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{NetAction, ReadId, RunAction, RunId, TaskResult};
use crate::limits;
use crate::manifest::Manifest;
use crate::membership::Advert;
use crate::message::{Claim, Gossip, Request, Seals, Standing, Topic};
use crate::ranges::BitSet;
use crate::time::Time;
use crate::version;

/// The pause after a task failed here, when nobody else could try it.
const RETRY_HERE: Duration = Duration::from_millis(100);
/// The pause after an input or an answer could not be had.
const RETRY_INPUT: Duration = Duration::from_millis(500);
/// The pause after this peer could not run a task at all.
const RETRY_MODULE: Duration = Duration::from_secs(2);
/// Units that wait for a pack for longer do not keep this worker from other work.
const PACK_SOON: Duration = Duration::from_secs(3);
/// Units that wait for longer are left to others: long enough for the largest pack over a slow line.
const PACK_WAIT: Duration = Duration::from_secs(60);
/// Where pushes fail again and again, the authority is asked before long.
const SUMMARY_TROUBLE: Duration = Duration::from_secs(5);
/// So is it after an answer under another epoch than the one known here, which is on its way.
const SUMMARY_AGAIN: Duration = Duration::from_millis(500);
/// Places offered for jobs that are not open yet.
const PLACES: usize = 64;

/// This peer as a worker.
#[derive(Debug)]
pub(super) struct Worker {
    threads: u32,
    memory: Memory,
    enabled: bool,
    jobs: BTreeMap<JobId, WorkerJob>,
    running: BTreeMap<RunId, Running>,
    /// Units of which a port is read from this peer's own segment store.
    reads: BTreeMap<ReadId, Fetch>,
    /// Units that wait for a pack, a bucket or a module.
    fetching: usize,
    packs: Packs,
    /// Module and index of each job that others may ask this peer for.
    shared: BTreeMap<JobId, Vec<Hash>>,
    topics: BTreeMap<Topic, u32>,
    /// Topics that are listened to for jobs of this peer's own, which it does not work on itself.
    heard: BTreeMap<JobId, Vec<Topic>>,
    places: BTreeMap<JobId, (u32, u32)>,
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
    /// Microseconds that it will take yet, as far as that is known.
    estimate: u64,
    /// Tasks that ended, counted from the unit's first.
    ended: BitSet,
}

impl Running {
    fn new(job: JobId, unit: Unit, estimate: u64) -> Self {
        Self { job, estimate, ended: BitSet::new(unit.tasks.len() as u32), unit }
    }

    /// Notes that a task ended; says whether it is one that had not.
    fn ends(&mut self, task: u32) -> bool {
        task.checked_sub(self.unit.tasks.start).is_some_and(|nth| self.ended.insert(nth))
    }

    /// Tasks that have not ended.
    fn unended(&self) -> impl Iterator<Item = u32> + '_ {
        self.ended.iter_missing().map(|nth| self.unit.tasks.start + nth)
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
            heard: BTreeMap::new(),
            places: BTreeMap::new(),
            started: 0,
            passed: 0,
            turns: Turns::default(),
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

    /// How many places wait for their jobs.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// Listens to every claim for as long as this peer lives: tabs around a relay hear each other through it alone, and
    /// gossip is passed on by those who listen.
    pub(super) fn pass_on_claims(&mut self, core: &mut Core) {
        (0..limits::CLAIM_TOPICS).for_each(|n| listen(&mut self.topics, core, Topic::Claims(n), true));
    }

    /// Listens to the claims of an own job, so that its authority hears who works on it. Workers of a stage with several
    /// shards ask the authority about theirs, and of so many not every word could be heard.
    fn listen_to_workers(&mut self, core: &mut Core, job: JobId, manifest: &Manifest) {
        let stages = manifest.stages.iter().zip(0u8..).filter(|(stage, _)| stage.shards == 1);
        let topics: BTreeSet<Topic> = stages.map(|(_, number)| Topic::of_shard(job, number, 0)).collect();
        for &topic in &topics {
            listen(&mut self.topics, core, topic, true);
        }
        self.heard.insert(job, topics.into_iter().collect());
    }

    /// Something about a job changed.
    pub(super) fn on_job(&mut self, core: &mut Core, blobs: &mut Blobs, job: &JobId, change: &Change) {
        match change {
            Change::Open { manifest, epoch, done, reopened, .. } => {
                let opened = WorkerJob::new(core.now, manifest, epoch, done.clone(), *reopened);
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
                self.leave_lost_owners(core, *job, epoch);
            }
            Change::Reopened(count) => {
                if let Some(open) = self.jobs.get_mut(job).filter(|j| j.reopened < *count) {
                    open.reopened = *count;
                    open.stages.iter_mut().for_each(|s| s.ask_summary(core));
                }
            }
            Change::Over => {
                if let Some(over) = self.jobs.remove(job) {
                    let owner = over.manifest.owner;
                    self.close(core, blobs, *job, over);
                    if self.jobs.values().all(|j| j.manifest.owner != owner) {
                        self.turns.forget(&owner);
                    }
                    self.activate(core, blobs);
                }
                self.places.remove(job);
                for topic in self.heard.remove(job).unwrap_or_default() {
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

    /// A job can be worked on; this worker takes part in it if it may.
    fn open(&mut self, core: &mut Core, blobs: &mut Blobs, job: JobId, opened: WorkerJob) {
        let (home, stages) = (opened.manifest.home, &opened.manifest.stages);
        // Peers ask for these at the home, and at every peer that has fetched them.
        if self.enabled || home == core.me {
            opened.shared_blobs().for_each(|hash| blobs.share(hash));
            self.shared.insert(job, opened.shared_blobs().collect());
        }
        if self.enabled && stages.iter().any(|s| s.limits.memory > self.memory.tasks) {
            // A peer with more memory may run it; the job's home hears why this one does not.
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
        // What another job needs too stays: the same inputs may be submitted twice.
        for hash in std::mem::take(&mut job.waiting).into_keys() {
            if !self.jobs.values().any(|j| j.waiting.contains_key(&hash)) {
                self.packs.drop_pack(&hash);
                blobs.unshare(&hash);
            }
        }
        core.act(RunAction::Stop { job: id });
    }

    /// Goes on with every job: units, claims, output, messages.
    pub(super) fn go_on(&mut self, core: &mut Core, blobs: &mut Blobs, shuffler: &Shuffler) {
        for (id, job) in self.jobs.iter_mut().filter(|(_, j)| j.active) {
            job.set_up(core, blobs);
            job.send_outputs(core, *id);
        }
        // Units leave the queues first, so that claims see what room there is; some claims may start at once.
        self.start_units(core, blobs, shuffler);
        if self.claim(core) {
            self.start_units(core, blobs, shuffler);
        }
        // With nothing left to run, output need not wait for company.
        let idle = self.in_hand() == 0;
        for (id, job) in &mut self.jobs {
            for stage in &mut job.stages {
                stage.outbox.flush(core, *id, stage.number, job.epoch.number, idle);
                stage.speak(core);
            }
        }
        self.say(core);
    }

    /// Says how things stand wherever that is due. What all hear who listen to one shard goes into one message with it:
    /// of many jobs no more messages are made than of one.
    fn say(&mut self, core: &mut Core) {
        let stages = self.jobs.values_mut().filter(|j| j.active).flat_map(|j| &mut j.stages);
        let mut stages: Vec<&mut StageWork> = stages.filter(|s| s.could_say() || s.says()).collect();
        // Those that cannot wait come first, and of these the one with the most workers.
        stages.sort_by_key(|s| Reverse((s.says(), s.table.active_workers())));
        while stages.first().is_some_and(|s| s.says()) {
            let first = stages.remove(0);
            let mut claims = vec![first.say(core)];
            let mut room = limits::GOSSIP_BYTES - claims[0].size();
            stages.retain_mut(|stage| {
                // The largest claim there is takes less than a third of a message.
                let fits = claims.len() < limits::CLAIMS_IN_MESSAGE && room > limits::GOSSIP_BYTES / 2;
                let rides = fits && first.is_heard_by_those_of(core, stage);
                if rides {
                    let claim = stage.say(core);
                    room = room.saturating_sub(claim.size());
                    claims.push(claim);
                }
                !rides
            });
            core.gossip_budget.spend(core.now);
            core.publish(first.topic, Gossip::Claims(claims));
        }
    }

    /// How many workers hear each other in the shards that this one works on, itself included.
    fn company(&self) -> u32 {
        let shared = self.jobs.values().filter(|j| j.active).flat_map(|j| &j.stages).filter(|s| s.is_shared());
        let workers: BTreeSet<PeerKey> = shared.flat_map(|s| s.table.peers()).collect();
        workers.len() as u32 + 1
    }

    /// This peer did nothing for as long as `asleep`. What others have done meanwhile, the authority knows.
    pub(super) fn woke(&mut self, core: &mut Core, asleep: Duration) {
        for stage in self.jobs.values_mut().filter(|job| job.active).flat_map(|job| &mut job.stages) {
            stage.woke(core, asleep);
        }
    }

    pub(super) fn tick(&mut self, core: &mut Core, blobs: &mut Blobs) {
        for stage in self.jobs.values_mut().flat_map(|j| &mut j.stages) {
            stage.lapse(core);
            stage.release_unstarted(core);
        }
        self.go_on_without_late_packs(core);
        core.gossip_budget.set_workers(core.now, self.company());
        self.put_off_idle_jobs(core, blobs);
    }

    /// Blocks claimed, units in hand, finished tasks that are not acknowledged.
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

    /// A stage that this worker takes part in. An answer may come for a job that is over, or that was forgotten,
    /// came back, and waits for its turn.
    fn stage(&mut self, job: &JobId, stage: u8) -> Option<&mut StageWork> {
        self.jobs.get_mut(job)?.stages.get_mut(usize::from(stage))
    }

    /// Tasks of a run ended.
    pub(super) fn on_results(&mut self, core: &mut Core, run: RunId, results: Vec<TaskResult>, last: bool) {
        let Some(mut running) = self.running.remove(&run) else { return };
        let (id, stage) = (running.job, running.unit.stage);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some(ended) = u32::try_from(results.len()).ok().filter(|&n| n > 0) {
            let elapsed: Duration = results.iter().map(|r| r.elapsed).sum();
            self.turns.serve(job.manifest.owner, elapsed.as_micros() as u64);
            running.estimate = running.estimate.saturating_sub(elapsed.as_micros() as u64);
            (job.progressed, job.put_off) = (core.now, 0);
            job.stages[usize::from(stage)].measure(ended, elapsed);
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
        // Whatever kept these from a result, their block must not stay held for ever.
        for task in running.unended() {
            job.stages[usize::from(stage)].task_failed(core.now, task, RETRY_HERE);
        }
    }

    /// Who enters a shard of this worker's asks for the claims in it.
    pub(super) fn standings(&self, core: &Core, job: &JobId, stage: u8, shard: u16) -> Option<Vec<Standing>> {
        self.jobs.get(job)?.stages.get(usize::from(stage))?.standings(core, shard)
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
            core.act(RunAction::Stop { job: *id });
        }
    }
}

/// Counts who listens to a topic; the first and the last matter to the network.
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
