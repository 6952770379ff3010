//! One stage's shuffle at one of its shufflers: which attempts lie here, which are accepted, which partitions are
//! sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::attempts::{Other, Staged};
use super::commits::{COMMIT_ATTEMPTS, split_by_task};
use super::pulls::Pulling;
use super::replicas::Copy;
use crate::engine::core::Core;
use crate::engine::pending::ShufflerRequest;
use crate::epoch::{Epoch, Generations};
use crate::id::{Hash, PeerKey};
use crate::io::SegmentAction;
use crate::manifest::{Manifest, Stage};
use crate::message::{
    AttemptId, Attempts, AuthoredAttempt, Commit, Gossip, Push, Request, Response, Sealed, Seals, Topic,
};
use crate::part::{PartitionId, ShardId, ShardRef, StageId, StageRef, TaskId};
use crate::provenance::Provenance;
use crate::ranges::BitSet;
use crate::ring::{Assignment, Ring};
use crate::segment;
use crate::sign::Signed;
use crate::split::Split;
use crate::time::Time;

/// How long commits are gathered: one message for many, and hardly noticeable in a small job.
const COMMIT_DELAY: Duration = Duration::from_millis(15);

/// One stage's shuffle, as far as it concerns this peer.
#[derive(Debug)]
pub(super) struct Shuffle {
    /// The stage that writes it.
    pub(super) id: StageRef,
    pub(super) manifest: Arc<Manifest>,
    pub(super) epoch: Arc<Epoch>,
    pub(super) signed_epoch: Signed<Epoch>,
    /// The epoch with which this peer learned of the generation: messages of earlier ones are ignored.
    pub(super) since: u32,
    /// Bytes of segments that were staged, including those that were dropped since.
    pub(super) staged: u64,
    /// The part of `staged` that workers pushed here for partitions that this peer owned.
    pub(super) pushed: u64,
    /// How tasks divide what lies here, once that is settled.
    pub(super) split: Option<Split>,
    /// Distinguishes this opening of the job from earlier ones, whose state is lost.
    pub(super) opened: u64,
    pub(super) ring: Assignment,
    pub(super) owned: Vec<PartitionId>,
    /// The leading digest of each task: the accepted one, or else the first that was staged.
    pub(super) digests: Vec<Hash>,
    /// Its author, as far as this peer was told.
    pub(super) authors: Provenance,
    /// Digests other than the leading one, of tasks whose attempts differed.
    pub(super) others: BTreeMap<AttemptId, Other>,
    pub(super) accepted: BitSet<TaskId>,
    /// Authors of accepted attempts, at most [`PROVEN`](super::attempts::PROVEN).
    pub(super) proven: BTreeSet<PeerKey>,
    /// Per partition owned or replicated: the tasks whose leading digest's segments lie here.
    pub(super) held: BTreeMap<PartitionId, BitSet<TaskId>>,
    pub(super) sealed: BTreeMap<PartitionId, Hash>,
    /// Seals that the authority has not acknowledged, each with the time to send it again.
    pub(super) seals_due: BTreeMap<PartitionId, Time>,
    pub(super) commits: Vec<AuthoredAttempt>,
    /// When commits are sent; commits for a part of the partitions only are sent at once.
    pub(super) commit_at: Time,
    pub(super) commits_failed: Vec<(Time, Commit)>,
    /// Copies on their way to replicas.
    pub(super) copies: BTreeMap<u64, Copy>,
    /// When the first of them must be sent again.
    pub(super) copies_at: Time,
    /// Replicas that did not answer in this epoch.
    pub(super) left_behind: BTreeSet<PeerKey>,
    /// Partitions that are being pulled from another holder.
    pub(super) pulling: BTreeMap<PartitionId, Pulling>,
}

impl Shuffle {
    pub(super) fn new(
        core: &Core,
        id: StageRef,
        manifest: &Arc<Manifest>,
        epoch: &Arc<Epoch>,
        signed: &Signed<Epoch>,
    ) -> Option<Self> {
        let stage = id.stage;
        let shape = manifest.stage(stage)?.shuffle()?;
        let ring = Ring::new(epoch).owners(stage, shape.partitions, manifest.replicas);
        Some(Self {
            id,
            staged: 0,
            pushed: 0,
            split: manifest.fixed_split_of(stage),
            opened: core.started.saturating_add(core.now.0),
            owned: ring.partitions_of(core.me).collect(),
            ring,
            // Tables are made at the first push: an epoch that names this peer costs nothing yet.
            digests: Vec::new(),
            authors: Provenance::default(),
            others: BTreeMap::new(),
            accepted: BitSet::new(0),
            proven: BTreeSet::new(),
            held: BTreeMap::new(),
            sealed: BTreeMap::new(),
            seals_due: BTreeMap::new(),
            commits: Vec::new(),
            commit_at: Time::NEVER,
            commits_failed: Vec::new(),
            copies: BTreeMap::new(),
            copies_at: Time::NEVER,
            left_behind: BTreeSet::new(),
            pulling: BTreeMap::new(),
            manifest: manifest.clone(),
            epoch: epoch.clone(),
            signed_epoch: signed.clone(),
            since: if epoch.generations_of(stage) == Generations::default() { 0 } else { epoch.number },
        })
    }

