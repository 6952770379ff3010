//! The shuffler: holds segments by task and digest until the authority accepts them, then seals partitions.
//!
//! A partition is complete locally (rule 12): when every task of the stage has an accepted digest and its
//! segments lie here, the owner seals the partition, and the reduces over it may begin. There is no barrier.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::core::{Core, Pending};
use super::jobs::Change;
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Action, BucketRef, RequestError, Token};
use crate::limits;
use crate::manifest::{Manifest, partition_of_bucket};
use crate::message::{Attempts, Gossip, Push, PushEntry, Request, Response, Seals, Topic};
use crate::ranges::BitSet;
use crate::ring::{Assignment, Ring};
use crate::sign::Signed;
use crate::time::Time;

/// Commits are gathered for so long: one message for many, and hardly felt in a small job.
const COMMIT_DELAY: Duration = Duration::from_millis(15);
/// Attempts in one commit: their digests make a quarter of a mebibyte.
const COMMIT_ATTEMPTS: usize = 8192;
/// A message to the authority that was not taken is sent again after so long.
const RETRY: Duration = Duration::from_millis(300);
/// A replica that did not take a push after so many tries is left behind: the partition seals without it.
const REPLICA_TRIES: u32 = 3;

/// Nothing is staged for the task.
const NONE: Hash = Hash([0; 32]);

/// This peer as a shuffler.
#[derive(Debug, Default)]
pub(super) struct Shuffler {
    jobs: BTreeMap<JobId, Vec<Option<Shuffle>>>,
}

/// One stage's shuffle, as far as it concerns this peer.
#[derive(Debug)]
struct Shuffle {
    job: JobId,
    stage: u8,
    manifest: Arc<Manifest>,
    epoch: Arc<Epoch>,
    signed_epoch: Signed<Epoch>,
    ring: Assignment,
    owned: Vec<u16>,
    /// The first digest staged for each task, or the accepted one.
    digests: Vec<Hash>,
    /// Further digests of tasks whose attempts did not agree.
    others: BTreeMap<u32, Vec<Hash>>,
    accepted: BitSet,
    /// Tasks whose segments lie here, per partition owned or replicated.
    held: BTreeMap<u16, BitSet>,
    sealed: BTreeMap<u16, Hash>,
    /// Seals that the authority has not acknowledged, with when to say so again.
    seals_due: BTreeMap<u16, Time>,
    commits: Vec<(u32, Hash)>,
    /// When commits leave; commits for a part of the partitions only leave at once.
    commit_at: Time,
    commits_failed: Vec<(Time, Pending)>,
    /// Copies on their way to replicas.
    copies: BTreeMap<u64, Copy>,
    /// When the first of them is to be sent again.
    copies_at: Time,
    /// Partitions that are being pulled from another holder.
    pulling: BTreeMap<u16, Pulling>,
}

/// A partition on its way here from another holder.
#[derive(Debug, Default)]
struct Pulling {
    /// Whom to ask, the last one first.
    holders: Vec<PeerKey>,
    /// Attempts that the holder being asked has, and whose segments have not come; in the end, those that wrote
    /// nothing for the partition.
    listed: BTreeMap<u32, Hash>,
}

#[derive(Debug)]
struct Copy {
    to: PeerKey,
    push: Push,
    body: Vec<Bytes>,
    tries: u32,
    /// `NEVER` while an answer is awaited.
    send_at: Time,
}

impl Shuffler {
    /// Something about a job changed.
    pub(super) fn on_job(&mut self, core: &mut Core, job: &JobId, change: &Change) {
        match change {
            Change::Open { manifest, epoch, signed_epoch, .. } => {
                let stages = (0..manifest.stages.len() as u8)
                    .map(|stage| Shuffle::new(core.me, *job, stage, manifest, epoch, signed_epoch))
                    .collect();
                self.jobs.insert(*job, stages);
            }
            Change::Epoch { epoch, signed_epoch } => {
                for shuffle in self.jobs.get_mut(job).into_iter().flatten().flatten() {
                    shuffle.new_epoch(core, epoch, signed_epoch);
                }
            }
            Change::Reopened(_) => {}
            Change::Over => {
                self.jobs.remove(job);
                core.act(Action::DropJob { job: *job });
            }
        }
    }

