//! The jobs that this peer knows: their manifests, their newest epochs, and how they ended.

mod room;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::pending::{Answer, JobsRequest, Pending};
use crate::codec::DecodeError;
use crate::epoch::Epoch;
use crate::id::{JobId, PeerKey};
use crate::limits;
use crate::manifest::Manifest;
use crate::message::{self, Announce, End, JobState, JobStatus, Outcome, Request, Response};
use crate::sign::{Signed, SignedError};
use crate::time::Time;

/// The known jobs, and what has changed about them since the engine last asked.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    known: BTreeMap<JobId, Known>,
    /// Ended jobs, oldest first: a late announcement must not reopen one.
    ended: VecDeque<Ended>,
    /// Ends of jobs that are not known yet, with their signers: the announcement may still be on its way.
    early: VecDeque<(JobId, PeerKey)>,
    changes: VecDeque<(JobId, Change)>,
    workers: u32,
}

/// A home counts as silent once this many announcements in a row are missing: gossip loses single ones.
const ANNOUNCEMENTS_LOST: u32 = 4;
/// Most ends kept of jobs that are not known.
const EARLY: usize = 64;
/// Interval between messages to a home that has lost an epoch.
const SHOW_AGAIN: Duration = Duration::from_secs(2);

/// A job that is over.
#[derive(Debug)]
struct Ended {
    job: JobId,
    status: JobStatus,
    /// The number of its newest known epoch; `None` if no epoch was known.
    epoch: Option<u32>,
    /// The end as its owner signed it; `None` while only its home's goodbye is known.
    end: Option<Signed<End>>,
}

#[derive(Debug)]
struct Known {
    owner: PeerKey,
    home: PeerKey,
    /// Whether it was submitted at this peer. Such a job does not expire: this peer's authority ends it.
    own: bool,
    manifest: Option<(Signed<Manifest>, Arc<Manifest>)>,
    epoch: Option<(Signed<Epoch>, Arc<Epoch>)>,
    heard: Time,
    asked: Option<Time>,
    /// When its home was last shown an epoch that it seems to have lost.
    shown: Option<Time>,
    /// When another peer that announced this job was last asked for its manifest.
    rival_asked: Option<Time>,
    submitted: Time,
    counts: TaskCounts,
}

/// How far a job is.
#[derive(Clone, Debug)]
pub(super) struct TaskCounts {
    /// Tasks done, per stage.
    pub(super) done: Vec<u32>,
    /// Tasks in all, per stage.
    pub(super) tasks: Vec<u32>,
    /// The count of [`Announce::reopened`].
    pub(super) reopened: u32,
}

/// A change of a job that the roles must know of.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// The job can be worked on: its manifest and an epoch are known.
    Open { manifest: Arc<Manifest>, epoch: Arc<Epoch>, signed_epoch: Signed<Epoch>, done: Vec<u32>, reopened: u32 },
    /// The job cannot be worked on here: it needs a newer version of the protocol.
    Newer { home: PeerKey },
    /// The job has a newer epoch.
    Epoch { epoch: Arc<Epoch>, signed_epoch: Signed<Epoch> },
    /// Tasks that were done are open again.
    Reopened(u32),
    /// The job is over.
    Over,
}

impl Jobs {
    /// The changes since the last call.
    pub(super) fn changes(&mut self) -> Vec<(JobId, Change)> {
        self.changes.drain(..).collect()
    }

