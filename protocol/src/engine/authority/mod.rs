//! The authority: signs the few facts on which all peers must agree, for the jobs that were submitted here (rule 1).
//!
//! It schedules nothing. It learns from shufflers which attempts they hold, accepts one digest per task, makes a new
//! epoch when a shuffler is lost, takes the results, and decides when a job is over.

mod announcer;
mod choice;
mod effects;
mod failures;
mod job;
mod ledger;
mod lost;
mod missing;
mod outputs;
mod proposals;
mod responses;
mod shards;
mod shuffle;
mod summary;
mod waiting;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use self::announcer::Announcer;
use self::choice::choose_shufflers;
use self::failures::Unable;
use self::job::Job;
use self::ledger::Ledger;
use self::lost::Lost;
use self::missing::{SHUFFLER_DIAL, SHUFFLER_GRACE};
use self::shuffle::NotSealed;
use super::core::Core;
use super::jobs::Jobs;
use super::pending::{AcceptRequest, AuthorityRequest};
use crate::decisions::{Decision, State};
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Notice, Resumption, Submission, Token};
use crate::limits;
use crate::manifest::{Inputs, Manifest};
use crate::message::{Accept, AuthoredAttempt, Commit, End, Failure, Outcome, Output, Request, Response, Sealed};
use crate::part::{PartitionId, StageId, TaskId};
use crate::sign::{Keypair, Signed};
use crate::time::Time;

/// How long acceptances are gathered before they are sent.
const ACCEPT_DELAY: Duration = Duration::from_millis(10);
/// Most attempts in one acceptance.
const ACCEPT_ATTEMPTS: usize = 8192;
/// Pause before a message that was not acknowledged is sent again.
const RETRY: Duration = Duration::from_millis(300);
/// Acceptances in a row that a shuffler may leave unacknowledged before it counts as lost.
const LOST_AFTER: u32 = 10;
/// Most workers tracked individually, for the count that users see and for who failed what.
const WORKERS: usize = 4096;
/// Interval at which another home is told of a cancelled job until it answers.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);
/// Most times that another home is told of a cancelled job.
const CANCEL_TRIES: u32 = 10;

/// The failure of a job that was done, when the end of its log is lost.
const LOST_AFTER_DONE: &str = "the job was done, and the end of its log, which names its last results, is lost; submit it \
                               again";

/// A job that was cancelled here and whose home is another peer.
#[derive(Debug)]
struct Cancelled {
    job: JobId,
    to: PeerKey,
    end: Signed<End>,
    tries: u32,
    /// When to send next: `NEVER` while an answer is awaited.
    send_at: Time,
}

/// The jobs that were submitted at this peer.
#[derive(Debug, Default)]
pub(super) struct Authority {
    jobs: BTreeMap<JobId, Job>,
    /// Ends signed here of jobs with another home that has not answered yet.
    ends: Vec<Cancelled>,
    announcer: Announcer,
}

impl Authority {
    /// Opens a job. It is announced and offered once its first batch of decisions is in force.
    pub(super) fn submit(&mut self, core: &mut Core, submission: Submission) {
        let Submission { mut manifest, key, kept } = submission;
        manifest.owner = key.public();
        manifest.home = core.me;
        manifest.minor = manifest.minor.max(manifest.least_minor());
        let check = crate::codec::Wire::check(&manifest);
        if let Err(why) = check.and_then(|()| manifest.unsupported(core.interface).map_or(Ok(()), Err)) {
            return refuse(core, &manifest, &format!("the job has {why}"));
        }
        let signed = key.sign(&manifest);
        let id = Manifest::id_of(&signed);
        let shufflers = choose_shufflers(core, &manifest, &BTreeSet::new(), false);
        let epoch = Epoch { job: id, number: 0, previous: None, shufflers, generations: Vec::new() };
        let signed_epoch = key.sign(&epoch);
        let state = State::before(signed.clone(), manifest);
        let mut ledger = Ledger::new(key, state, kept);
        ledger.decide(Decision::Open(signed));
        ledger.decide(Decision::Epoch(signed_epoch.clone()));
        let job = Job::new(core, ledger, epoch, signed_epoch);
        self.jobs.entry(id).or_insert(job);
    }