    /// Whether this peer sealed a partition under a root, and still owns it.
    pub(super) fn has_sealed(&self, job: &JobId, stage: u8, partition: u16, root: &Hash) -> bool {
        let shuffle = self.jobs.get(job).and_then(|stages| stages.get(usize::from(stage))?.as_ref());
        shuffle.is_some_and(|s| s.sealed.get(&partition) == Some(root))
    }

    fn get(&mut self, job: JobId, stage: u8) -> Option<&mut Shuffle> {
        self.jobs.get_mut(&job)?.get_mut(usize::from(stage))?.as_mut()
    }

    /// Attempts arrive, from a worker or as copies from an owner.
    pub(super) fn on_push(&mut self, core: &mut Core, from: PeerKey, token: Token, push: Push, body: Bytes) {
        let answer = match self.get(push.job, push.stage) {
            // The announcement may still be on its way.
            None => Response::Busy,
            Some(_) if push.body_len() != body.len() as u64 => {
                Response::Refused("the segments are not as long as the push says".to_owned())
            }
            Some(shuffle) => shuffle.take_push(core, from, push, body),
        };
        core.respond(token, answer);
    }

    /// The authority accepts digests.
    pub(super) fn on_accept(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        job: JobId,
        stage: u8,
        attempts: &Attempts,
    ) -> Response {
        let Some(shuffle) = self.get(job, stage) else { return Response::Busy };
        if from != shuffle.manifest.home {
            return Response::Refused("only the job's authority accepts".to_owned());
        }
        if shuffle.owned.is_empty() {
            // The epoch that makes this peer an owner is on its way here.
            return Response::Busy;
        }
        shuffle.prepare();
        for (task, digest) in attempts.iter() {
            shuffle.accept(core, task, digest);
        }
        shuffle.seal_what_is_complete(core);
        Response::Ok
    }

    /// A reducer wants a bucket.
    pub(super) fn on_bucket(&mut self, core: &mut Core, token: Token, job: JobId, stage: u8, bucket: u32, root: Hash) {
        let me = core.me;
        let found = self.get(job, stage).and_then(|shuffle| {
            let (partitions, buckets) = shuffle.manifest.stages[usize::from(stage)].shuffle()?;
            (bucket < buckets).then_some(())?;
            let partition = partition_of_bucket(bucket, partitions, buckets);
            if !shuffle.ring.owns(me, partition) {
                return Some(Err(Response::NotOwner(shuffle.signed_epoch.clone())));
            }
            (shuffle.sealed.get(&partition) == Some(&root)).then_some(())?;
            let bucket = bucket % (buckets / u32::from(partitions));
            Some(Ok(BucketRef { job, stage, partition, bucket }))
        });
        match found {
            Some(Ok(bucket)) => core.act(Action::ServeBucket { token, bucket }),
            Some(Err(answer)) => core.respond(token, answer),
            None => core.respond(token, Response::Missing),
        }
    }

    /// A new holder wants a partition's segments.
    pub(super) fn on_pull(&mut self, core: &mut Core, token: Token, job: JobId, stage: u8, partition: u16, from: u32) {
        let held = self.get(job, stage).is_some_and(|s| s.held.get(&partition).is_some_and(|h| h.count() > 0));
        if held {
            core.act(Action::ServePull { token, job, stage, partition, from });
        } else {
            core.respond(token, Response::Missing);
        }
    }

    /// A new holder asks what there is of a partition.
    pub(super) fn on_held(&mut self, job: JobId, stage: u8, partition: u16, from: u32) -> Response {
        let Some(shuffle) = self.get(job, stage) else { return Response::Missing };
        let Some(held) = shuffle.held.get(&partition) else { return Response::Missing };
        let mut tasks = held.iter().skip_while(|&task| task < from);
        let entry = |task: u32| PushEntry { task, digest: shuffle.digests[task as usize], segments: Vec::new() };
        let entries: Vec<PushEntry> = tasks.by_ref().take(limits::PUSH_ENTRIES).map(entry).collect();
        let next = tasks.next();
        let push = Push { job, stage, epoch: shuffle.epoch.number, replica: true, entries };
        Response::Pulled { push, next }
    }

    /// A holder told what it has of a partition, or has nothing.
    pub(super) fn on_held_answer(
        &mut self,
        core: &mut Core,
        job: JobId,
        stage: u8,
        partition: u16,
        epoch: u32,
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        if let Some(shuffle) = self.get(job, stage).filter(|s| s.epoch.number == epoch) {
            shuffle.listed(core, partition, outcome);
        }
    }