    /// Handles an announcement, received by gossip or as an offer. Only a job's home announces it.
    pub(super) fn announced(&mut self, core: &mut Core, from: PeerKey, announce: Announce) {
        let job = announce.job;
        if from != announce.home || !self.may_live(&announce) {
            return;
        }
        if !self.known.contains_key(&job) {
            let over = self.early.contains(&(job, announce.owner));
            // The named owner must have signed the epoch; otherwise anybody could use up another owner's share of the
            // table.
            if over || !announce.is_signed_by_owner() || !self.make_room(core, &announce) {
                return;
            }
            self.known.insert(job, Known::new(core.now, &announce));
        }
        if let Some(manifest) = announce.manifest {
            self.take_manifest(core.interface, job, manifest);
        }
        let Some(known) = self.known.get_mut(&job) else { return };
        let rival = known.home != announce.home || known.owner != announce.owner;
        let asked = if rival { &mut known.rival_asked } else { &mut known.asked };
        let again = asked.is_none_or(|at| core.now.since(at) > limits::ANNOUNCE_INTERVAL / 2);
        if known.manifest.is_none() && again {
            *asked = Some(core.now);
            let pending = if rival { JobsRequest::RivalManifest(job) } else { JobsRequest::Manifest(job) };
            core.request(announce.home, Request::Manifest { job }, vec![], pending);
        }
        if rival {
            return;
        }
        known.heard = core.now;
        known.counts.done = announce.done;
        known.counts.tasks = announce.tasks;
        self.take_epoch(core, &announce.epoch);
        if let Some(known) = self.known.get_mut(&job).filter(|k| announce.reopened > k.counts.reopened) {
            known.counts.reopened = announce.reopened;
            self.changes.push_back((job, Change::Reopened(announce.reopened)));
        }
    }

    /// Whether an announced job may be running. A job whose home said goodbye continues once that home announces a
    /// later epoch.
    fn may_live(&mut self, announce: &Announce) -> bool {
        let Some(place) = self.ended.iter().position(|ended| ended.job == announce.job) else { return true };
        let ended = &self.ended[place];
        let is_later = |epoch: &Epoch| ended.epoch.is_none_or(|known| epoch.number > known);
        let goes_on = ended.status.state == JobState::Left
            && ended.status.owner == announce.owner
            && announce.epoch.peek(is_later).unwrap_or(false)
            && announce.is_signed_by_owner();
        if goes_on {
            self.ended.remove(place);
        }
        goes_on
    }

    /// The signed end of a job, if it is over.
    pub(super) fn end_of(&self, job: &JobId) -> Option<Signed<End>> {
        self.ended.iter().find(|ended| ended.job == *job)?.end.clone()
    }

    /// Takes a job's manifest from any peer: the job's id is its hash. An earlier announcement under that id that names
    /// another owner or home is replaced.
    fn take_manifest(&mut self, interface: u8, job: JobId, signed: Signed<Manifest>) {
        let Some(known) = self.known.get_mut(&job).filter(|k| k.manifest.is_none()) else { return };
        if Manifest::id_of(&signed) != job {
            return;
        }
        let manifest = match signed.open() {
            Ok(manifest) => manifest,
            Err(SignedError::Decode(DecodeError::Newer { .. })) => {
                self.changes.push_back((job, Change::Newer { home: known.home }));
                return;
            }
            Err(_) => return,
        };
        if manifest.owner != signed.signer() {
            return;
        }
        if (known.owner, known.home) != (manifest.owner, manifest.home) {
            (known.owner, known.home, known.epoch) = (manifest.owner, manifest.home, None);
        }
        known.manifest = Some((signed, Arc::new(manifest)));
        self.open_if_complete(interface, job);
    }

    /// Handles the answer to a request for a manifest, or its failure.
    pub(super) fn on_response(&mut self, core: &Core, request: &JobsRequest, answer: Answer) {
        match *request {
            JobsRequest::Manifest(job) => self.on_manifest(core, job, answer),
            JobsRequest::RivalManifest(job) => self.on_rival_manifest(core, job, answer),
        }
    }

    fn on_manifest(&mut self, core: &Core, job: JobId, answer: Answer) {
        match answer {
            Ok((Response::Manifest(signed), _)) => {
                if let Some(known) = self.known.get_mut(&job) {
                    known.heard = core.now;
                }
                self.take_manifest(core.interface, job, signed);
            }
            Ok((Response::Missing, _)) => self.on_gone(job),
            // Without an answer, the next announcement or the next check for silent homes asks again.
            _ => {}
        }
    }

    /// Handles the answer of a peer that announced a job under another owner or home: its manifest, or a failure.
    fn on_rival_manifest(&mut self, core: &Core, job: JobId, answer: Answer) {
        if let Ok((Response::Manifest(signed), _)) = answer {
            self.take_manifest(core.interface, job, signed);
        }
    }