    /// Resumes a job of an earlier run of this peer under a new epoch, for which shufflers commit again what they hold.
    pub(super) fn resume(&mut self, core: &mut Core, resumption: Resumption) {
        let Resumption { state, key, lost } = resumption;
        let manifest = state.manifest().clone();
        let (epoch, signed_epoch) = match (state.epoch(), state.signed_epoch()) {
            (Some(epoch), Some(signed)) => (epoch.clone(), signed.clone()),
            _ => return refuse(core, &manifest, "the job's log holds no epoch"),
        };
        if state.outcome().is_some() {
            return refuse(core, &manifest, "the job is over");
        }
        if manifest.owner != key.public() {
            return refuse(core, &manifest, "the job belongs to the owner of another key than the one given");
        }
        if manifest.home != core.me {
            return refuse(
                core,
                &manifest,
                "the job was submitted by a peer with another identity, and only that peer can resume it",
            );
        }
        let mut job = Job::new(core, Ledger::new(key, state, true), epoch, signed_epoch);
        job.lost = Lost::since(core.started);
        job.restore(core, lost);
        self.jobs.entry(job.id).or_insert(job);
    }

    /// Handles an epoch that another peer knows. If an earlier run of this peer signed it and its record is lost, the
    /// job has to supersede it.
    pub(super) fn on_epoch_shown(&mut self, signed: &Signed<Epoch>) {
        if let Some(job) = signed.peek(|e| e.job).ok().and_then(|id| self.jobs.get_mut(&id)) {
            job.shown(signed);
        }
    }

    /// The manifest of a job that an earlier run of this peer announced.
    pub(super) fn signed_manifest(&self, id: &JobId) -> Option<Signed<Manifest>> {
        self.jobs.get(id).filter(|job| job.ledger.state().epoch().is_some()).map(|job| job.signed.clone())
    }

    /// Called when a batch of a job's log was persisted, or could not be.
    pub(super) fn on_persisted(&mut self, core: &mut Core, id: JobId, number: u64, result: Result<(), String>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let taken = match result {
            Ok(()) => job.ledger.persisted(number).map_err(|why| why.to_string()),
            Err(why) => Err(why),
        };
        if let Err(why) = taken {
            job.give_up(core, &why);
        }
    }