    /// A holder sent segments of a partition, or has none.
    pub(super) fn on_pulled(
        &mut self,
        core: &mut Core,
        job: JobId,
        stage: u8,
        partition: u16,
        epoch: u32,
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        if let Some(shuffle) = self.get(job, stage).filter(|s| s.epoch.number == epoch) {
            shuffle.pulled(core, partition, outcome);
        }
    }

    pub(super) fn on_replicated(
        &mut self,
        core: &mut Core,
        job: JobId,
        stage: u8,
        copy: u64,
        outcome: &Result<(Response, Bytes), RequestError>,
    ) {
        let Some(shuffle) = self.get(job, stage) else { return };
        let Some(waiting) = shuffle.copies.get_mut(&copy) else { return };
        waiting.tries += 1;
        if matches!(outcome, Ok((Response::Ok, _))) || waiting.tries >= REPLICA_TRIES {
            shuffle.copies.remove(&copy);
            shuffle.seal_what_is_complete(core);
        } else {
            waiting.send_at = core.now + RETRY;
            shuffle.copies_at = shuffle.copies_at.min(waiting.send_at);
        }
    }

    pub(super) fn commit_failed(
        &mut self,
        core: &mut Core,
        job: JobId,
        stage: u8,
        epoch: u32,
        partitions: Vec<u16>,
        attempts: Attempts,
    ) {
        let again = core.now + RETRY;
        if let Some(shuffle) = self.get(job, stage) {
            let pending = Pending::Commit { job, stage, epoch, partitions, attempts };
            shuffle.commits_failed.push((again, pending));
        }
    }

    pub(super) fn seal_failed(&mut self, core: &mut Core, job: JobId, stage: u8, partition: u16) {
        let again = core.now + RETRY;
        if let Some(shuffle) = self.get(job, stage).filter(|s| s.sealed.contains_key(&partition)) {
            shuffle.seals_due.insert(partition, again);
        }
    }

    pub(super) fn go_on(&mut self, core: &mut Core) {
        for shuffle in self.jobs.values_mut().flatten().flatten() {
            shuffle.go_on(core);
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.jobs.values().flatten().flatten().map(Shuffle::deadline).min().unwrap_or(Time::NEVER)
    }
}

impl Shuffle {
    fn new(
        me: PeerKey,
        job: JobId,
        stage: u8,
        manifest: &Arc<Manifest>,
        epoch: &Arc<Epoch>,
        signed: &Signed<Epoch>,
    ) -> Option<Self> {
        let of = &manifest.stages[usize::from(stage)];
        let (partitions, _) = of.shuffle()?;
        let ring = Ring::new(epoch).owners(stage, partitions, manifest.replicas);
        Some(Self {
            job,
            stage,
            owned: ring.partitions_of(me).collect(),
            ring,
            // Tables are made at the first push: an epoch that names this peer costs nothing yet.
            digests: Vec::new(),
            others: BTreeMap::new(),
            accepted: BitSet::new(0),
            held: BTreeMap::new(),
            sealed: BTreeMap::new(),
            seals_due: BTreeMap::new(),
            commits: Vec::new(),
            commit_at: Time::NEVER,
            commits_failed: Vec::new(),
            copies: BTreeMap::new(),
            copies_at: Time::NEVER,
            pulling: BTreeMap::new(),
            manifest: manifest.clone(),
            epoch: epoch.clone(),
            signed_epoch: signed.clone(),
        })
    }

    fn tasks(&self) -> u32 {
        self.manifest.stages[usize::from(self.stage)].tasks
    }

    fn take_push(&mut self, core: &mut Core, from: PeerKey, push: Push, body: Bytes) -> Response {
        if push.epoch < self.epoch.number {
            return Response::NotOwner(self.signed_epoch.clone());
        }
        if push.epoch > self.epoch.number {
            // The newer epoch is on its way here too.
            return Response::Busy;
        }
        let mine: Vec<u16> = if push.replica {
            // An owner's copies speak of its own partitions only: of another's, they hold nothing.
            self.ring.replica_partitions_of(core.me).filter(|&p| self.ring.owns(from, p)).collect()
        } else {
            self.owned.clone()
        };
        if mine.is_empty() {
            return Response::NotOwner(self.signed_epoch.clone());
        }
        let Staged { keep, noted, fresh } = self.stage_entries(&push, &mine);
        if push.replica {
            if !keep.is_empty() {
                core.act(Action::Stage { push, keep, body });
            }
            return Response::Ok;
        }
        if !noted.is_empty() && self.commit_at == Time::NEVER {
            self.commit_at = core.now + COMMIT_DELAY;
        }
        self.commits.extend(noted);
        self.copy_to_replicas(core, &push, &fresh, &body);
        if !keep.is_empty() {
            core.act(Action::Stage { push, keep, body });
        }
        Response::Ok
    }

