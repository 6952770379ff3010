//! The authority: signs the few facts on which all must agree, for the jobs that were submitted here (rule 1).
//!
//! It schedules nothing. It learns from shufflers which attempts they hold, accepts one digest a task, makes a
//! new epoch when a shuffler is lost, takes the results, and says when a job is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::core::{Core, Pending};
use super::jobs::Jobs;
use crate::epoch::{Epoch, Shuffler};
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Action, Notice, Progress, Submission, Token};
use crate::limits;
use crate::manifest::{Inputs, Manifest, Sink, Source, partition_of_bucket};
use crate::message::{Announce, Attempts, End, Failure, Gossip, Outcome, Request, Response, ShardLeft, Summary, Topic};
use crate::ranges::BitSet;
use crate::ring::{Assignment, Ring};
use crate::sign::{Keypair, Signed};
use crate::time::Time;

/// A shuffler for each so many input bytes, within the bounds of rule 2.
const BYTES_PER_SHUFFLER: u64 = 64 << 20;
/// Acceptances are gathered for so long.
const ACCEPT_DELAY: Duration = Duration::from_millis(10);
/// Attempts in one acceptance.
const ACCEPT_ATTEMPTS: usize = 8192;
/// A shuffler whose connection broke may come back for so long before the next epoch goes on without it.
const SHUFFLER_GRACE: Duration = Duration::from_millis(1_500);
/// A shuffler that is not connected when it is named has so long to be reached.
const SHUFFLER_DIAL: Duration = Duration::from_secs(5);
/// After a new epoch, when nothing has been committed for so long, tasks that lack segments are opened again:
/// until then replicas may come forward, and new owners pull from them.
const REOPEN_AFTER: Duration = Duration::from_millis(2_500);
/// A message that was not taken is sent again after so long.
const RETRY: Duration = Duration::from_millis(300);
/// An acceptance that a shuffler did not take so often in a row: it is lost.
const LOST_AFTER: u32 = 10;
/// Progress is told to the user this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Peers that are offered a new job directly.
const OFFERS: usize = 32;
/// Workers kept apart for the count that users see, and for who failed what.
const WORKERS: usize = 4096;
/// Workers of a shard that are remembered as those whom others may meet.
const SOME: usize = 3 * limits::SHARD_PEERS;
/// Tasks whose failures are remembered; more at a time end the job: it cannot succeed.
const FAILED_TASKS: usize = 4096;

/// The jobs that were submitted at this peer.
#[derive(Debug, Default)]
pub(super) struct Authority {
    jobs: BTreeMap<JobId, Job>,
}

#[derive(Debug)]
struct Job {
    id: JobId,
    manifest: Manifest,
    signed: Signed<Manifest>,
    key: Keypair,
    epoch: Epoch,
    signed_epoch: Signed<Epoch>,
    stages: Vec<Stage>,
    reopened: u32,
    submitted: Time,
    announce_at: Time,
    progress_at: Time,
    workers: BTreeSet<PeerKey>,
    failed: BTreeMap<(u8, u32), Vec<PeerKey>>,
    failures: u32,
    /// Shufflers whose connection broke, with when they are given up.
    missing: BTreeMap<PeerKey, Time>,
    /// Shufflers that were given up and have not come back since.
    gone: BTreeSet<PeerKey>,
    offered: BTreeSet<PeerKey>,
}

#[derive(Debug)]
struct Stage {
    done: BitSet,
    shuffle: Option<Shuffle>,
    /// Outputs on their way to this peer's disk, with who waits for the answer.
    storing: BTreeMap<u32, Vec<Token>>,
    shards: Vec<Shard>,
    /// In which shard each worker was last heard of.
    at: BTreeMap<PeerKey, u16>,
}

/// Who works on one shard.
#[derive(Clone, Debug, Default)]
struct Shard {
    workers: u16,
    /// Some of them, the latest last.
    some: Vec<PeerKey>,
}

/// What is known of one stage's shuffle.
#[derive(Debug)]
struct Shuffle {
    ring: Assignment,
    /// The accepted digest of each task: the first that an owner committed.
    digests: Vec<Hash>,
    /// Which tasks' segments each partition's owner holds.
    held: Vec<BitSet>,
    /// How many partitions lack each task.
    lacking: Vec<u16>,
    sealed: BTreeMap<u16, Hash>,
    accept: Vec<(u32, Hash)>,
    accept_at: Time,
    accept_failed: Vec<(Time, PeerKey, Attempts)>,
    tries: BTreeMap<PeerKey, u32>,
    /// When tasks that lost their segments are opened again.
    reopen_at: Time,
}

