//! One job of this peer's: its epochs, its acceptances, who works on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::choice::choose_shufflers;
use super::shards::Shards;
use super::shuffle::Shuffle;
use super::watch::Watch;
use super::{ACCEPT_ATTEMPTS, WORKERS};
use crate::engine::core::{Core, Pending};
use crate::engine::jobs::Jobs;
use crate::epoch::{Epoch, Shuffler};
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Action, Notice, Progress, Token};
use crate::limits;
use crate::manifest::{Manifest, Sink, Source, partition_of_bucket};
use crate::message::{Announce, Attempts, End, Failure, Request, Response};
use crate::ranges::BitSet;
use crate::ring::Ring;
use crate::sign::{Keypair, Signed};
use crate::time::Time;

/// A shuffler whose connection broke may come back for so long before the next epoch goes on without it.
pub(super) const SHUFFLER_GRACE: Duration = Duration::from_millis(1_500);
/// A shuffler that is not connected when it is named has so long to be reached.
const SHUFFLER_DIAL: Duration = Duration::from_secs(5);
/// Progress is told to the user this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Tasks whose failures are remembered. Those beyond wait until some of these are done, or end the job.
const FAILED_TASKS: usize = 4096;
/// A job that all workers known have declined waits so long for others.
const DECLINED_AFTER: Duration = Duration::from_secs(3);
/// Peers that are offered a new job directly.
const OFFERS: usize = 32;

/// Failed attempts at one task.
#[derive(Debug)]
pub(super) struct Failed {
    /// Who made them, those that count.
    by: Vec<PeerKey>,
    /// When the last of them was heard of.
    at: Time,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) manifest: Manifest,
    pub(super) signed: Signed<Manifest>,
    pub(super) key: Keypair,
    pub(super) epoch: Epoch,
    pub(super) signed_epoch: Signed<Epoch>,
    pub(super) stages: Vec<Stage>,
    pub(super) reopened: u32,
    pub(super) submitted: Time,
    pub(super) announce_at: Time,
    pub(super) progress_at: Time,
    pub(super) workers: BTreeSet<PeerKey>,
    /// Tasks that are not done and failed somewhere.
    pub(super) failed: BTreeMap<(u8, u32), Failed>,
    pub(super) failures: u32,
    /// Workers that give a task less memory than it may ask for, and how much they give.
    pub(super) declined: BTreeMap<PeerKey, u64>,
    /// Shufflers whose connection broke, with when they are given up.
    pub(super) missing: BTreeMap<PeerKey, Time>,
    /// Shufflers that were given up: once lost, a peer is not named again, or one that comes and goes would cost the
    /// job an epoch each time.
    pub(super) gone: BTreeSet<PeerKey>,
    pub(super) offered: BTreeSet<PeerKey>,
    pub(super) watch: Watch,
}

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) done: BitSet,
    pub(super) shuffle: Option<Shuffle>,
    /// Outputs on their way to this peer's disk, with who waits for the answer.
    pub(super) storing: BTreeMap<u32, Vec<Token>>,
    pub(super) shards: Shards,
}

impl Job {
    pub(super) fn saw(&mut self, worker: PeerKey) {
        if self.workers.len() < WORKERS {
            self.workers.insert(worker);
        }
    }

    /// Whether a peer shuffles in the newest epoch.
    pub(super) fn is_shuffler(&self, peer: &PeerKey) -> bool {
        self.epoch.shufflers.iter().any(|s| s.peer == *peer)
    }

    /// Whether a peer is known as one that runs tasks.
    pub(super) fn is_worker(&self, core: &Core, peer: &PeerKey) -> bool {
        let says_so = core.directory.get(peer).is_some_and(|m| m.advert.roles.worker);
        says_so || *peer == core.me || self.workers.contains(peer)
    }

    /// A worker failed at a task. Gives how many tries the task has left.
    pub(super) fn note_failure(&mut self, core: &Core, from: PeerKey, failure: &Failure) -> u32 {
        let of = &self.manifest.stages[usize::from(failure.stage)].limits;
        let tries = u32::from(of.retries) + 1;
        let name = (failure.stage, failure.task);
        let full = self.failed.len() >= FAILED_TASKS && !self.failed.contains_key(&name);
        if failure.worker_fault || full {
            return tries - self.failed.get(&name).map_or(0, |f| f.by.len() as u32).min(tries);
        }
        // Nobody's word alone ends a job while there are others to ask: each may use up a share of the tries; more
        // only where, for as long as the task may take, nobody else has done it either.
        let connected = core.directory.with_role(|r| r.worker).filter(|(p, m)| m.connected && **p != core.me).count();
        let workers = connected as u32 + u32::from(core.advert.roles.worker);
        let share = tries.div_ceil(workers.max(1)) as usize;
        let failed = self.failed.entry(name).or_insert(Failed { by: Vec::new(), at: core.now });
        let used = failed.by.iter().filter(|p| **p == from).count();
        if used < share || core.now.since(failed.at) > of.time() {
            failed.by.push(from);
            failed.at = core.now;
        }
        tries.saturating_sub(failed.by.len() as u32)
    }