    /// Makes the tables of a peer that holds nothing yet.
    fn prepare(&mut self) {
        if self.digests.is_empty() {
            self.digests = vec![NONE; self.tasks() as usize];
            self.accepted = BitSet::new(self.tasks());
        }
    }

    /// Notes the attempts of a push for the partitions `mine`.
    fn stage_entries(&mut self, push: &Push, mine: &[u16]) -> Staged {
        let tasks = self.tasks();
        self.prepare();
        for &partition in mine {
            self.held.entry(partition).or_insert_with(|| BitSet::new(tasks));
        }
        let mut held: Vec<(u16, &mut BitSet)> =
            self.held.iter_mut().filter(|(p, _)| mine.contains(p)).map(|(&p, held)| (p, held)).collect();
        let mut staged = Staged::default();
        for (i, entry) in push.entries.iter().enumerate().filter(|(_, e)| e.task < tasks) {
            let accepted = self.accepted.contains(entry.task);
            let Some(first) = note_digest(&mut self.digests, &mut self.others, accepted, entry) else { continue };
            staged.noted.push((entry.task, entry.digest));
            let mut fresh = false;
            for (partition, held) in &mut held {
                // Under the first digest a bit says whether it is here; under another one it came just now.
                if first && !held.insert(entry.task) {
                    continue;
                }
                fresh = true;
                if entry.segments.binary_search_by_key(partition, |s| s.0).is_ok() {
                    staged.keep.push((i as u32, *partition));
                }
            }
            if fresh {
                staged.fresh.push(i);
            }
        }
        staged
    }

    /// Sends copies of what was just staged to the replicas of its partitions.
    fn copy_to_replicas(&mut self, core: &mut Core, push: &Push, fresh: &[usize], body: &Bytes) {
        let mut others: BTreeSet<PeerKey> = BTreeSet::new();
        for &partition in &self.owned {
            others.extend(self.ring.replicas(partition).iter().skip(1));
        }
        if fresh.is_empty() {
            return;
        }
        for to in others {
            let wanted = |partition: u16| self.owned.contains(&partition) && self.ring.holds(to, partition);
            let mut at = 0;
            let (mut entries, mut parts) = (Vec::new(), Vec::new());
            for (i, entry) in push.entries.iter().enumerate() {
                let copied = fresh.binary_search(&i).is_ok();
                let mut segments = Vec::new();
                for &(partition, len) in &entry.segments {
                    let end = at + len as usize;
                    if copied && wanted(partition) {
                        segments.push((partition, len));
                        parts.push(body.slice(at..end));
                    }
                    at = end;
                }
                // An attempt that wrote nothing here is known to the replica too: it counts towards the seal.
                if copied {
                    entries.push(PushEntry { task: entry.task, digest: entry.digest, segments });
                }
            }
            let push = Push { replica: true, entries, ..push.clone() };
            let copy = Copy { to, push, body: parts, tries: 0, send_at: Time::NEVER };
            let number = core.next_id();
            self.send_copy(core, number, &copy);
            self.copies.insert(number, copy);
        }
    }

    fn send_copy(&self, core: &mut Core, number: u64, copy: &Copy) {
        let pending = Pending::Replica { job: self.job, stage: self.stage, request: number };
        core.request(copy.to, Request::Push(copy.push.clone()), copy.body.clone(), pending);
    }

