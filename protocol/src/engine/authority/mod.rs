//! The authority: signs the few facts on which all must agree, for the jobs that were submitted here (rule 1).
//!
//! It schedules nothing. It learns from shufflers which attempts they hold, accepts one digest a task, makes a
//! new epoch when a shuffler is lost, takes the results, and says when a job is over.

mod announcer;
mod choice;
mod job;
mod shards;
mod shuffle;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use self::announcer::Announcer;
use self::choice::choose_shufflers;
use self::job::{Job, SHUFFLER_GRACE, Stage};
use self::shards::Shards;
use self::shuffle::{NotSealed, Shuffle};
use self::watch::Watch;
use super::core::{Core, Pending};
use super::jobs::Jobs;
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Action, Notice, Submission, Token};
use crate::limits;
use crate::manifest::{Inputs, Manifest, Sink, Source};
use crate::message::{Attempts, End, Failure, Outcome, Request, Response, ShardLeft, Summary};
use crate::ranges::BitSet;
use crate::ring::Ring;
use crate::sign::{Keypair, Signed};
use crate::time::Time;

/// Acceptances are gathered for so long.
const ACCEPT_DELAY: Duration = Duration::from_millis(10);
/// Attempts in one acceptance.
const ACCEPT_ATTEMPTS: usize = 8192;
/// A message that was not taken is sent again after so long.
const RETRY: Duration = Duration::from_millis(300);
/// An acceptance that a shuffler did not take so often in a row: it is lost.
const LOST_AFTER: u32 = 10;
/// Workers kept apart for the count that users see, and for who failed what.
const WORKERS: usize = 4096;
/// A job's home that did not hear that the job was cancelled is told again after so long,
const CANCEL_AGAIN: Duration = Duration::from_secs(1);
/// and so often in all.
const CANCEL_TRIES: u32 = 10;

/// A job that was cancelled here, and whose home is elsewhere.
#[derive(Debug)]
struct Cancelled {
    job: JobId,
    to: PeerKey,
    end: Signed<End>,
    tries: u32,
    /// `NEVER` while an answer is awaited.
    send_at: Time,
}

/// The jobs that were submitted at this peer.
#[derive(Debug, Default)]
pub(super) struct Authority {
    jobs: BTreeMap<JobId, Job>,
    /// Ends that were signed here of jobs whose home is elsewhere and has not answered yet.
    ends: Vec<Cancelled>,
    announcer: Announcer,
}

impl Authority {
    /// Signs, announces and offers a job.
    ///
    /// Gives the job and how many places to begin were given away, this peer's included if it works.
    pub(super) fn submit(&mut self, core: &mut Core, jobs: &mut Jobs, submission: Submission) -> Option<(JobId, u32)> {
        let Submission { mut manifest, key } = submission;
        manifest.owner = key.public();
        manifest.home = core.me;
        let check = crate::codec::Wire::check(&manifest);
        if let Err(why) = check.and_then(|()| manifest.unsupported().map_or(Ok(()), Err)) {
            let (nonce, why) = (manifest.nonce, format!("the job has {why}"));
            core.act(Action::Notify(Notice::SubmitRefused { nonce, why }));
            return None;
        }
        let signed = key.sign(&manifest);
        let id = Manifest::id_of(&signed);
        let shufflers = choose_shufflers(core, &manifest, &BTreeSet::new());
        let epoch = Epoch { job: id, number: 0, previous: None, shufflers };
        let signed_epoch = key.sign(&epoch);
        let ring = Ring::new(&epoch);
        let stages = manifest.stages.iter().enumerate().map(|(i, stage)| Stage {
            done: BitSet::new(stage.tasks),
            shuffle: stage
                .shuffle()
                .map(|(partitions, _)| Shuffle::new(ring.owners(i as u8, partitions, manifest.replicas), stage.tasks)),
            storing: BTreeMap::new(),
            shards: Shards::new(stage.shards),
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
            // What this peer claims itself reaches its neighbours by gossip, and not it.
            workers: core.advert.roles.worker.then_some(core.me).into_iter().collect(),
            failed: BTreeMap::new(),
            failures: 0,
            declined: BTreeMap::new(),
            missing: BTreeMap::new(),
            gone: BTreeSet::new(),
            offered: BTreeSet::new(),
            watch: Watch::new(core.now),
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
        });
    }