const NONE: Hash = Hash([0; 32]);

impl Authority {
    /// Signs, announces and offers a job.
    ///
    /// Gives the job and how many places to begin were given away, this peer's included if it works.
    pub(super) fn submit(&mut self, core: &mut Core, jobs: &mut Jobs, submission: Submission) -> Option<(JobId, u32)> {
        let Submission { mut manifest, key } = submission;
        manifest.owner = key.public();
        manifest.home = core.me;
        let check = crate::codec::Wire::check(&manifest);
        if let Err(why) = check {
            core.act(Action::Notify(Notice::SubmitRefused { why: format!("the job has {why}") }));
            return None;
        }
        let signed = key.sign(&manifest);
        let id = Manifest::id_of(&signed);
        let epoch = Epoch { job: id, number: 0, shufflers: choose_shufflers(core, &manifest, &BTreeSet::new()) };
        let signed_epoch = key.sign(&epoch);
        let ring = Ring::new(&epoch);
        let stages = manifest.stages.iter().enumerate().map(|(i, stage)| Stage {
            done: BitSet::new(stage.tasks),
            shuffle: stage
                .shuffle()
                .map(|(partitions, _)| Shuffle::new(ring.owners(i as u8, partitions, manifest.replicas), stage.tasks)),
            storing: BTreeMap::new(),
            shards: vec![Shard::default(); usize::from(stage.shards)],
            at: BTreeMap::new(),
        });
        let job = Job {
            id,
            stages: stages.collect(),
            signed,
            key,
            epoch,
            signed_epoch,
            reopened: 0,
            submitted: core.now,
            announce_at: core.now,
            progress_at: core.now,
            workers: BTreeSet::new(),
            failed: BTreeMap::new(),
            failures: 0,
            missing: BTreeMap::new(),
            gone: BTreeSet::new(),
            offered: BTreeSet::new(),
            manifest,
        };
        jobs.enter_own(core, job.signed.clone(), job.announce(core.now));
        let job = self.jobs.entry(id).or_insert(job);
        job.expect_shufflers(core);
        core.act(Action::Notify(Notice::Submitted { job: id }));
        Some((id, job.offer_to_many(core)))
    }

    pub(super) fn offer_all_jobs(&mut self, core: &mut Core, peer: PeerKey) {
        for job in self.jobs.values_mut().filter(|j| j.offered.len() < WORKERS && !j.offered.contains(&peer)) {
            job.offer(core, peer, None);
        }
    }

    pub(super) fn on_connected(&mut self, peer: PeerKey) {
        self.jobs.values_mut().for_each(|job| {
            job.missing.remove(&peer);
            job.gone.remove(&peer);
        });
    }

    pub(super) fn on_disconnected(&mut self, core: &Core, peer: PeerKey) {
        for job in self.jobs.values_mut() {
            job.offered.remove(&peer);
            job.stages.iter_mut().for_each(|stage| stage.leaves(&peer));
            if job.epoch.shufflers.iter().any(|s| s.peer == peer) {
                job.missing.entry(peer).or_insert(core.now + SHUFFLER_GRACE);
            }
        }
    }

    pub(super) fn on_goodbye(&mut self, core: &mut Core, peer: PeerKey) {
        for job in self.jobs.values_mut() {
            job.stages.iter_mut().for_each(|stage| stage.leaves(&peer));
            if job.epoch.shufflers.iter().any(|s| s.peer == peer) {
                job.missing.insert(peer, core.now);
            }
        }
    }

    /// A shuffler holds attempts.
    #[expect(clippy::too_many_arguments, reason = "all of it names one commit")]
    pub(super) fn on_commit(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        id: JobId,
        stage: u8,
        epoch: u32,
        partitions: &[u16],
        attempts: &Attempts,
    ) -> Response {
        let Some(job) = self.jobs.get_mut(&id) else { return Response::Missing };
        if epoch != job.epoch.number {
            return Response::NotOwner(job.signed_epoch.clone());
        }
        let Some(of) = job.stages.get_mut(usize::from(stage)) else { return Response::Missing };
        let Some(shuffle) = &mut of.shuffle else { return Response::Missing };
        let owned: Vec<u16> = shuffle.ring.partitions_of(from).collect();
        let meant: Vec<u16> = owned.into_iter().filter(|p| partitions.is_empty() || partitions.contains(p)).collect();
        for (task, digest) in attempts.iter() {
            if shuffle.commit(core.now, task, digest, &meant) {
                of.done.insert(task);
                if shuffle.accept_at == Time::NEVER {
                    shuffle.accept_at = core.now + ACCEPT_DELAY;
                }
            }
        }
        if of.done.is_full() {
            shuffle.accept_at = shuffle.accept_at.min(core.now);
        }
        Response::Ok
    }