    fn accept(&mut self, core: &mut Core, task: u32, digest: Hash) {
        if task >= self.tasks() || !self.accepted.insert(task) {
            return;
        }
        let first = self.digests[task as usize];
        let others = self.others.remove(&task).unwrap_or_default();
        if first != digest && !others.contains(&digest) {
            // Whatever lies here is not what was accepted: to be pulled, or computed again.
            self.held.values_mut().for_each(|held| {
                held.remove(task);
            });
        }
        let losers = others.into_iter().chain([first]).filter(|d| *d != digest && *d != NONE);
        for loser in losers.collect::<Vec<_>>() {
            for &partition in self.held.keys() {
                let (job, stage) = (self.job, self.stage);
                core.act(Action::DropSegment { job, stage, partition, task, digest: loser });
            }
        }
        self.digests[task as usize] = digest;
    }

    fn seal_what_is_complete(&mut self, core: &mut Core) {
        if self.owned.is_empty() || !self.accepted.is_full() || !self.copies.is_empty() {
            return;
        }
        let complete = |p: &u16| !self.sealed.contains_key(p) && self.held.get(p).is_some_and(BitSet::is_full);
        let fresh: Vec<u16> = self.owned.iter().copied().filter(complete).collect();
        if fresh.is_empty() {
            return;
        }
        let root = self.root();
        for &partition in &fresh {
            self.sealed.insert(partition, root);
            self.seals_due.insert(partition, core.now);
        }
        let Some(reader) = self.manifest.reader_of(self.stage) else { return };
        let seals = Seals {
            job: self.job,
            stage: self.stage,
            epoch: self.epoch.number,
            seals: fresh.iter().map(|&p| (p, root)).collect(),
        };
        let shards = self.manifest.stages[usize::from(reader)].shards;
        let topics: BTreeSet<Topic> = (0..shards).map(|s| Topic::of_shard(self.job, reader, s)).collect();
        for topic in topics {
            core.publish(topic, Gossip::Seals(seals.clone()));
        }
        core.own_seals.push(seals);
    }

    /// The root over all accepted digests: what a reduce says that it has read.
    fn root(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("webmesh 1 root of accepted digests");
        self.digests.iter().for_each(|digest| {
            hasher.update(&digest.0);
        });
        Hash(*hasher.finalize().as_bytes())
    }

    fn go_on(&mut self, core: &mut Core) {
        let (job, stage, epoch, home) = (self.job, self.stage, self.epoch.number, self.manifest.home);
        let now = core.now;
        if now >= self.commit_at || self.commits.len() >= COMMIT_ATTEMPTS {
            let mut commits = std::mem::take(&mut self.commits);
            self.commit_at = Time::NEVER;
            commits.sort_unstable();
            commits.dedup();
            for commits in split_by_task(commits) {
                send_commit(core, home, (job, stage, epoch), vec![], Attempts::pack(&commits));
            }
        }
        if self.commits_failed.iter().any(|(at, _)| *at <= now) {
            for (_, pending) in self.commits_failed.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                if let Pending::Commit { epoch: made_for, partitions, attempts, .. } = pending
                    && made_for == epoch
                {
                    send_commit(core, home, (job, stage, epoch), partitions, attempts);
                }
            }
        }
        if self.copies_at <= now {
            let due: Vec<u64> =
                self.copies.iter().filter(|(_, c)| c.send_at <= now).map(|(&number, _)| number).collect();
            for number in due {
                let Some(mut copy) = self.copies.remove(&number) else { continue };
                copy.send_at = Time::NEVER;
                self.send_copy(core, number, &copy);
                self.copies.insert(number, copy);
            }
            self.copies_at = self.copies.values().map(|c| c.send_at).min().unwrap_or(Time::NEVER);
        }
        if self.seals_due.is_empty() {
            return;
        }
        for &partition in self.seals_due.iter().filter(|(_, at)| **at <= now).map(|(p, _)| p) {
            let Some(&root) = self.sealed.get(&partition) else { continue };
            let request = Request::Sealed { job, stage, epoch, partition, root };
            core.request(home, request, vec![], Pending::Sealed { job, stage, partition });
        }
        self.seals_due.retain(|_, at| *at > now);
    }

    fn deadline(&self) -> Time {
        let failed = self.commits_failed.iter().map(|(at, _)| *at);
        let seals = self.seals_due.values().copied();
        failed.chain(seals).chain([self.commit_at, self.copies_at]).min().unwrap_or(Time::NEVER)
    }