    /// Why nobody works on the job, where all known workers have declined it, and another has had time to come forward.
    pub(super) fn why_all_declined(&self, core: &Core) -> Option<String> {
        let most = *self.declined.values().max()?;
        let declined = |peer: &PeerKey| self.declined.contains_key(peer);
        let mut workers = core.directory.with_role(|r| r.worker).map(|(peer, _)| peer).chain(&self.workers);
        if core.now.since(self.submitted) < DECLINED_AFTER || !workers.all(declined) {
            return None;
        }
        let asked = self.manifest.stages.iter().map(|s| s.limits.memory).max().unwrap_or(0);
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Some(format!(
            "no worker gives a task the {} MiB that it may take; the most given is {} MiB: ask for less with \
             --task-memory, or start a node that gives more with --memory",
            mib(asked),
            most >> 20
        ))
    }

    pub(super) fn done(&self) -> Vec<u32> {
        self.stages.iter().map(|s| s.done.count()).collect()
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
            reopened: self.reopened,
            age: now.since(self.submitted).as_secs() as u32,
        }
    }

    pub(super) fn progress(&self) -> Progress {
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
            self.offer(core, peer, Some((slot as u32, of)));
        }
        let mut shufflers: Vec<PeerKey> = self.epoch.shufflers.iter().map(|s| s.peer).collect();
        shufflers.retain(|p| *p != core.me && !workers.contains(p));
        for peer in shufflers {
            self.offer(core, peer, None);
        }
        of
    }

    pub(super) fn offer(&mut self, core: &mut Core, peer: PeerKey, place: Option<(u32, u32)>) {
        self.offered.insert(peer);
        // Without a place of its own, a peer draws one: any slot of many will do.
        let many = 1 << 16;
        let draw = Hash::of_parts("webmesh 1 offered place", &[&self.id.0, &peer.0]).draw();
        let (slot, of) = place.unwrap_or(((draw % u64::from(many)) as u32, many));
        core.request(peer, Request::Offer { announce: self.announce(core.now), slot, of }, vec![], Pending::Ignored);
    }

    #[expect(clippy::too_many_arguments, reason = "all of it names one result")]
    pub(super) fn take_output(
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

    pub(super) fn go_on(&mut self, core: &mut Core, jobs: &mut Jobs) {
        self.watch(core);
        let lost: BTreeSet<PeerKey> = self.missing.iter().filter(|(_, at)| **at <= core.now).map(|(&p, _)| p).collect();
        if !lost.is_empty() {
            self.new_epoch(core, jobs, &lost);
        }
        for stage in 0..self.stages.len() {
            self.reopen(core, stage);
            self.send_accepts(core, stage);
        }
        if core.now >= self.progress_at {
            self.progress_at = core.now + PROGRESS_EVERY;
            jobs.set_done(core.now, self.id, self.done(), self.reopened);
            core.act(Action::Notify(Notice::Progress(self.progress())));
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let missing = self.missing.values().copied();
        let shuffles = self.stages.iter().filter_map(|s| s.shuffle.as_ref());
        let shuffles = shuffles.flat_map(|s| {
            let failed = s.accept_failed.iter().map(|(at, _, _)| *at).min().unwrap_or(Time::NEVER);
            [s.accept_at, s.reopen_at, failed]
        });
        missing.chain(shuffles).chain([self.progress_at, self.watch.at]).min().unwrap_or(Time::NEVER)
    }

    /// Shufflers that were heard of and are not connected have to show themselves soon.
    pub(super) fn expect_shufflers(&mut self, core: &Core) {
        for peer in self.epoch.shufflers.iter().map(|s| s.peer).filter(|p| *p != core.me) {
            if !core.directory.is_connected(&peer) {
                self.missing.entry(peer).or_insert(core.now + SHUFFLER_DIAL);
            }
        }
    }

    /// Goes on without the shufflers that are lost.
    pub(super) fn new_epoch(&mut self, core: &mut Core, jobs: &mut Jobs, lost: &BTreeSet<PeerKey>) {
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
        let previous = Some(self.signed_epoch.hash());
        self.epoch = Epoch { job: self.id, number: self.epoch.number + 1, previous, shufflers };
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
    pub(super) fn reopen(&mut self, core: &mut Core, stage: usize) {
        let of = &mut self.stages[stage];
        let Some(shuffle) = of.shuffle.as_mut().filter(|s| s.reopen_at <= core.now) else { return };
        shuffle.reopen_at = Time::NEVER;
        let mut count = 0;
        for task in 0..of.done.size() {
            if shuffle.lacking[task as usize] > 0 && of.done.remove(task) {
                count += 1;
            }
        }
        // The lost may have acknowledged more than they told of: its workers take that for done, and are to ask.
        if !of.done.is_full() {
            self.reopened += 1;
            self.announce_at = core.now;
        }
        if count > 0 {
            core.log(format!("job {}: {count} tasks are computed again", self.id.short()));
        }
    }

    pub(super) fn send_accepts(&mut self, core: &mut Core, stage: usize) {
        let (id, epoch) = (self.id, self.epoch.number);
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
            let request = Request::Accept { job: id, stage, epoch, attempts: attempts.clone() };
            core.request(to, request, vec![], Pending::Accept { job: id, stage, to, attempts });
        }
    }

    /// Tells shufflers and workers directly that the job is over: gossip may be lost.
    pub(super) fn tell_everyone(&self, core: &mut Core, end: &Signed<End>) {
        let shufflers = self.epoch.shufflers.iter().map(|s| s.peer);
        let connected = self.offered.iter().copied().filter(|p| core.directory.is_connected(p));
        let peers: BTreeSet<PeerKey> = shufflers.chain(connected).filter(|p| *p != core.me).collect();
        for peer in peers {
            core.request(peer, Request::Ended(end.clone()), vec![], Pending::Ignored);
        }
    }
}