    /// Starts empty and commits that: the authority may know this peer as a holder. If tasks are done already, other
    /// peers may have copies of them, which are pulled.
    pub(super) fn open(&mut self, core: &mut Core, begun: bool) {
        if !self.owned.is_empty() {
            self.send_commit(core, vec![], Attempts::default());
        }
        if begun {
            for partition in self.ring.all_partitions().filter(|&p| self.ring.holds(core.me, p)).collect::<Vec<_>>() {
                self.pull(core, partition, self.ring.replicas(partition).to_vec());
            }
        }
    }

    /// The stage as the manifest describes it.
    fn described(&self) -> &Stage {
        &self.manifest.stages[self.id.stage.index()]
    }

    pub(super) fn tasks(&self) -> u32 {
        self.described().tasks
    }

    pub(super) fn take_push(&mut self, core: &mut Core, from: PeerKey, push: Push, body: Bytes) -> Response {
        if push.epoch < self.epoch.number {
            return Response::NotOwner(self.signed_epoch.clone());
        }
        if push.epoch > self.epoch.number {
            // The newer epoch is on its way here too.
            return Response::Busy;
        }
        let mine: Vec<PartitionId> = if push.replica {
            // An owner's copies are of its own partitions only.
            self.ring.replica_partitions_of(core.me).filter(|&p| self.ring.owns(from, p)).collect()
        } else {
            self.owned.clone()
        };
        if mine.is_empty() {
            return Response::NotOwner(self.signed_epoch.clone());
        }
        // A worker's push is its own work, whatever it says; an owner's copies name their authors.
        let authors: Vec<PeerKey> = match push.replica {
            true => push.authors_or(from).take(push.entries.len()).collect(),
            false => vec![from; push.entries.len()],
        };
        let Staged { keep, noted, fresh, refused, bytes } = self.stage_entries(&push, &authors, &mine);
        if push.replica {
            if !keep.is_empty() {
                core.act(SegmentAction::Stage { push, keep, body });
            }
            return Response::Ok;
        }
        if !noted.is_empty() && self.commit_at == Time::NEVER {
            self.commit_at = core.now + COMMIT_DELAY;
        }
        self.commits.extend(noted);
        self.pushed += bytes;
        self.copy_to_replicas(core, from, &push, &fresh, &body);
        if !keep.is_empty() {
            core.act(SegmentAction::Stage { push, keep, body });
        }
        // What is not held must not be acknowledged.
        if refused { Response::Busy } else { Response::Ok }
    }

    /// Size of its tables in bytes once they are made: for each task a digest, its author, and a bit for each partition
    /// held here; for each attempt that differs from the leading one, its partitions, too.
    pub(super) fn table_bytes(&self) -> usize {
        let partitions = usize::from(self.ring.partitions());
        let of_task = size_of::<Hash>() + size_of::<u32>() + (partitions + 1).div_ceil(8);
        // Nodes of a B-tree are at least half full.
        let of_other = 2 * (size_of::<(AttemptId, Other)>() + partitions * 2 * size_of::<PartitionId>());
        self.tasks() as usize * of_task + self.others.len() * of_other
    }

    pub(super) fn is_prepared(&self) -> bool {
        !self.digests.is_empty()
    }

    /// Whether no attempt of a push is larger than a task's output may be.
    pub(super) fn is_within_limits(&self, push: &Push) -> bool {
        let of = self.described();
        let Some(shape) = of.shuffle() else { return false };
        let (per_segment, per_bucket) = segment::DIRECTORY_BYTES;
        let most = of.limits.output + u64::from(shape.partitions) * per_segment + u64::from(shape.buckets) * per_bucket;
        push.entries.iter().all(|entry| entry.bytes() <= most)
    }

    /// Sets how many buckets make one task, as the authority decided.
    pub(super) fn set_split(&mut self, width: u32) {
        self.split = self.split.or_else(|| self.manifest.split_of(self.id.stage, width));
    }