    /// A new set of shufflers: what this peer holds as a replica of what it owns now is committed at once;
    /// what it lacks it pulls from whoever held it before and is still there (rule 2).
    fn new_epoch(&mut self, core: &mut Core, epoch: &Arc<Epoch>, signed: &Signed<Epoch>) {
        let of = &self.manifest.stages[usize::from(self.stage)];
        let Some((partitions, _)) = of.shuffle() else { return };
        let before =
            std::mem::replace(&mut self.ring, Ring::new(epoch).owners(self.stage, partitions, self.manifest.replicas));
        let owned_before = std::mem::replace(&mut self.owned, self.ring.partitions_of(core.me).collect());
        self.epoch = epoch.clone();
        self.signed_epoch = signed.clone();
        self.copies.clear();
        self.copies_at = Time::NEVER;
        self.commits_failed.clear();
        self.pulling.clear();
        let owned = self.owned.clone();
        self.sealed.retain(|p, _| owned.contains(p));
        self.seals_due = self.sealed.keys().map(|&p| (p, core.now)).collect();
        // Commits that may not have arrived under the old epoch are made again under this one.
        let again: Vec<u16> = owned.iter().copied().filter(|p| !self.sealed.contains_key(p)).collect();
        for partition in again {
            self.commit_partition(core, partition);
            if !owned_before.contains(&partition) {
                self.pull(core, partition, &before);
            }
        }
        let mut copies: Vec<u16> = self.ring.replica_partitions_of(core.me).collect();
        copies.retain(|&p| !before.holds(core.me, p));
        for partition in copies {
            self.pull(core, partition, &before);
        }
        self.seal_what_is_complete(core);
    }

    fn commit_partition(&mut self, core: &mut Core, partition: u16) {
        let Some(held) = self.held.get(&partition).filter(|h| h.count() > 0) else { return };
        let attempts: Vec<(u32, Hash)> = held.iter().map(|task| (task, self.digests[task as usize])).collect();
        for part in attempts.chunks(COMMIT_ATTEMPTS) {
            let names = (self.job, self.stage, self.epoch.number);
            send_commit(core, self.manifest.home, names, vec![partition], Attempts::pack(part));
        }
    }

    /// Asks the holders of the epoch before, one after another, for a partition's segments.
    fn pull(&mut self, core: &mut Core, partition: u16, before: &Assignment) {
        let alive = |peer: &&PeerKey| **peer != core.me && self.epoch.shufflers.iter().any(|s| s.peer == **peer);
        let holders: Vec<PeerKey> = before.replicas(partition).iter().filter(alive).copied().collect();
        self.pulling.insert(partition, Pulling { holders, listed: BTreeMap::new() });
        self.ask_held(core, partition, 0);
    }

    /// Asks for the attempts that the next holder has, those without a segment included: what is listed is in its
    /// store by the time it is asked for segments.
    fn ask_held(&mut self, core: &mut Core, partition: u16, from: u32) {
        let Some(to) = self.pulling.get(&partition).and_then(|p| p.holders.last().copied()) else {
            self.pulling.remove(&partition);
            return;
        };
        let (job, stage, epoch) = (self.job, self.stage, self.epoch.number);
        let request = Request::Held { job, stage, partition, from };
        core.request(to, request, vec![], Pending::Held { job, stage, partition, epoch });
    }

    fn listed(&mut self, core: &mut Core, partition: u16, outcome: Result<(Response, Bytes), RequestError>) {
        let tasks = self.tasks();
        let Some(pulling) = self.pulling.get_mut(&partition) else { return };
        match outcome {
            Ok((Response::Pulled { push, next }, _)) => {
                let listed = push.entries.iter().filter(|e| e.task < tasks);
                pulling.listed.extend(listed.map(|e| (e.task, e.digest)));
                match next {
                    Some(next) => self.ask_held(core, partition, next),
                    None => self.ask_segments(core, partition, 0),
                }
            }
            _ => self.next_holder(core, partition),
        }
    }

    fn next_holder(&mut self, core: &mut Core, partition: u16) {
        if let Some(pulling) = self.pulling.get_mut(&partition) {
            pulling.holders.pop();
            pulling.listed.clear();
        }
        self.ask_held(core, partition, 0);
    }

    fn ask_segments(&mut self, core: &mut Core, partition: u16, from: u32) {
        let Some(&to) = self.pulling.get(&partition).and_then(|p| p.holders.last()) else { return };
        let (job, stage, epoch) = (self.job, self.stage, self.epoch.number);
        let request = Request::Pull { job, stage, partition, from };
        core.request(to, request, vec![], Pending::Pull { job, stage, partition, epoch });
    }