    /// Takes an epoch if its owner signed it and it is newer than the known one.
    pub(super) fn take_epoch(&mut self, core: &Core, signed: &Signed<Epoch>) {
        // The signature is checked last: most epochs received are known already.
        let Ok(job) = signed.peek(|e| e.job) else { return };
        let Some(known) = self.known.get_mut(&job) else { return };
        let newest = known.epoch.as_ref().map(|(_, e)| e.clone());
        let is_newer = |e: &Epoch| newest.as_ref().is_none_or(|n| e.number > n.number && e.keeps_generations_of(n));
        if !signed.peek(is_newer).unwrap_or(false) || signed.signer() != known.owner {
            return;
        }
        let Ok(epoch) = signed.open() else { return };
        let epoch = Arc::new(epoch);
        known.epoch = Some((signed.clone(), epoch.clone()));
        if newest.is_none() {
            self.open_if_complete(core.interface, job);
        } else if known.manifest.is_some() {
            self.changes.push_back((job, Change::Epoch { epoch, signed_epoch: signed.clone() }));
        }
    }

    /// Handles an epoch received from the job's home. If the home has lost a later one, or one that `told` contradicts
    /// (its log was damaged), it is sent the epoch that its owner signed.
    pub(super) fn show_lost_epoch(&mut self, core: &mut Core, told: &Signed<Epoch>) {
        let Ok(job) = told.peek(|e| e.job) else { return };
        let Some(known) = self.known.get_mut(&job).filter(|known| known.home != core.me) else { return };
        let Some((signed, newest)) = &known.epoch else { return };
        let is_behind = |e: &Epoch| e.number <= newest.number || !e.keeps_generations_of(newest);
        let again = known.shown.is_none_or(|at| core.now.since(at) >= SHOW_AGAIN);
        if again && signed.hash() != told.hash() && told.peek(is_behind).unwrap_or(false) {
            known.shown = Some(core.now);
            core.request(known.home, Request::NewEpoch(signed.clone()), vec![], Pending::Ignored);
        }
    }

    fn open_if_complete(&mut self, interface: u8, job: JobId) {
        if let Some(open) = self.known.get(&job).and_then(|known| known.open(interface)) {
            self.changes.push_back((job, open));
        }
    }

    /// The jobs that can be worked on, each as the [`Change::Open`] that would describe it now.
    pub(super) fn open_jobs(&self, interface: u8) -> Vec<(JobId, Change)> {
        self.known.iter().filter_map(|(&job, known)| Some((job, known.open(interface)?))).collect()
    }

    /// A job of [`Jobs::open_jobs`].
    pub(super) fn open_job(&self, job: &JobId, interface: u8) -> Option<Change> {
        self.known.get(job)?.open(interface)
    }

    /// Enters a job of this peer's own, whatever the limits on jobs, and replaces what others announced under its id.
    pub(super) fn enter_own(&mut self, core: &mut Core, signed: Signed<Manifest>, announce: Announce) {
        let job = announce.job;
        self.known.insert(job, Known { own: true, ..Known::new(core.now, &announce) });
        self.announced(core, core.me, announce);
        self.take_manifest(core.interface, job, signed);
    }

    /// Updates the progress of a job of this peer's own; returns whether a task was done since the last call.
    pub(super) fn set_counts(&mut self, now: Time, job: JobId, counts: TaskCounts) -> bool {
        let Some(known) = self.known.get_mut(&job) else { return false };
        known.heard = now;
        let has_progressed = counts.done.iter().zip(&known.counts.done).any(|(now, before)| now > before);
        let reopened = counts.reopened.max(known.counts.reopened);
        if reopened > known.counts.reopened {
            self.changes.push_back((job, Change::Reopened(reopened)));
        }
        known.counts = TaskCounts { reopened, ..counts };
        has_progressed
    }