    /// A shuffler sealed a partition.
    #[expect(clippy::too_many_arguments, reason = "all of it names one seal")]
    pub(super) fn on_sealed(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        id: JobId,
        stage: u8,
        epoch: u32,
        partition: u16,
        root: Hash,
    ) -> Response {
        let Some(job) = self.jobs.get_mut(&id) else { return Response::Missing };
        if epoch != job.epoch.number {
            return Response::NotOwner(job.signed_epoch.clone());
        }
        let shuffle = job.stages.get_mut(usize::from(stage)).and_then(|s| s.shuffle.as_mut());
        let Some(shuffle) = shuffle.filter(|s| s.ring.owns(from, partition)) else { return Response::Missing };
        if shuffle.lacking.iter().any(|&n| n > 0) {
            core.log(format!("{} sealed partition {partition} of job {} too early", from.short(), id.short()));
            return Response::Busy;
        }
        shuffle.sealed.insert(partition, root);
        Response::Ok
    }

    /// The result of a collecting stage's task arrives.
    #[expect(clippy::too_many_arguments, reason = "all of it names one result")]
    pub(super) fn on_output(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        token: Token,
        (id, stage, task): (JobId, u8, u32),
        digest: Hash,
        root: Option<Hash>,
        body: Bytes,
    ) {
        let answer = match self.jobs.get_mut(&id) {
            None => Some(Response::Missing),
            Some(job) => job.take_output(core, from, token, (stage, task), digest, root, body),
        };
        if let Some(answer) = answer {
            core.respond(token, answer);
        }
    }

    /// A result lies on disk, or cannot.
    pub(super) fn on_stored(
        &mut self,
        core: &mut Core,
        jobs: &mut Jobs,
        id: JobId,
        task: u32,
        result: Result<(), String>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(stage) = job.stages.iter_mut().find(|s| s.storing.contains_key(&task)) else { return };
        let tokens = stage.storing.remove(&task).unwrap_or_default();
        match result {
            Ok(()) => {
                stage.done.insert(task);
                tokens.into_iter().for_each(|t| core.respond(t, Response::Ok));
            }
            Err(why) => {
                tokens.into_iter().for_each(|t| core.respond(t, Response::Busy));
                self.end(core, jobs, id, Outcome::Failed(format!("the result cannot be stored: {why}")), None);
            }
        }
    }

    /// A job cannot succeed, for a reason of this peer's own.
    pub(super) fn fail(&mut self, core: &mut Core, jobs: &mut Jobs, id: JobId, why: String) {
        self.end(core, jobs, id, Outcome::Failed(why), None);
    }

    /// Inputs cannot be read any more: the jobs that need them cannot succeed.
    pub(super) fn on_input_lost(&mut self, core: &mut Core, jobs: &mut Jobs, lost: Hash, why: &str) {
        let reads = |job: &Job| matches!(&job.manifest.inputs, Inputs::Packs { index, .. } if index.hash == lost);
        let ids: Vec<JobId> = self.jobs.values().filter(|j| reads(j)).map(|j| j.id).collect();
        for id in ids {
            self.end(core, jobs, id, Outcome::Failed(why.to_owned()), None);
        }
    }

    /// A worker could not do a task.
    pub(super) fn on_failure(&mut self, core: &mut Core, jobs: &mut Jobs, from: PeerKey, failure: Failure) {
        let Some(job) = self.jobs.get_mut(&failure.job) else { return };
        job.saw(from);
        let Some(stage) = job.manifest.stages.get(usize::from(failure.stage)) else { return };
        let done = job.stages[usize::from(failure.stage)].done.contains(failure.task);
        if failure.task >= stage.tasks || done {
            return;
        }
        job.failures += 1;
        let retries = u32::from(stage.limits.retries);
        let failed = job.failed.entry((failure.stage, failure.task)).or_default();
        // One peer's word alone does not end a job while there are enough others to ask.
        let others_left = job.workers.len() as u32 > retries && failed.contains(&from);
        if !others_left && !failure.worker_fault {
            failed.push(from);
        }
        let left = (retries + 1).saturating_sub(failed.len() as u32);
        let notice = Notice::TaskFailed { failure: failure.clone(), worker: from, retries_left: left as u8 };
        core.act(Action::Notify(notice));
        let id = failure.job;
        if left == 0 || job.failed.len() > FAILED_TASKS {
            let why = failure.why.clone();
            self.end(core, jobs, id, Outcome::Failed(why), Some(failure));
        }
    }

