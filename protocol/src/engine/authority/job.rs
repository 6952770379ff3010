//! One job of this peer's authority: its epochs, acceptances and workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::failures::Failures;
use super::ledger::Ledger;
use super::lost::Lost;
use super::missing::Missing;
use super::outputs::Storing;
use super::shards::Shards;
use super::shuffle::Shuffle;
use super::waiting::Waiting;
use super::watch::Watch;
use crate::engine::core::Core;
use crate::engine::jobs::{Jobs, TaskCounts};
use crate::engine::pending::{AcceptRequest, AuthorityRequest, Pending};
use crate::engine::starting_place::StartingPlace;
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Notice, Progress};
use crate::limits;
use crate::manifest::{self, Manifest};
use crate::message::{Accept, Announce, Attempts, AuthoredAttempt, End, Failure, Outcome, Request};
use crate::part::{PartitionId, StageId, TaskId};
use crate::ranges::BitSet;
use crate::ring::Ring;
use crate::sign::Signed;
use crate::split::Split;
use crate::time::Time;

/// Interval of progress reports to the user.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Most peers to which a new job is offered directly.
const OFFERS: usize = 32;

#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) manifest: Arc<Manifest>,
    pub(super) signed: Signed<Manifest>,
    /// The decisions. All other fields derive from what peers told this one.
    pub(super) ledger: Ledger,
    /// Whether its first batch is in force, so that other peers may learn of the job.
    pub(super) is_open: bool,
    /// How many starting places were given away, until the engine takes the number.
    pub(super) places: Option<u32>,
    /// Stages in which lost attempts were computed again and differ from the accepted ones.
    pub(super) differing: BTreeSet<StageId>,
    /// Seals and results received and not decided yet; they are decided together.
    pub(super) seals: BTreeMap<(StageId, Hash), BTreeSet<PartitionId>>,
    pub(super) outputs: BTreeMap<StageId, Vec<AuthoredAttempt>>,
    /// Its end is decided, or it was given up.
    pub(super) ending: bool,
    /// How it ended; `None` while it is not over.
    pub(super) ended: Option<Outcome>,
    /// The failure that ended it, if one did.
    pub(super) failure: Option<Failure>,
    pub(super) epoch: Epoch,
    pub(super) signed_epoch: Signed<Epoch>,
    pub(super) stages: Vec<Stage>,
    pub(super) reopened: u32,
    pub(super) submitted: Time,
    pub(super) announce_at: Time,
    pub(super) progress_at: Time,
    pub(super) workers: BTreeSet<PeerKey>,
    /// Workers of which a result was accepted.
    pub(super) proven: BTreeSet<PeerKey>,
    pub(super) failures: Failures,
    /// When a task was last done, or when the job was submitted.
    pub(super) progressed: Time,
    pub(super) waiting: Waiting,
    /// Shufflers that are given up unless they come back.
    pub(super) missing: BTreeMap<PeerKey, Missing>,
    /// Whether a remembered shuffler turned out to be gone: from then on, epochs name connected ones only.
    pub(super) connected_only: bool,
    /// Shufflers that were given up. They are not named again: one that comes and goes would cost the job an epoch each
    /// time.
    pub(super) gone: BTreeSet<PeerKey>,
    pub(super) offered: BTreeSet<PeerKey>,
    /// Number of offers that peers refused for lack of room for one more job.
    pub(super) refused: u32,
    pub(super) watch: Watch,
    pub(super) lost: Lost,
}

#[derive(Debug)]
pub(super) struct Stage {
    /// The stage as the manifest describes it, with the number of tasks and shards once that is settled.
    pub(super) plan: manifest::Stage,
    pub(super) done: BitSet<TaskId>,
    pub(super) shuffle: Option<Shuffle>,
    /// Outputs being written to this peer's disk and to the log.
    pub(super) storing: BTreeMap<TaskId, Storing>,
    pub(super) shards: Shards,
}

impl Stage {
    /// Whether a task is done or about to be accepted.
    pub(super) fn is_finished(&self, task: TaskId) -> bool {
        let accepted = |s: &Shuffle| s.accepted.contains(task) && s.lacking[task.index()] == 0;
        self.done.contains(task) || self.shuffle.as_ref().is_some_and(accepted)
    }
}