    /// Takes the end of a job if its owner signed it; returns it if it was not known.
    pub(super) fn end(&mut self, core: &Core, signed: &Signed<End>) -> Option<End> {
        let end = signed.open().ok()?;
        let Some(known) = self.known.get(&end.job).filter(|known| known.manifest.is_some()) else {
            // Whoever announced it is not its owner for certain: nobody is told of this end.
            if self.known.get(&end.job).is_some_and(|known| known.owner == signed.signer()) {
                self.forget(end.job, None);
            }
            let over = self.ended.iter_mut().find(|ended| ended.job == end.job);
            if let Some(ended) = over.filter(|ended| ended.status.owner == signed.signer()) {
                // The submitter's goodbye arrived before its signed end. The first signed end holds.
                if ended.status.state != JobState::Left {
                    return None;
                }
                end_status(&mut ended.status, &end.outcome);
                ended.end = Some(signed.clone());
                return Some(end);
            }
            if self.early.len() == EARLY {
                self.early.pop_front();
            }
            self.early.push_back((end.job, signed.signer()));
            return None;
        };
        if signed.signer() != known.owner {
            return None;
        }
        let mut status = known.status(core.now, end.job);
        end_status(&mut status, &end.outcome);
        self.forget(end.job, Some((status, Some(signed.clone()))));
        Some(end)
    }

    /// Marks a job as over because its home does not know it any more.
    pub(super) fn on_gone(&mut self, job: JobId) {
        self.forget(job, None);
    }

    /// Handles a peer's goodbye: the jobs that were submitted there are over. Their signed ends may still follow, as
    /// those travel by gossip and the goodbye travels directly.
    pub(super) fn home_left(&mut self, now: Time, peer: PeerKey) {
        let theirs = self.known.iter().filter(|(_, known)| known.home == peer);
        let left: Vec<_> = theirs.map(|(&job, k)| (job, k.manifest.is_some().then(|| k.status(now, job)))).collect();
        for (job, mut status) in left {
            if let Some(status) = &mut status {
                status.state = JobState::Left;
            }
            // An announcement without a manifest may name the wrong home: such a job may be announced again.
            self.forget(job, status.map(|status| (status, None)));
        }
    }

    fn forget(&mut self, job: JobId, over: Option<(JobStatus, Option<Signed<End>>)>) {
        let known = self.known.remove(&job);
        if known.is_some() {
            self.changes.push_back((job, Change::Over));
        }
        if let Some((status, end)) = over {
            if self.ended.len() == limits::JOBS {
                self.ended.pop_front();
            }
            let epoch = known.and_then(|known| known.epoch).map(|(_, epoch)| epoch.number);
            self.ended.push_back(Ended { job, status, epoch, end });
        }
    }

    /// Asks the homes of jobs that were not announced for a while whether the job is still running: gossip may fail for
    /// long.
    pub(super) fn ask_silent_homes(&mut self, core: &mut Core) {
        let now = core.now;
        let lifetime = self.lifetime();
        let silent = |k: &Known| now.since(k.heard) > lifetime / 2;
        let asked = |k: &Known| k.asked.is_some_and(|at| now.since(at) < 2 * limits::ANNOUNCE_INTERVAL);
        for (&job, known) in self.known.iter_mut().filter(|(_, k)| !k.own && silent(k) && !asked(k)) {
            known.asked = Some(now);
            if known.home != core.me {
                core.request(known.home, Request::Manifest { job }, vec![], JobsRequest::Manifest(job));
            }
        }
    }

    /// Handles the time after this peer did not run, when it could not receive anything: each job's home is asked now
    /// whether the job is still running, and has half a lifetime to answer.
    pub(super) fn on_resumed(&mut self, now: Time) {
        let half = self.lifetime() / 2 + Duration::from_micros(1);
        for known in self.known.values_mut().filter(|k| now.since(k.heard) > half) {
            known.heard = now - half;
            known.asked = None;
        }
    }

    /// Forgets other peers' jobs that were not announced for too long; a later announcement brings them back.
    pub(super) fn expire(&mut self, now: Time) -> Vec<JobId> {
        let lifetime = self.lifetime();
        let silent = self.known.iter().filter(|(_, k)| !k.own && now.since(k.heard) > lifetime);
        let silent: Vec<JobId> = silent.map(|(&job, _)| job).collect();
        silent.iter().for_each(|&job| self.forget(job, None));
        silent
    }

    /// Sets the number of known workers.
    pub(super) fn set_workers(&mut self, workers: u32) {
        self.workers = workers;
    }