    /// A worker asks what is done.
    pub(super) fn on_summary(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        token: Token,
        id: JobId,
        stage: u8,
        shard: u16,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return core.respond(token, Response::Missing) };
        let Some(of) = job.manifest.stages.get(usize::from(stage)).filter(|s| shard < s.shards) else {
            return core.respond(token, Response::Refused("the job has no such shard".to_owned()));
        };
        let peers = job.stages[usize::from(stage)].enters(from, shard);
        let done = &job.stages[usize::from(stage)].done;
        let blocks = of.shard_blocks(shard);
        let mut bits = BitSet::new(blocks.end - blocks.start);
        for block in blocks.clone() {
            if of.tasks_of_blocks(block..block + 1).all(|task| done.contains(task)) {
                bits.insert(block - blocks.start);
            }
        }
        let seals = match of.source {
            Source::Shuffle { stage } => job.stages[usize::from(stage)].shuffle.as_ref(),
            Source::Inputs => None,
        };
        let shards = job.stages[usize::from(stage)].shards.iter().zip(0..).map(|(s, shard)| {
            let tasks = of.tasks_of_blocks(of.shard_blocks(shard));
            let left = tasks.len() as u32 - done.count_in(tasks);
            ShardLeft { blocks: left.div_ceil(of.block), workers: s.workers }
        });
        let summary = Summary {
            epoch: job.signed_epoch.clone(),
            reopened: job.reopened,
            done: job.done(),
            seals: seals.map(|s| s.sealed.iter().map(|(&p, &r)| (p, r)).collect()).unwrap_or_default(),
            shards: shards.collect(),
            peers,
        };
        let body = Bytes::from(bits.slice_to_bytes(0..bits.size()));
        core.act(Action::Respond { token, response: Response::Summary(summary), body });
    }

    /// A shuffler took acceptances, or did not.
    pub(super) fn on_accept_answer(
        &mut self,
        core: &mut Core,
        id: JobId,
        stage: u8,
        to: PeerKey,
        attempts: Attempts,
        taken: bool,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(shuffle) = job.stages.get_mut(usize::from(stage)).and_then(|s| s.shuffle.as_mut()) else { return };
        if taken {
            shuffle.tries.remove(&to);
        } else if shuffle.ring.owners().contains(&to) {
            let tries = shuffle.tries.entry(to).or_default();
            *tries += 1;
            if *tries >= LOST_AFTER {
                job.missing.entry(to).or_insert(core.now);
            }
            shuffle.accept_failed.push((core.now + RETRY, to, attempts));
        }
    }

    /// This peer's user takes a job back.
    pub(super) fn cancel(&mut self, core: &mut Core, jobs: &mut Jobs, id: JobId, key: &Keypair) {
        match jobs.owner(&id) {
            Some(owner) if owner == key.public() => {
                let end = key.sign(&End { job: id, outcome: Outcome::Cancelled });
                self.on_ended(core, jobs, &end);
                core.publish(Topic::Jobs, Gossip::Ended(end));
            }
            Some(owner) => {
                let why = format!("it belongs to {}, and only its owner's key can cancel it", owner.short());
                core.act(Action::Notify(Notice::CancelRefused { job: id, why }));
            }
            None => {
                let why = "no such job is known here; it may be over already".to_owned();
                core.act(Action::Notify(Notice::CancelRefused { job: id, why }));
            }
        }
    }

    /// The owner's word that a job is over, from wherever it comes.
    pub(super) fn on_ended(&mut self, core: &mut Core, jobs: &mut Jobs, signed: &Signed<End>) {
        let Some(end) = jobs.end(core, signed) else { return };
        if let Some(job) = self.jobs.remove(&end.job) {
            job.tell_everyone(core, signed);
            core.act(Action::Notify(Notice::Ended { job: end.job, outcome: end.outcome, failure: None }));
        }
    }

    fn end(&mut self, core: &mut Core, jobs: &mut Jobs, id: JobId, outcome: Outcome, failure: Option<Failure>) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let signed = job.key.sign(&End { job: id, outcome: outcome.clone() });
        core.act(Action::Notify(Notice::Progress(job.progress())));
        jobs.end(core, &signed);
        core.publish(Topic::Jobs, Gossip::Ended(signed.clone()));
        job.tell_everyone(core, &signed);
        core.act(Action::Notify(Notice::Ended { job: id, outcome, failure }));
    }

    pub(super) fn go_on(&mut self, core: &mut Core, jobs: &mut Jobs) {
        let mut over = Vec::new();
        for job in self.jobs.values_mut() {
            job.go_on(core, jobs);
            let last = job.stages.iter().zip(&job.manifest.stages).filter(|(_, s)| s.sink == Sink::Collect);
            if last.into_iter().all(|(stage, _)| stage.done.is_full()) {
                over.push(job.id);
            }
        }
        for id in over {
            self.end(core, jobs, id, Outcome::Done, None);
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.jobs.values().map(Job::deadline).min().unwrap_or(Time::NEVER)
    }

    /// A peer works on a job of this peer's.
    pub(super) fn on_claim(&mut self, from: PeerKey, claim: &crate::message::Claim) {
        if let Some(job) = self.jobs.get_mut(&claim.job) {
            job.saw(from);
        }
    }
}