impl Job {
    /// A job whose first batch is not in force yet.
    pub(super) fn new(core: &Core, ledger: Ledger, epoch: Epoch, signed_epoch: Signed<Epoch>) -> Self {
        let state = ledger.state();
        let manifest = state.manifest().clone();
        let ring = Ring::new(&epoch);
        let stages = manifest.numbered_stages().map(|(number, stage)| Stage {
            plan: stage.clone(),
            done: BitSet::new(stage.tasks),
            shuffle: stage
                .shuffle()
                .map(|shape| Shuffle::new(ring.owners(number, shape.partitions, manifest.replicas), stage.tasks)),
            storing: BTreeMap::new(),
            shards: Shards::new(stage.shards),
        });
        Self {
            id: state.job(),
            signed: state.signed_manifest().clone(),
            stages: stages.collect(),
            manifest,
            ledger,
            is_open: false,
            places: None,
            differing: BTreeSet::new(),
            seals: BTreeMap::new(),
            outputs: BTreeMap::new(),
            ending: false,
            ended: None,
            failure: None,
            epoch,
            signed_epoch,
            reopened: 0,
            submitted: core.now,
            announce_at: Time::NEVER,
            progress_at: core.now,
            // This peer's own claims are gossiped to its neighbours and not delivered to itself.
            workers: core.advert.roles.worker.then_some(core.me).into_iter().collect(),
            proven: BTreeSet::new(),
            failures: Failures::default(),
            progressed: core.now,
            waiting: Waiting::default(),
            missing: BTreeMap::new(),
            connected_only: false,
            gone: BTreeSet::new(),
            offered: BTreeSet::new(),
            refused: 0,
            watch: Watch::new(core.now),
            lost: Lost::default(),
        }
    }

    /// Notes that a peer works on the job. This one does not count if it only tries tasks that failed elsewhere.
    pub(super) fn note_worker(&mut self, core: &Core, worker: PeerKey) {
        let counts = worker != core.me || core.advert.roles.worker;
        if counts && self.workers.len() < limits::JOB_WORKERS {
            self.workers.insert(worker);
        }
    }

    /// Notes the authors of accepted results.
    pub(super) fn note_authors(&mut self, authors: impl IntoIterator<Item = PeerKey>) {
        for author in authors {
            if self.proven.len() < limits::JOB_WORKERS {
                self.proven.insert(author);
            }
        }
    }

    /// Whether a peer is a shuffler in the newest epoch.
    pub(super) fn is_shuffler(&self, peer: &PeerKey) -> bool {
        self.epoch.shufflers.iter().any(|s| s.peer == *peer)
    }

    /// Whether a peer is known as one that runs tasks.
    pub(super) fn is_worker(&self, core: &Core, peer: &PeerKey) -> bool {
        let says_so = core.directory.get(peer).is_some_and(|m| m.advert.roles.worker);
        says_so || *peer == core.me || self.workers.contains(peer)
    }

    pub(super) fn done(&self) -> Vec<u32> {
        self.stages.iter().map(|s| s.done.count()).collect()
    }

    /// The number of tasks of each stage; a minimum for a stage whose sources are still being written.
    pub(super) fn tasks(&self) -> Vec<u32> {
        let unsettled = |stage: &Stage| stage.plan.reads().find(|&read| self.split_of(read).is_none());
        let tasks = self.stages.iter().map(|stage| match unsettled(stage) {
            Some(read) => self.manifest.stages[read.index()].shuffle().map_or(0, |shape| u32::from(shape.partitions)),
            None => stage.plan.tasks,
        });
        tasks.collect()
    }

    /// How a stage's output is divided into tasks, once that is in force.
    pub(super) fn split_of(&self, stage: StageId) -> Option<Split> {
        self.ledger.state().stage(stage)?.split()
    }

    /// How many buckets of a stage's output make a task, once that is in force.
    pub(super) fn width_of(&self, stage: StageId) -> Option<u32> {
        self.split_of(stage).map(|split| split.width())
    }