    pub(super) fn offer_all_jobs(&mut self, core: &mut Core, peer: PeerKey) {
        for job in
            self.jobs.values_mut().filter(|j| j.is_open && j.offered.len() < WORKERS && !j.offered.contains(&peer))
        {
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
                // After a sleep every connection is broken, which is no fault of the peers.
                let grace = if core.has_just_woken() { SHUFFLER_DIAL } else { SHUFFLER_GRACE };
                job.miss(core.now, peer, grace, "the connection to it broke");
                // Due now: the probe makes this peer dial it.
                job.watch.at = core.now;
            }
        }
    }

    /// Resumes after this peer did not run for as long as `asleep`.
    pub(super) fn woke(&mut self, now: Time, asleep: Duration) {
        self.jobs.values_mut().for_each(|job| job.woke(now, asleep));
    }

    pub(super) fn on_goodbye(&mut self, core: &mut Core, peer: PeerKey) {
        for job in self.jobs.values_mut() {
            job.stages.iter_mut().for_each(|stage| stage.shards.leaves(&peer));
            if job.is_shuffler(&peer) {
                job.miss(core.now, peer, Duration::ZERO, "it left");
            }
        }
    }

    /// Called when a shuffler has lost the segments that it held for a job.
    pub(super) fn on_resigned(&mut self, core: &Core, peer: PeerKey, id: JobId, why: &str) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_shuffler(&peer)) {
            job.miss(core.now, peer, Duration::ZERO, format!("it cannot store its segments: {why}"));
        }
    }

    /// Handles a shuffler's commit: the attempts that it holds.
    pub(super) fn on_commit(&mut self, core: &mut Core, from: PeerKey, commit: &Commit) -> Response {
        let &Commit { job: id, stage, epoch, opened, ref partitions, ref attempts, bytes } = commit;
        let Some(job) = self.jobs.get_mut(&id) else { return Response::Missing };
        if epoch != job.epoch.number {
            return Response::NotOwner(job.signed_epoch.clone());
        }
        if job.awaits_epoch() {
            return Response::Busy;
        }
        let Some(of) = job.stages.get_mut(stage.index()) else { return Response::Missing };
        let Some(shuffle) = &mut of.shuffle else { return Response::Missing };
        let owned: Vec<PartitionId> = shuffle.ring.partitions_of(from).collect();
        let meant: Vec<PartitionId> =
            owned.into_iter().filter(|p| partitions.is_empty() || partitions.contains(p)).collect();
        if meant.is_empty() {
            // A peer that owns no partition has no influence on what is accepted.
            return Response::NotOwner(job.signed_epoch.clone());
        }
        if !shuffle.matches_incarnation(core.now, from, opened) {
            core.log(format!("ignored a commit of {} in job {} from before its restart", from.short(), id.short()));
            return Response::Missing;
        }
        shuffle.note_pushed(from, bytes);
        for attempt in attempts.authors_or(from) {
            let task = attempt.task;
            if shuffle.contradicts(attempt.id()) && !of.done.contains(task) {
                // The accepted attempt is lost, and cannot be computed again.
                job.differing.insert(stage);
            }
            if shuffle.commit(core.now, attempt, &meant) {
                job.failures.done(stage, task);
                if shuffle.accept_at == Time::NEVER {
                    shuffle.accept_at = core.now + ACCEPT_DELAY;
                }
            }
        }
        if shuffle.is_complete() && shuffle.due() > 0 {
            shuffle.accept_at = core.now;
        }
        Response::Ok
    }

    /// Handles a shuffler's seal of a partition.
    pub(super) fn on_sealed(&mut self, core: &mut Core, from: PeerKey, sealed: &Sealed) -> Response {
        let &Sealed { job: id, stage, epoch, partition, root } = sealed;
        let Some(job) = self.jobs.get_mut(&id) else { return Response::Missing };
        if epoch != job.epoch.number {
            return Response::NotOwner(job.signed_epoch.clone());
        }
        if job.awaits_epoch() {
            return Response::Busy;
        }
        let Some(of) = job.stages.get_mut(stage.index()) else { return Response::Missing };
        let Some(shuffle) = of.shuffle.as_mut().filter(|s| s.ring.owns(from, partition)) else {
            return Response::Missing;
        };
        match shuffle.seal(partition, root) {
            Ok(()) => {
                let held = of.done.iter_missing().filter(|task| shuffle.lacking[task.index()] == 0);
                held.collect::<Vec<_>>().into_iter().for_each(|task| {
                    of.done.insert(task);
                });
                let known = job.ledger.state().stage(stage).is_some_and(|stage| stage.sealed(partition) == Some(root));
                if !known {
                    job.seals.entry((stage, root)).or_default().insert(partition);
                }
                Response::Ok
            }
            Err(NotSealed::TooEarly) => {
                core.log(format!("{} sealed partition {partition} of job {} too early", from.short(), id.short()));
                Response::Busy
            }
            Err(NotSealed::OtherRoot) => {
                core.log(format!(
                    "{} sealed in job {} other results than those accepted: given up",
                    from.short(),
                    id.short()
                ));
                job.miss(core.now, from, Duration::ZERO, "it sealed other results than those accepted");
                Response::Missing
            }
        }
    }

    /// Handles the result of a collecting stage's task.
    pub(super) fn on_output(&mut self, core: &mut Core, from: PeerKey, token: Token, output: &Output, body: Bytes) {
        let answer = match self.jobs.get_mut(&output.job) {
            None => Some(Response::Missing),
            Some(job) => job.take_output(core, from, token, output, body),
        };
        if let Some(answer) = answer {
            core.respond(token, answer);
        }
    }

    /// Called when a result was written to disk, or could not be.
    pub(super) fn on_stored(&mut self, core: &mut Core, id: JobId, task: TaskId, result: Result<(), String>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let found = StageId::enumerate(&mut job.stages).find(|(_, stage)| stage.storing.contains_key(&task));
        let Some((number, stage)) = found else { return };
        let Some(storing) = stage.storing.get_mut(&task) else { return };
        match result {
            // It was computed from input that was revoked meanwhile; another result may follow.
            Ok(()) if storing.is_stale => {
                stage.storing.remove(&task);
            }
            Ok(()) => {
                let output = AuthoredAttempt { task, digest: storing.digest, author: storing.author };
                job.outputs.entry(number).or_default().push(output);
            }
            Err(why) => {
                std::mem::take(&mut storing.tokens).into_iter().for_each(|t| core.respond(t, Response::Busy));
                job.end_with(Outcome::Failed(format!("the result cannot be stored: {why}")), None);
            }
        }
    }

    /// Fails a job for a reason of this peer's own.
    pub(super) fn fail(&mut self, id: JobId, why: String) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.end_with(Outcome::Failed(why), None);
        }
    }

    /// Called when an input cannot be read any more: the jobs that need it fail.
    pub(super) fn on_input_lost(&mut self, lost: Hash, why: &str) {
        let reads = |job: &Job| matches!(&job.manifest.inputs, Inputs::Packs { index, .. } if index.hash == lost);
        for job in self.jobs.values_mut().filter(|job| reads(job)) {
            job.end_with(Outcome::Failed(why.to_owned()), None);
        }
    }

    /// Called when a worker cannot run a job: it gives a task less memory than the job requires, or speaks an older
    /// version.
    pub(super) fn on_declined(&mut self, core: &Core, from: PeerKey, id: JobId, memory: u64, minor: Option<u16>) {
        if let Some(job) = self.jobs.get_mut(&id)
            && job.is_worker(core, &from)
        {
            let why = minor.map_or(Unable::Memory(memory), Unable::Version);
            job.failures.declined(core.now, from, why);
        }
    }

    /// Handles a failed task.
    pub(super) fn on_failure(&mut self, core: &mut Core, from: PeerKey, failure: Failure) {
        let Some(job) = self.jobs.get_mut(&failure.job) else { return };
        if job.is_ending() || !job.is_worker(core, &from) {
            return;
        }
        let Some(stage) = job.stages.get(failure.stage.index()) else { return };
        let limits = stage.plan.limits;
        if failure.task.0 >= stage.plan.tasks || stage.is_finished(failure.task) {
            return;
        }
        job.note_worker(from);
        let left = job.failures.note(core, from, &failure, &limits, &job.workers);
        let notice = Notice::TaskFailed { failure: failure.clone(), worker: from, retries_left: left as u8 };
        core.act(notice);
        if left == 0 {
            job.end_with(Outcome::Failed(failure.why.clone()), Some(failure));
        }
    }

    /// Cancels a job for this peer's user.
    pub(super) fn cancel(&mut self, core: &mut Core, jobs: &mut Jobs, id: JobId, key: &Keypair) {
        match jobs.owner(&id) {
            Some(owner) if owner == key.public() => {
                let end = key.sign(&End { job: id, outcome: Outcome::Cancelled });
                // The home must learn of it even if gossip is lost, or the job continues.
                if let Some(to) = jobs.home(&id).filter(|home| *home != core.me && self.ends.len() < limits::JOBS) {
                    self.ends.push(Cancelled { job: id, to, end: end.clone(), tries: 0, send_at: core.now });
                }
                self.on_ended(core, jobs, &end);
                self.announcer.tell_end(end);
            }
            Some(owner) => {
                let why = format!("it belongs to {}, and only its owner's key can cancel it", owner.short());
                core.act(Notice::CancelRefused { job: id, why });
            }
            None => {
                let why = "no such job is known here; it may be over already".to_owned();
                core.act(Notice::CancelRefused { job: id, why });
            }
        }
    }

    /// Leaves the mesh. This peer's jobs end with it, except those whose logs are persisted: they continue when it
    /// comes back.
    pub(super) fn leave(&mut self, core: &mut Core, jobs: &mut Jobs) {
        let ending: Vec<JobId> = self.jobs.iter().filter(|(_, j)| !j.ledger.is_kept()).map(|(&id, _)| id).collect();
        for id in ending {
            self.finish(core, jobs, id, Outcome::Cancelled);
        }
    }

    /// Handles the signed end of a job from any source; returns whether it is valid and new.
    pub(super) fn on_ended(&mut self, core: &mut Core, jobs: &mut Jobs, signed: &Signed<End>) -> bool {
        let Some(end) = jobs.end(core, signed) else { return false };
        if let Some(mut job) = self.jobs.remove(&end.job) {
            let outcome = match end.outcome {
                // An earlier run signed it, and its last decisions are lost. All peers have dropped the job since.
                Outcome::Done if !job.is_all_done() => Outcome::Failed(LOST_AFTER_DONE.to_owned()),
                outcome => outcome,
            };
            // The job ends whether or not that can be written to its log.
            if let Err(why) = job.ledger.close(core, Decision::End(outcome.clone())) {
                core.log(format!("job {}: {why}", end.job.short()));
            }
            job.tell_everyone(core, signed);
            core.act(Notice::Ended { job: end.job, outcome, failure: None });
        }
        true
    }

    /// Takes the end of a job that arrived by another way than the mesh, and publishes it if it is new, so that the
    /// same end received many times causes one message.
    pub(super) fn pass_on_end(&mut self, core: &mut Core, jobs: &mut Jobs, signed: Signed<End>) {
        if self.on_ended(core, jobs, &signed) {
            self.announcer.tell_end(signed);
        }
    }

    /// Announces a job's end, which is decided.
    fn finish(&mut self, core: &mut Core, jobs: &mut Jobs, id: JobId, outcome: Outcome) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let signed = job.ledger.sign(&End { job: id, outcome: outcome.clone() });
        core.act(Notice::Progress(job.progress()));
        // No other peer knows of a job whose first batch could not be persisted.
        jobs.set_done(core.now, id, (job.done(), job.tasks()), job.reopened);
        jobs.end(core, &signed);
        job.tell_everyone(core, &signed);
        self.announcer.tell_end(signed);
        core.act(Notice::Ended { job: id, outcome, failure: job.failure });
    }

    /// Drives every job. Returns the jobs that opened just now, each with the number of starting places that were given
    /// away, including this peer's if it works.
    pub(super) fn drive(&mut self, core: &mut Core, jobs: &mut Jobs) -> Vec<(JobId, u32)> {
        let mut opened = Vec::new();
        let mut ended = Vec::new();
        for job in self.jobs.values_mut() {
            job.drive(core, jobs);
            opened.extend(job.places.take().map(|of| (job.id, of)));
            ended.extend(job.ended.take().map(|outcome| (job.id, outcome)));
        }
        let now = core.now;
        for cancelled in self.ends.iter_mut().filter(|c| c.send_at <= now) {
            cancelled.send_at = Time::NEVER;
            cancelled.tries += 1;
            let pending = AuthorityRequest::Cancel(cancelled.job);
            core.request(cancelled.to, Request::Ended(cancelled.end.clone()), vec![], pending);
        }
        for (id, outcome) in ended {
            self.finish(core, jobs, id, outcome);
        }
        self.announcer.drive(core, jobs, &mut self.jobs);
        opened
    }

    pub(super) fn deadline(&self, jobs: &Jobs) -> Time {
        let ends = self.ends.iter().map(|cancelled| cancelled.send_at);
        let own = self.jobs.values().map(Job::deadline).chain(ends).min().unwrap_or(Time::NEVER);
        own.min(self.announcer.deadline(jobs, &self.jobs))
    }

    /// Handles another peer's claim in a job of this peer's.
    pub(super) fn on_claim(&mut self, from: PeerKey, claim: &crate::message::Claim) {
        if let Some(job) = self.jobs.get_mut(&claim.job) {
            job.note_worker(from);
        }
    }
}

/// Tells this peer's user that a job was refused.
fn refuse(core: &mut Core, manifest: &Manifest, why: &str) {
    core.act(Notice::SubmitRefused { nonce: manifest.nonce, why: why.to_owned() });
}

/// Tells an owner of partitions which attempts are accepted, and how many buckets make a task.
fn send_accept(core: &mut Core, to: PeerKey, accept: Accept) {
    let request = Request::Accept(accept.clone());
    core.request(to, request, vec![], AuthorityRequest::Accept(AcceptRequest { to, accept }));
}