impl Job {
    fn saw(&mut self, worker: PeerKey) {
        if self.workers.len() < WORKERS {
            self.workers.insert(worker);
        }
    }

    fn done(&self) -> Vec<u32> {
        self.stages.iter().map(|s| s.done.count()).collect()
    }

    fn announce(&self, now: Time) -> Announce {
        let inline = self.signed.payload_len() <= limits::INLINE_MANIFEST_BYTES;
        Announce {
            job: self.id,
            owner: self.manifest.owner,
            home: self.manifest.home,
            manifest: inline.then(|| self.signed.clone()),
            epoch: self.signed_epoch.clone(),
            done: self.done(),
            reopened: self.reopened,
            age: now.since(self.submitted).as_secs() as u32,
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            job: self.id,
            stages: self.done().into_iter().zip(self.manifest.stages.iter().map(|s| s.tasks)).collect(),
            workers: self.workers.len() as u32,
            shufflers: self.epoch.shufflers.len() as u32,
            failures: self.failures,
        }
    }

    /// Offers the job to its shufflers, and to as many connected workers as it has work for.
    /// Gives how many places there are, this peer's included if it works.
    fn offer_to_many(&mut self, core: &mut Core) -> u32 {
        let mut workers: Vec<PeerKey> = core
            .directory
            .with_role(|r| r.worker)
            .filter(|(peer, m)| m.connected && **peer != core.me)
            .map(|(&peer, _)| peer)
            .collect();
        let most = OFFERS.min(self.manifest.stages[0].blocks() as usize);
        let job = self.id;
        workers.sort_by_cached_key(|peer| Hash::of_parts("webmesh 1 offers", &[&job.0, &peer.0]));
        workers.truncate(most);
        let of = workers.len() as u32 + u32::from(core.advert.roles.worker);
        for (slot, &peer) in workers.iter().enumerate() {
            self.offer(core, peer, Some((slot as u32, of)));
        }
        let mut shufflers: Vec<PeerKey> = self.epoch.shufflers.iter().map(|s| s.peer).collect();
        shufflers.retain(|p| *p != core.me && !workers.contains(p));
        for peer in shufflers {
            self.offer(core, peer, None);
        }
        of
    }

    fn offer(&mut self, core: &mut Core, peer: PeerKey, place: Option<(u32, u32)>) {
        self.offered.insert(peer);
        // Without a place of its own, a peer draws one: any slot of many will do.
        let many = 1 << 16;
        let draw = Hash::of_parts("webmesh 1 offered place", &[&self.id.0, &peer.0]).draw();
        let (slot, of) = place.unwrap_or(((draw % u64::from(many)) as u32, many));
        core.request(peer, Request::Offer { announce: self.announce(core.now), slot, of }, vec![], Pending::Ignored);
    }