    fn pulled(&mut self, core: &mut Core, partition: u16, outcome: Result<(Response, Bytes), RequestError>) {
        let Some(pulling) = self.pulling.get_mut(&partition) else { return };
        let fits = |push: &Push, body: &Bytes| {
            let ours = (push.job, push.stage) == (self.job, self.stage) && push.body_len() == body.len() as u64;
            ours && push.entries.iter().all(|e| e.segments.iter().all(|s| s.0 == partition))
        };
        let (push, next, body) = match outcome {
            Ok((Response::Pulled { push, next }, body)) if fits(&push, &body) => (push, next, body),
            _ => return self.next_holder(core, partition),
        };
        for entry in &push.entries {
            if pulling.listed.get(&entry.task) == Some(&entry.digest) {
                pulling.listed.remove(&entry.task);
            }
        }
        self.take_pulled(core, partition, push, body);
        match next {
            Some(next) => self.ask_segments(core, partition, next),
            None => {
                let rest = self.pulling.remove(&partition).map(|p| p.listed).unwrap_or_default();
                let entries = rest.into_iter().map(|(task, digest)| PushEntry { task, digest, segments: Vec::new() });
                let (job, stage, epoch) = (self.job, self.stage, self.epoch.number);
                let push = Push { job, stage, epoch, replica: true, entries: entries.collect() };
                self.take_pulled(core, partition, push, Bytes::new());
                self.seal_what_is_complete(core);
            }
        }
    }

    /// Holds attempts that were pulled, and commits them where this peer owns the partition.
    fn take_pulled(&mut self, core: &mut Core, partition: u16, mut push: Push, body: Bytes) {
        push.epoch = self.epoch.number;
        let staged = self.stage_entries(&push, &[partition]);
        if !staged.keep.is_empty() {
            core.act(Action::Stage { push, keep: staged.keep, body });
        }
        if self.owned.contains(&partition) {
            for commits in split_by_task(staged.noted) {
                let names = (self.job, self.stage, self.epoch.number);
                send_commit(core, self.manifest.home, names, vec![partition], Attempts::pack(&commits));
            }
        }
    }
}

/// What of a push is held.
#[derive(Debug, Default)]
struct Staged {
    /// Entries (by their place) and partitions for the segment store.
    keep: Vec<(u32, u16)>,
    /// All attempts that lie here now.
    noted: Vec<(u32, Hash)>,
    /// Entries that brought anything new.
    fresh: Vec<usize>,
}

/// Enters an attempt's digest: whether it is the task's first, or `None` if it need not be staged.
fn note_digest(
    digests: &mut [Hash],
    others: &mut BTreeMap<u32, Vec<Hash>>,
    accepted: bool,
    entry: &PushEntry,
) -> Option<bool> {
    let first = &mut digests[entry.task as usize];
    if *first == NONE {
        *first = entry.digest;
    }
    if *first == entry.digest {
        return Some(true);
    }
    if accepted {
        return None;
    }
    let others = others.entry(entry.task).or_default();
    if others.contains(&entry.digest) || others.len() + 1 >= limits::DIGESTS_OF_TASK {
        return None;
    }
    others.push(entry.digest);
    Some(false)
}

fn send_commit(
    core: &mut Core,
    home: PeerKey,
    (job, stage, epoch): (JobId, u8, u32),
    partitions: Vec<u16>,
    attempts: Attempts,
) {
    let request = Request::Commit { job, stage, epoch, partitions: partitions.clone(), attempts: attempts.clone() };
    core.request(home, request, vec![], Pending::Commit { job, stage, epoch, partitions, attempts });
}

/// Splits attempts so that no part names a task twice (attempts that disagree go in parts of their own), and
/// none is too large for a message.
fn split_by_task(attempts: Vec<(u32, Hash)>) -> Vec<Vec<(u32, Hash)>> {
    let mut parts: Vec<Vec<(u32, Hash)>> = Vec::new();
    for attempt in attempts {
        let room = |part: &&mut Vec<(u32, Hash)>| {
            part.len() < COMMIT_ATTEMPTS && part.last().is_none_or(|last| last.0 < attempt.0)
        };
        match parts.iter_mut().rev().find(room) {
            Some(part) => part.push(attempt),
            None => parts.push(vec![attempt]),
        }
    }
    parts
}