    /// Settles the number of tasks of the stage that reads `stage`, once it is known for all sources of that reader.
    pub(super) fn settle_reader_of(&mut self, stage: StageId) {
        let (Some(split), Some(reader)) = (self.split_of(stage), self.manifest.flexible_reader_of(stage)) else {
            return;
        };
        let described = &self.manifest.stages[reader.index()];
        if described.reads().any(|read| self.split_of(read).is_none()) {
            return;
        }
        let plan = described.settled(&split);
        let reader = &mut self.stages[reader.index()];
        reader.done = BitSet::new(plan.tasks);
        reader.shards = Shards::new(plan.shards);
        reader.plan = plan;
    }

    /// How far the job is, for other peers.
    pub(super) fn counts(&self) -> TaskCounts {
        TaskCounts { done: self.done(), tasks: self.tasks(), reopened: self.reopened }
    }

    pub(super) fn announce(&self, now: Time) -> Announce {
        let small = self.signed.payload_len() <= limits::INLINE_MANIFEST_BYTES;
        let inline = small && now.since(self.submitted) < limits::INLINE_MANIFEST_FOR;
        Announce {
            job: self.id,
            owner: self.manifest.owner,
            home: self.manifest.home,
            manifest: inline.then(|| self.signed.clone()),
            epoch: self.signed_epoch.clone(),
            done: self.done(),
            tasks: self.tasks(),
            reopened: self.reopened,
            age: now.since(self.submitted).as_secs() as u32,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            job: self.id,
            stages: self.done().into_iter().zip(self.tasks()).collect(),
            workers: self.workers.len() as u32,
            shufflers: self.epoch.shufflers.len() as u32,
            failures: self.failures.count,
        }
    }