    #[expect(clippy::too_many_arguments, reason = "all of it names one result")]
    fn take_output(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        token: Token,
        (stage, task): (u8, u32),
        digest: Hash,
        root: Option<Hash>,
        body: Bytes,
    ) -> Option<Response> {
        self.saw(from);
        let Some(of) = self.manifest.stages.get(usize::from(stage)) else { return Some(Response::Missing) };
        if of.sink != Sink::Collect || task >= of.tasks || body.len() as u64 > of.limits.output {
            return Some(Response::Refused("the job has no such result".to_owned()));
        }
        if self.stages[usize::from(stage)].done.contains(task) {
            return Some(Response::Ok);
        }
        if let Source::Shuffle { stage: read } = of.source {
            let shuffle = self.stages[usize::from(read)].shuffle.as_ref()?;
            let (partitions, buckets) = self.manifest.stages[usize::from(read)].shuffle()?;
            let sealed = shuffle.sealed.get(&partition_of_bucket(task, partitions, buckets));
            match sealed {
                // The seal may still be on its way here; the worker sends the result again.
                None => return Some(Response::Busy),
                Some(sealed) if Some(*sealed) != root => return Some(Response::Missing),
                Some(_) => {}
            }
        }
        if Hash::of(&body) != digest {
            return Some(Response::Refused("the result does not have the digest that came with it".to_owned()));
        }
        let storing = &mut self.stages[usize::from(stage)].storing;
        let waiting = storing.entry(task).or_default();
        waiting.push(token);
        if waiting.len() == 1 {
            core.act(Action::StoreOutput { job: self.id, task, bytes: body });
        }
        None
    }

    fn go_on(&mut self, core: &mut Core, jobs: &mut Jobs) {
        let lost: BTreeSet<PeerKey> = self.missing.iter().filter(|(_, at)| **at <= core.now).map(|(&p, _)| p).collect();
        if !lost.is_empty() {
            self.new_epoch(core, jobs, &lost);
        }
        for stage in 0..self.stages.len() {
            self.reopen(core, stage);
            self.send_accepts(core, stage);
        }
        if core.now >= self.announce_at {
            self.announce_at = core.now + limits::ANNOUNCE_INTERVAL;
            let announce = self.announce(core.now);
            jobs.set_done(core.now, self.id, announce.done.clone(), self.reopened);
            core.publish(Topic::Jobs, Gossip::Announce(announce));
        }
        if core.now >= self.progress_at {
            self.progress_at = core.now + PROGRESS_EVERY;
            core.act(Action::Notify(Notice::Progress(self.progress())));
        }
    }

    fn deadline(&self) -> Time {
        let missing = self.missing.values().copied();
        let shuffles = self.stages.iter().filter_map(|s| s.shuffle.as_ref());
        let shuffles = shuffles.flat_map(|s| {
            let failed = s.accept_failed.iter().map(|(at, _, _)| *at).min().unwrap_or(Time::NEVER);
            [s.accept_at, s.reopen_at, failed]
        });
        missing.chain(shuffles).chain([self.announce_at, self.progress_at]).min().unwrap_or(Time::NEVER)
    }

    /// Shufflers that were heard of and are not connected have to show themselves soon.
    fn expect_shufflers(&mut self, core: &Core) {
        for peer in self.epoch.shufflers.iter().map(|s| s.peer).filter(|p| *p != core.me) {
            if !core.directory.is_connected(&peer) {
                self.missing.entry(peer).or_insert(core.now + SHUFFLER_DIAL);
            }
        }
    }

    /// Goes on without the shufflers that are lost.
    fn new_epoch(&mut self, core: &mut Core, jobs: &mut Jobs, lost: &BTreeSet<PeerKey>) {
        self.missing.retain(|p, _| !lost.contains(p));
        let before: Vec<PeerKey> = self.epoch.shufflers.iter().map(|s| s.peer).collect();
        if !before.iter().any(|p| lost.contains(p)) {
            return;
        }
        let mut shufflers: Vec<Shuffler> =
            self.epoch.shufflers.iter().filter(|s| !lost.contains(&s.peer)).copied().collect();
        // Someone new takes the lost one's place, if there is someone.
        self.gone.extend(lost);
        for fresh in choose_shufflers(core, &self.manifest, &self.gone) {
            let known = shufflers.iter().any(|s| s.peer == fresh.peer);
            if !known && shufflers.len() < before.len() && (fresh.peer != core.me || shufflers.is_empty()) {
                shufflers.push(fresh);
            }
        }
        shufflers.sort_unstable_by_key(|s| s.peer);
        self.epoch = Epoch { job: self.id, number: self.epoch.number + 1, shufflers };
        self.signed_epoch = self.key.sign(&self.epoch);
        self.expect_shufflers(core);
        let ring = Ring::new(&self.epoch);
        for (i, stage) in self.stages.iter_mut().enumerate() {
            let Some((partitions, _)) = self.manifest.stages[i].shuffle() else { continue };
            let Some(shuffle) = &mut stage.shuffle else { continue };
            shuffle.new_ring(core.now, ring.owners(i as u8, partitions, self.manifest.replicas));
        }
        jobs.take_epoch(core, &self.signed_epoch);
        let names: Vec<String> = lost.iter().map(PeerKey::short).collect();
        core.log(format!("job {}: lost shuffler {}; epoch {}", self.id.short(), names.join(", "), self.epoch.number));
        for peer in self.epoch.shufflers.iter().map(|s| s.peer).filter(|p| *p != core.me).collect::<Vec<_>>() {
            core.request(peer, Request::NewEpoch(self.signed_epoch.clone()), vec![], Pending::Ignored);
        }
        self.announce_at = core.now;
    }