    /// Interval at which each home announces its jobs, in one message if they fit. It grows with the number of homes
    /// and workers, so that together they keep within the message budget (rule 6).
    pub(super) fn announce_interval(&self) -> Duration {
        let homes = self.homes().len().div_ceil(limits::HOMES_ANNOUNCING_OFTEN).max(1) as u32;
        let crowd = homes + self.workers / limits::WORKERS_TOLD_OFTEN;
        (limits::ANNOUNCE_INTERVAL * crowd).min(limits::ANNOUNCE_INTERVAL_MOST)
    }

    /// The homes of all known jobs.
    pub(super) fn homes(&self) -> BTreeSet<PeerKey> {
        self.known.values().map(|k| k.home).collect()
    }

    /// Timeout after which a job that was not announced is forgotten.
    fn lifetime(&self) -> Duration {
        limits::ANNOUNCE_LIFETIME.max(self.announce_interval() * 3)
    }

    /// The number of running jobs.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The home of a running job: the peer at which its authority is.
    pub(super) fn home(&self, job: &JobId) -> Option<PeerKey> {
        self.known.get(job).map(|k| k.home)
    }

    /// The owner of a running job.
    pub(super) fn owner(&self, job: &JobId) -> Option<PeerKey> {
        self.known.get(job).map(|k| k.owner)
    }

    pub(super) fn signed_manifest(&self, job: &JobId) -> Option<Signed<Manifest>> {
        self.known.get(job)?.manifest.as_ref().map(|(signed, _)| signed.clone())
    }

    /// The status of all jobs whose manifests are known, running ones first, up to the limit of one answer.
    pub(super) fn statuses(&self, now: Time) -> Vec<JobStatus> {
        let late = self.announce_interval() * ANNOUNCEMENTS_LOST;
        let proven = self.known.iter().filter(|(_, known)| known.manifest.is_some());
        let alive = proven.map(|(&job, k)| {
            let quiet = now.since(k.heard);
            JobStatus { silent: (quiet > late).then_some(quiet.as_secs() as u32), ..k.status(now, job) }
        });
        let ended = self.ended.iter().rev().map(|ended| ended.status.clone());
        message::as_many_as_fit(alive.chain(ended).take(limits::JOBS), JobStatus::size)
    }
}

/// Notes in a job's status how it ended.
fn end_status(status: &mut JobStatus, outcome: &Outcome) {
    if *outcome == Outcome::Done {
        // The last announcement may be older than the last task.
        status.stages.iter_mut().for_each(|(done, tasks)| *done = *tasks);
    }
    status.state = JobState::Ended(outcome.clone());
}

impl Known {
    fn new(now: Time, announce: &Announce) -> Self {
        Self {
            owner: announce.owner,
            home: announce.home,
            own: false,
            manifest: None,
            epoch: None,
            heard: now,
            asked: None,
            shown: None,
            rival_asked: None,
            submitted: now - Duration::from_secs(u64::from(announce.age)),
            counts: TaskCounts { done: Vec::new(), tasks: Vec::new(), reopened: 0 },
        }
    }

    /// The change that tells the roles of a job that can be worked on.
    fn open(&self, interface: u8) -> Option<Change> {
        let (_, manifest) = self.manifest.as_ref()?;
        let (signed_epoch, epoch) = self.epoch.as_ref()?;
        // A peer does not join a job that needs what it does not support, such as the verification of results.
        if manifest.unsupported(interface).is_some() {
            return None;
        }
        Some(Change::Open {
            manifest: manifest.clone(),
            epoch: epoch.clone(),
            signed_epoch: signed_epoch.clone(),
            done: self.counts.done.clone(),
            reopened: self.counts.reopened,
        })
    }

    fn status(&self, now: Time, job: JobId) -> JobStatus {
        let manifest = self.manifest.as_ref().map(|(_, m)| m);
        JobStatus {
            job,
            owner: self.owner,
            name: manifest.map(|m| m.name.clone()).unwrap_or_default(),
            stages: self.counts.done.iter().copied().zip(self.counts.tasks.iter().copied()).collect(),
            age: now.since(self.submitted).as_secs() as u32,
            silent: None,
            state: JobState::Running,
        }
    }
}