    /// Offers the job to its shufflers, and to as many connected workers as it has work for. Returns the number of
    /// starting places, including this peer's if it works.
    pub(super) fn offer_to_many(&mut self, core: &mut Core) -> u32 {
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
            self.offer(core, peer, Some(StartingPlace { slot: slot as u32, of }));
        }
        let mut shufflers: Vec<PeerKey> = self.epoch.shufflers.iter().map(|s| s.peer).collect();
        shufflers.retain(|p| *p != core.me && !workers.contains(p));
        for peer in shufflers {
            self.offer(core, peer, None);
        }
        of
    }

    pub(super) fn offer(&mut self, core: &mut Core, peer: PeerKey, place: Option<StartingPlace>) {
        self.offered.insert(peer);
        // Without a place of its own, a peer draws one: any of many slots will do.
        let many = 1 << 16;
        let draw = Hash::of_parts("webmesh 1 offered place", &[&self.id.0, &peer.0]).draw();
        let drawn = StartingPlace { slot: (draw % u64::from(many)) as u32, of: many };
        let StartingPlace { slot, of } = place.unwrap_or(drawn);
        let offer = Request::Offer { announce: self.announce(core.now), slot, of };
        core.request(peer, offer, vec![], AuthorityRequest::Offer(self.id));
    }

    pub(super) fn drive(&mut self, core: &mut Core, jobs: &mut Jobs) {
        // Effects of decisions persisted since the last call come first: the next epoch must follow the newest one.
        self.take_effects(core, jobs);
        if self.is_open {
            self.watch(core);
            self.probe(core);
            self.supersede_lost_epoch(core);
            self.replace_lost_shufflers(core);
            for stage in self.manifest.stage_ids() {
                self.reopen(core, stage);
                self.repeat_acceptances(core, stage);
            }
        }
        // Nothing is decided after the end, not even what was received before it.
        if self.is_open && !self.ending && !self.awaits_epoch() {
            self.manifest.stage_ids().for_each(|stage| self.decide_acceptances(core, stage));
            self.manifest.stage_ids().for_each(|stage| self.decide_split(stage));
            self.decide_seals_and_outputs();
            self.revoke_differing_outputs(core);
            if let Some(why) = self.failures.why_no_worker_can(core, &self.manifest, &self.workers, self.progressed) {
                self.end_with(Outcome::Failed(why), None);
            }
        }
        self.advance(core, jobs);
        if self.is_open {
            // A new epoch is sent at once.
            self.probe(core);
        }
        if self.is_open && core.now >= self.progress_at {
            self.progress_at = core.now + PROGRESS_EVERY;
            if jobs.set_counts(core.now, self.id, self.counts()) {
                self.on_progress(core);
            }
            self.report_waiting(core);
            core.act(Notice::Progress(self.progress()));
        }
    }

    pub(super) fn deadline(&self) -> Time {
        if !self.is_open {
            return Time::NEVER;
        }
        let always = self.progress_at.min(self.watch.at);
        if self.ending || self.awaits_epoch() {
            // Nothing more is decided before the disk has answered.
            return always;
        }
        let missing = self.missing.values().map(|missing| missing.until);
        let shuffles = self.stages.iter().filter_map(|s| s.shuffle.as_ref());
        let shuffles = shuffles.flat_map(|s| {
            let failed = s.accept_failed.iter().map(|(at, _, _)| *at).min().unwrap_or(Time::NEVER);
            [s.accept_at, s.reopen_at, failed]
        });
        missing.chain(shuffles).chain([always, self.lost.deadline()]).min().unwrap_or(Time::NEVER)
    }

    /// Resumes after this peer did not run for as long as `asleep`: messages sent to it meanwhile may have been missed.
    pub(super) fn on_resumed(&mut self, now: Time, asleep: Duration) {
        self.watch.on_resumed(now);
        self.missing.values_mut().for_each(|missing| missing.until = missing.until + asleep);
        self.stages
            .iter_mut()
            .filter_map(|stage| stage.shuffle.as_mut())
            .for_each(|shuffle| shuffle.on_resumed(asleep));
    }

    /// Reopens tasks whose accepted attempts no owner of the newest epoch has committed.
    pub(super) fn reopen(&mut self, core: &mut Core, stage: StageId) {
        let of = &mut self.stages[stage.index()];
        let Some(shuffle) = of.shuffle.as_mut().filter(|s| s.reopen_at <= core.now) else { return };
        shuffle.reopen_at = Time::NEVER;
        let mut count = 0;
        for task in TaskId::below(of.done.size()) {
            if shuffle.lacking[task.index()] > 0 && of.done.remove(task) {
                count += 1;
            }
        }
        // The lost owner may have acknowledged more than it committed. Workers believe that those tasks are done, and
        // must ask.
        if !of.done.is_full() {
            self.reopened = self.reopened.saturating_add(1);
            self.announce_at = core.now;
        }
        if count > 0 {
            core.log(format!("job {}: {count} tasks are computed again", self.id.short()));
        }
    }

    /// Resends acceptances that were not acknowledged.
    fn repeat_acceptances(&mut self, core: &mut Core, stage: StageId) {
        let Some(shuffle) = &mut self.stages[stage.index()].shuffle else { return };
        let again: Vec<_> = shuffle.accept_failed.extract_if(.., |(at, _, _)| *at <= core.now).collect();
        for (_, to, attempts) in again {
            self.send_accept(core, to, stage, attempts);
        }
    }

    /// Tells an owner of a stage's partitions which attempts are accepted, and how many buckets make a task.
    pub(super) fn send_accept(&self, core: &mut Core, to: PeerKey, stage: StageId, attempts: Attempts) {
        let width = self.width_of(stage);
        let accept = Accept { job: self.id, stage, epoch: self.epoch.number, attempts, width };
        let request = Request::Accept(accept.clone());
        core.request(to, request, vec![], AuthorityRequest::Accept(AcceptRequest { to, accept }));
    }

    /// Tells shufflers and workers directly that the job is over: gossip may be lost.
    pub(super) fn tell_all_of_end(&self, core: &mut Core, end: &Signed<End>) {
        let shufflers = self.epoch.shufflers.iter().map(|s| s.peer);
        let connected = self.offered.iter().copied().filter(|p| core.directory.is_connected(p));
        let peers: BTreeSet<PeerKey> = shufflers.chain(connected).filter(|p| *p != core.me).collect();
        for peer in peers {
            core.request(peer, Request::Ended(end.clone()), vec![], Pending::Ignored);
        }
    }
}