    /// Opens again what no owner of the newest epoch has come forward with.
    fn reopen(&mut self, core: &mut Core, stage: usize) {
        let of = &mut self.stages[stage];
        let Some(shuffle) = of.shuffle.as_mut().filter(|s| s.reopen_at <= core.now) else { return };
        shuffle.reopen_at = Time::NEVER;
        let mut count = 0;
        for task in 0..of.done.size() {
            if shuffle.lacking[task as usize] > 0 && of.done.remove(task) {
                count += 1;
            }
        }
        if count > 0 {
            self.reopened += 1;
            self.announce_at = core.now;
            core.log(format!("job {}: {count} tasks are computed again", self.id.short()));
        }
    }

    fn send_accepts(&mut self, core: &mut Core, stage: usize) {
        let id = self.id;
        let Some(shuffle) = &mut self.stages[stage].shuffle else { return };
        let mut messages: Vec<(PeerKey, Attempts)> = Vec::new();
        if core.now >= shuffle.accept_at || shuffle.accept.len() >= ACCEPT_ATTEMPTS {
            shuffle.accept_at = Time::NEVER;
            let mut accepted = std::mem::take(&mut shuffle.accept);
            accepted.sort_unstable();
            accepted.dedup();
            for part in accepted.chunks(ACCEPT_ATTEMPTS).map(Attempts::pack) {
                messages.extend(shuffle.ring.owners().into_iter().map(|owner| (owner, part.clone())));
            }
        }
        let again = shuffle.accept_failed.extract_if(.., |(at, _, _)| *at <= core.now);
        messages.extend(again.map(|(_, to, attempts)| (to, attempts)));
        for (to, attempts) in messages {
            let stage = stage as u8;
            let request = Request::Accept { job: id, stage, attempts: attempts.clone() };
            core.request(to, request, vec![], Pending::Accept { job: id, stage, to, attempts });
        }
    }

    /// Tells shufflers and workers directly that the job is over: gossip may be lost.
    fn tell_everyone(&self, core: &mut Core, end: &Signed<End>) {
        let shufflers = self.epoch.shufflers.iter().map(|s| s.peer);
        let connected = self.offered.iter().copied().filter(|p| core.directory.is_connected(p));
        let peers: BTreeSet<PeerKey> = shufflers.chain(connected).filter(|p| *p != core.me).collect();
        for peer in peers {
            core.request(peer, Request::Ended(end.clone()), vec![], Pending::Ignored);
        }
    }
}

impl Stage {
    /// A worker works on a shard; gives some others that do.
    fn enters(&mut self, peer: PeerKey, shard: u16) -> Vec<PeerKey> {
        if self.at.get(&peer) != Some(&shard) {
            self.leaves(&peer);
            if self.at.len() >= WORKERS {
                return Vec::new();
            }
            self.at.insert(peer, shard);
            let of = &mut self.shards[usize::from(shard)];
            of.workers = of.workers.saturating_add(1);
            of.some.push(peer);
            if of.some.len() > SOME {
                // Both old hands and newcomers are of use: the former know most, the latter keep all connected.
                of.some.remove(SOME / 2);
            }
        }
        // Drawn apart for each who asks, so that they form no chain.
        let mut others: Vec<PeerKey> =
            self.shards[usize::from(shard)].some.iter().copied().filter(|p| *p != peer).collect();
        others.sort_by_cached_key(|other| Hash::of_parts("webmesh 1 who meets whom", &[&peer.0, &other.0]));
        others.truncate(limits::SHARD_PEERS);
        others
    }

