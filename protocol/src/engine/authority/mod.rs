//! The authority: signs the few facts on which all peers must agree, for the jobs that were submitted here (rule 1).
//!
//! It schedules nothing. It learns from shufflers which attempts they hold, accepts one digest per task, makes a new
//! epoch when a shuffler is lost, takes the results, and decides when a job is over.

mod announcer;
mod choice;
mod effects;
mod ends;
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
mod shufflers;
mod summary;
mod waiting;
mod watch;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::announcer::Announcer;
use self::choice::choose_shufflers;
use self::ends::Cancelled;
use self::job::Job;
use self::ledger::Ledger;
use self::lost::Lost;
use self::missing::{SHUFFLER_DIAL, SHUFFLER_GRACE};
use super::core::Core;
use super::jobs::Jobs;
use crate::decisions::{Decision, State};
use crate::epoch::Epoch;
use crate::id::{JobId, PeerKey};
use crate::io::{Notice, Resumption, Submission};
use crate::limits;
use crate::manifest::Manifest;
use crate::sign::Signed;
use crate::time::Time;

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
            job.on_epoch_shown(signed);
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
        for job in self
            .jobs
            .values_mut()
            .filter(|j| j.is_open && j.offered.len() < limits::JOB_WORKERS && !j.offered.contains(&peer))
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
                let grace = if core.has_just_resumed() { SHUFFLER_DIAL } else { SHUFFLER_GRACE };
                job.replace_after(core.now, peer, grace, "the connection to it broke");
                // Due now: the probe makes this peer dial it.
                job.watch.at = core.now;
            }
        }
    }

    /// Resumes after this peer did not run for as long as `asleep`.
    pub(super) fn on_resumed(&mut self, now: Time, asleep: Duration) {
        self.jobs.values_mut().for_each(|job| job.on_resumed(now, asleep));
    }

    pub(super) fn on_goodbye(&mut self, core: &mut Core, peer: PeerKey) {
        for job in self.jobs.values_mut() {
            job.stages.iter_mut().for_each(|stage| stage.shards.leaves(&peer));
            if job.is_shuffler(&peer) {
                job.replace_after(core.now, peer, Duration::ZERO, "it left");
            }
        }
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
        self.tell_other_homes(core);
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
}

/// Tells this peer's user that a job was refused.
fn refuse(core: &mut Core, manifest: &Manifest, why: &str) {
    core.act(Notice::SubmitRefused { nonce: manifest.nonce, why: why.to_owned() });
}