    pub(super) fn on_disconnected(&mut self, core: &Core, peer: PeerKey) {
        for job in self.jobs.values_mut() {
            job.offered.remove(&peer);
            job.stages.iter_mut().for_each(|stage| stage.shards.leaves(&peer));
            if job.is_shuffler(&peer) {
                job.missing.entry(peer).or_insert(core.now + SHUFFLER_GRACE);
                // Asked for a sign of life, it is dialled.
                job.watch.at = core.now;
            }
        }
    }

    pub(super) fn on_goodbye(&mut self, core: &mut Core, peer: PeerKey) {
        for job in self.jobs.values_mut() {
            job.stages.iter_mut().for_each(|stage| stage.shards.leaves(&peer));
            if job.is_shuffler(&peer) {
                job.missing.insert(peer, core.now);
            }
        }
    }

    /// A shuffler has lost what it held for a job.
    pub(super) fn on_resigned(&mut self, core: &Core, peer: PeerKey, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_shuffler(&peer)) {
            job.missing.insert(peer, core.now);
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
        (epoch, opened): (u32, u64),
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
        if meant.is_empty() {
            // Who owns nothing has no say in what is accepted.
            return Response::NotOwner(job.signed_epoch.clone());
        }
        if !shuffle.is_of_this_life(core.now, from, opened) {
            core.log(format!("{} commits in job {} what it has forgotten since", from.short(), id.short()));
            return Response::Missing;
        }
        for (task, digest) in attempts.iter() {
            if shuffle.commit(core.now, task, digest, &meant) {
                of.done.insert(task);
                job.failed.remove(&(stage, task));
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
        match shuffle.seal(partition, root) {
            Ok(()) => Response::Ok,
            Err(NotSealed::TooEarly) => {
                core.log(format!("{} sealed partition {partition} of job {} too early", from.short(), id.short()));
                Response::Busy
            }
            Err(NotSealed::OtherRoot) => {
                core.log(format!("{} sealed in job {} what was not accepted: given up", from.short(), id.short()));
                job.missing.insert(from, core.now);
                Response::Missing
            }
        }
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
        let mut stages = (0u8..).zip(&mut job.stages);
        let Some((number, stage)) = stages.find(|(_, s)| s.storing.contains_key(&task)) else { return };
        let tokens = stage.storing.remove(&task).unwrap_or_default();
        match result {
            Ok(()) => {
                stage.done.insert(task);
                job.failed.remove(&(number, task));
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

    /// A worker gives a task less memory than the job says.
    pub(super) fn on_declined(&mut self, core: &Core, from: PeerKey, id: JobId, memory: u64) {
        if let Some(job) = self.jobs.get_mut(&id)
            && job.is_worker(core, &from)
            && job.declined.len() < WORKERS
        {
            job.declined.insert(from, memory);
        }
    }

    /// A worker could not do a task.
    pub(super) fn on_failure(&mut self, core: &mut Core, jobs: &mut Jobs, from: PeerKey, failure: Failure) {
        let Some(job) = self.jobs.get_mut(&failure.job) else { return };
        if !job.is_worker(core, &from) {
            return;
        }
        let Some(stage) = job.manifest.stages.get(usize::from(failure.stage)) else { return };
        if failure.task >= stage.tasks || job.stages[usize::from(failure.stage)].done.contains(failure.task) {
            return;
        }
        job.saw(from);
        job.failures += 1;
        let left = job.note_failure(core, from, &failure);
        let notice = Notice::TaskFailed { failure: failure.clone(), worker: from, retries_left: left as u8 };
        core.act(Action::Notify(notice));
        let id = failure.job;
        if left == 0 {
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
        let peers = job.stages[usize::from(stage)].shards.enters(from, shard);
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

    /// A shuffler gave a sign of life.
    pub(super) fn on_watched(&mut self, core: &Core, id: JobId, peer: PeerKey) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.watched(core.now, peer);
        }
    }

    /// This peer's user takes a job back.
    pub(super) fn cancel(&mut self, core: &mut Core, jobs: &mut Jobs, id: JobId, key: &Keypair) {
        match jobs.owner(&id) {
            Some(owner) if owner == key.public() => {
                let end = key.sign(&End { job: id, outcome: Outcome::Cancelled });
                // Gossip may be lost; the home must hear of it, or the job goes on.
                if let Some(to) = jobs.home(&id).filter(|home| *home != core.me && self.ends.len() < limits::JOBS) {
                    self.ends.push(Cancelled { job: id, to, end: end.clone(), tries: 0, send_at: core.now });
                }
                self.on_ended(core, jobs, &end);
                self.announcer.tell_end(end);
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

    /// This peer leaves, and its jobs end with it.
    pub(super) fn leave(&mut self, core: &mut Core, jobs: &mut Jobs) {
        let own: Vec<(JobId, Keypair)> = self.jobs.iter().map(|(&id, job)| (id, job.key.clone())).collect();
        for (id, key) in own {
            self.cancel(core, jobs, id, &key);
        }
    }

    /// A job's home heard of its end, or did not.
    pub(super) fn on_cancel_answer(&mut self, now: Time, id: JobId, heard: bool) {
        self.ends.retain_mut(|cancelled| {
            if cancelled.job == id {
                cancelled.send_at = now + CANCEL_AGAIN;
            }
            cancelled.job != id || (!heard && cancelled.tries < CANCEL_TRIES)
        });
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
        job.tell_everyone(core, &signed);
        self.announcer.tell_end(signed);
        core.act(Action::Notify(Notice::Ended { job: id, outcome, failure }));
    }

    pub(super) fn go_on(&mut self, core: &mut Core, jobs: &mut Jobs) {
        let mut over = Vec::new();
        let mut declined = Vec::new();
        for job in self.jobs.values_mut() {
            job.go_on(core, jobs);
            declined.extend(job.why_all_declined(core).map(|why| (job.id, why)));
            let last = job.stages.iter().zip(&job.manifest.stages).filter(|(_, s)| s.sink == Sink::Collect);
            if last.into_iter().all(|(stage, _)| stage.done.is_full()) {
                over.push(job.id);
            }
        }
        let now = core.now;
        for cancelled in self.ends.iter_mut().filter(|c| c.send_at <= now) {
            cancelled.send_at = Time::NEVER;
            cancelled.tries += 1;
            let pending = Pending::Cancel(cancelled.job);
            core.request(cancelled.to, Request::Ended(cancelled.end.clone()), vec![], pending);
        }
        for (id, why) in declined {
            self.fail(core, jobs, id, why);
        }
        for id in over {
            self.end(core, jobs, id, Outcome::Done, None);
        }
        self.announcer.go_on(core, jobs, &mut self.jobs);
    }

    pub(super) fn deadline(&self, jobs: &Jobs) -> Time {
        let ends = self.ends.iter().map(|cancelled| cancelled.send_at);
        let own = self.jobs.values().map(Job::deadline).chain(ends).min().unwrap_or(Time::NEVER);
        own.min(self.announcer.deadline(jobs, &self.jobs))
    }

    /// A peer works on a job of this peer's.
    pub(super) fn on_claim(&mut self, from: PeerKey, claim: &crate::message::Claim) {
        if let Some(job) = self.jobs.get_mut(&claim.job) {
            job.saw(from);
        }
    }
}