    /// A worker is gone from its shard.
    fn leaves(&mut self, peer: &PeerKey) {
        if let Some(shard) = self.at.remove(peer) {
            let of = &mut self.shards[usize::from(shard)];
            of.workers = of.workers.saturating_sub(1);
            of.some.retain(|p| p != peer);
        }
    }
}

impl Shuffle {
    fn new(ring: Assignment, tasks: u32) -> Self {
        let partitions = ring.partitions();
        Self {
            ring,
            digests: vec![NONE; tasks as usize],
            held: (0..partitions).map(|_| BitSet::new(tasks)).collect(),
            lacking: vec![partitions; tasks as usize],
            sealed: BTreeMap::new(),
            accept: Vec::new(),
            accept_at: Time::NEVER,
            accept_failed: Vec::new(),
            tries: BTreeMap::new(),
            reopen_at: Time::NEVER,
        }
    }

    /// Notes that the owner of `partitions` holds an attempt; says whether the task is complete with that.
    fn commit(&mut self, now: Time, task: u32, digest: Hash, partitions: &[u16]) -> bool {
        let Some(accepted) = self.digests.get_mut(task as usize) else { return false };
        if *accepted == NONE {
            *accepted = digest;
        }
        if *accepted != digest {
            return false;
        }
        let lacking = &mut self.lacking[task as usize];
        let fresh = partitions.iter().filter(|p| self.held[usize::from(**p)].insert(task)).count() as u16;
        *lacking -= fresh;
        if fresh > 0 && self.reopen_at != Time::NEVER {
            // More is still coming forward.
            self.reopen_at = self.reopen_at.max(now + REOPEN_AFTER);
        }
        let complete = fresh > 0 && *lacking == 0;
        if complete {
            self.accept.push((task, digest));
        }
        complete
    }

    /// Partitions whose owner changed are held by nobody until their new owners say otherwise.
    fn new_ring(&mut self, now: Time, ring: Assignment) {
        let before = std::mem::replace(&mut self.ring, ring);
        for partition in 0..self.ring.partitions() {
            if before.owner(partition) == self.ring.owner(partition) {
                continue;
            }
            self.sealed.remove(&partition);
            let held = &mut self.held[usize::from(partition)];
            for task in held.iter() {
                self.lacking[task as usize] += 1;
            }
            *held = BitSet::new(held.size());
        }
        self.accept_failed.retain(|(_, to, _)| self.ring.owners().contains(to));
        self.tries.clear();
        self.reopen_at = now + REOPEN_AFTER;
    }
}

/// Shufflers for a job: known peers with the role, connected ones first, by a hash so that jobs spread over
/// them; as many as its size asks for, and its replicas. With none in the mesh, the submitter is one.
fn choose_shufflers(core: &Core, manifest: &Manifest, lost: &BTreeSet<PeerKey>) -> Vec<Shuffler> {
    let bytes = match manifest.inputs {
        Inputs::Packs { bytes, .. } => bytes,
        Inputs::Numbers => 0,
    };
    let by_size = (bytes / BYTES_PER_SHUFFLER).clamp(1, limits::SHUFFLERS as u64) as usize;
    let count = by_size.max(usize::from(manifest.replicas)).min(limits::SHUFFLERS);
    let known = core.directory.with_role(|r| r.shuffler).map(|(&peer, m)| (peer, m.advert.weight, m.connected));
    let myself = core.advert.roles.shuffler.then_some((core.me, core.advert.weight, true));
    let mut candidates: Vec<(bool, Hash, Shuffler)> = known
        .filter(|(peer, _, _)| *peer != core.me && !lost.contains(peer))
        .chain(myself)
        .map(|(peer, weight, connected)| {
            let draw = Hash::of_parts(
                "webmesh 1 choice of shufflers",
                &[&manifest.module.hash.0, &manifest.nonce.to_le_bytes(), &peer.0],
            );
            (!connected, draw, Shuffler { peer, weight: weight.clamp(1, limits::WEIGHT) })
        })
        .collect();
    candidates.sort_unstable_by_key(|&(far, draw, _)| (far, draw));
    let mut chosen: Vec<Shuffler> = candidates.into_iter().take(count).map(|(_, _, shuffler)| shuffler).collect();
    if chosen.is_empty() {
        chosen.push(Shuffler { peer: core.me, weight: 1 });
    }
    chosen.sort_unstable_by_key(|s| s.peer);
    chosen
}