    pub(super) fn seal_complete_partitions(&mut self, core: &mut Core) {
        let Some(split) = self.split.filter(|_| !self.owned.is_empty() && self.accepted.is_full()) else { return };
        let held = |p: &PartitionId| self.held.get(p).is_some_and(BitSet::is_full) && !self.is_being_copied(*p);
        let complete = |p: &PartitionId| !self.sealed.contains_key(p) && held(p);
        let fresh: Vec<PartitionId> = self.owned.iter().copied().filter(complete).collect();
        if fresh.is_empty() {
            return;
        }
        let root = segment::root(&self.digests);
        for &partition in &fresh {
            self.sealed.insert(partition, root);
            self.seals_due.insert(partition, core.now);
        }
        let StageRef { job, stage } = self.id;
        let seals = Seals {
            job,
            stage,
            epoch: self.epoch.number,
            width: split.width(),
            seals: fresh.iter().map(|&p| (p, root)).collect(),
        };
        let shards_of = |stage: StageId| {
            let shards = ShardId::below(self.manifest.stages[stage.index()].shards);
            shards.map(move |shard| Topic::of_shard(ShardRef { job, stage, shard }))
        };
        let topics: BTreeSet<Topic> = self.manifest.readers_of(stage).flat_map(shards_of).collect();
        for topic in topics {
            core.publish(topic, Gossip::Seals(seals.clone()));
        }
        core.own_seals.push(seals);
    }

    pub(super) fn drive(&mut self, core: &mut Core) {
        let (StageRef { job, stage }, epoch, home) = (self.id, self.epoch.number, self.manifest.home);
        let this_life = (epoch, self.opened);
        let now = core.now;
        if now >= self.commit_at || self.commits.len() >= COMMIT_ATTEMPTS {
            let mut commits = std::mem::take(&mut self.commits);
            self.commit_at = Time::NEVER;
            commits.sort_unstable();
            // If two peers pushed the same attempt, the first is reported as its author.
            commits.dedup_by_key(|commit| commit.id());
            for commits in split_by_task(commits) {
                self.send_commit(core, vec![], Attempts::pack_authored(&commits));
            }
        }
        if self.commits_failed.iter().any(|(at, _)| *at <= now) {
            for (_, commit) in self.commits_failed.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                if (commit.epoch, commit.opened) == this_life {
                    self.send_commit(core, commit.partitions, commit.attempts);
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
            let sealed = Sealed { job, stage, epoch, partition, root };
            let pending = ShufflerRequest::Sealed(sealed.partition_ref());
            core.request(home, Request::Sealed(sealed), vec![], pending);
        }
        self.seals_due.retain(|_, at| *at > now);
    }

    pub(super) fn deadline(&self) -> Time {
        let failed = self.commits_failed.iter().map(|(at, _)| *at);
        let seals = self.seals_due.values().copied();
        failed.chain(seals).chain([self.commit_at, self.copies_at]).min().unwrap_or(Time::NEVER)
    }

    /// Follows a new set of shufflers: partitions that this peer held as a replica and now owns are committed at once;
    /// missing ones are pulled from former holders that are still there (rule 2).
    pub(super) fn new_epoch(&mut self, core: &mut Core, epoch: &Arc<Epoch>, signed: &Signed<Epoch>) {
        let stage = self.id.stage;
        let Some(shape) = self.described().shuffle() else { return };
        let ring = Ring::new(epoch).owners(stage, shape.partitions, self.manifest.replicas);
        let before = std::mem::replace(&mut self.ring, ring);
        self.owned = self.ring.partitions_of(core.me).collect();
        let next = epoch.previous == Some(self.signed_epoch.hash());
        let (old, new) = (self.epoch.generations_of(stage), epoch.generations_of(stage));
        if new.reads > old.reads {
            self.drop_everything(core);
        }
        if new != old {
            self.forget_acceptances();
            self.since = epoch.number;
        }
        self.epoch = epoch.clone();
        self.signed_epoch = signed.clone();
        // They cover all partitions that this peer owned, which differ from those that it owns now.
        self.commits.clear();
        self.commit_at = Time::NEVER;
        self.copies.clear();
        self.left_behind.clear();
        self.copies_at = Time::NEVER;
        self.commits_failed.clear();
        let owned = self.owned.clone();
        if !owned.is_empty() {
            self.send_commit(core, vec![], Attempts::default());
        }
        // In an epoch that was skipped here, another peer may have owned a partition: the authority has forgotten its
        // seal.
        self.sealed.retain(|p, _| next && owned.contains(p));
        self.seals_due = self.sealed.keys().map(|&p| (p, core.now)).collect();
        // Commits that may not have arrived under the old epoch are repeated under this one.
        owned.iter().filter(|p| !self.sealed.contains_key(p)).for_each(|&p| self.commit_partition(core, p));
        self.pull_new_partitions(core, &before);
        self.seal_complete_partitions(core);
    }
}
