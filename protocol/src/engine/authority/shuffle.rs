//! What the authority knows of one stage's shuffle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::watch::Standing;
use crate::decisions::State;
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::message::{AttemptId, Attempts, AuthoredAttempt};
use crate::part::{PartitionId, StageId, TaskId};
use crate::provenance::Provenance;
use crate::ranges::BitSet;
use crate::ring::Assignment;
use crate::segment;
use crate::time::Time;

/// Tasks that lack segments are reopened this long after the last commit of an already accepted attempt under a new
/// epoch: until then replicas may commit, and new owners pull from them.
const REOPEN_AFTER: Duration = Duration::from_millis(2_500);

/// The same delay after a restart of this peer, until all owners have been reached.
pub(super) const RESUME_GRACE: Duration = Duration::from_secs(10);

/// The state of one stage's shuffle.
#[derive(Debug)]
pub(super) struct Shuffle {
    pub(super) ring: Assignment,
    /// The leading digest of each task: the accepted one, or else the first that an owner committed.
    digests: Vec<Hash>,
    /// Their authors, as reported by the first owner that committed each of them.
    authors: Provenance,
    pub(super) accepted: BitSet<TaskId>,
    /// Per partition: the tasks whose leading digest its owner holds.
    pub(super) held: Vec<BitSet<TaskId>>,
    /// Per task: the number of partitions whose owners do not hold its leading digest.
    pub(super) lacking: Vec<u16>,
    /// Number of tasks that at least one partition lacks.
    incomplete: u32,
    /// Digests other than the leading one, of tasks without an accepted digest.
    others: BTreeMap<AttemptId, Other>,
    pub(super) sealed: BTreeMap<PartitionId, Hash>,
    /// Bytes pushed to each owner, as it reported, including those of owners that were lost.
    pushed: BTreeMap<PeerKey, u64>,
    /// Each owner's progress, and when it last changed.
    pub(super) standings: BTreeMap<PeerKey, (Standing, Time)>,
    /// The root over all accepted digests, once every task has one.
    root: Option<Hash>,
    /// The first epoch of its generation: messages of earlier ones are ignored.
    pub(super) since: u32,
    /// When each owner opened the job, in its own unit.
    opened: BTreeMap<PeerKey, u64>,
    /// Tasks to be accepted, or whose acceptance must be repeated to owners.
    accept: Vec<TaskId>,
    pub(super) accept_at: Time,
    pub(super) accept_failed: Vec<(Time, PeerKey, Attempts)>,
    pub(super) tries: BTreeMap<PeerKey, u32>,
    /// When tasks that lack segments are reopened.
    pub(super) reopen_at: Time,
}

/// An attempt that is not the leading one of its task.
#[derive(Debug)]
struct Other {
    author: PeerKey,
    /// The partitions whose owners hold it.
    partitions: BTreeSet<PartitionId>,
}

/// The digest of a task without a committed attempt.
const NONE: Hash = Hash([0; 32]);

/// Why a seal is refused.
pub(super) enum NotSealed {
    /// Some attempts are missing, as far as the authority knows.
    TooEarly,
    /// Its root is over other attempts than the accepted ones.
    OtherRoot,
}

impl Shuffle {
    pub(super) fn new(ring: Assignment, tasks: u32) -> Self {
        let partitions = ring.partitions();
        Self {
            ring,
            digests: vec![NONE; tasks as usize],
            authors: Provenance::new(tasks),
            accepted: BitSet::new(tasks),
            held: (0..partitions).map(|_| BitSet::new(tasks)).collect(),
            lacking: vec![partitions; tasks as usize],
            incomplete: tasks,
            others: BTreeMap::new(),
            sealed: BTreeMap::new(),
            pushed: BTreeMap::new(),
            root: None,
            standings: BTreeMap::new(),
            since: 0,
            opened: BTreeMap::new(),
            accept: Vec::new(),
            accept_at: Time::NEVER,
            accept_failed: Vec::new(),
            tries: BTreeMap::new(),
            reopen_at: Time::NEVER,
        }
    }

    /// Notes that the owner of `partitions` (at least one) holds an attempt; returns whether all owners now hold it.
    /// The first digest that all owners hold is accepted, so that one which some of them never receive, because its
    /// worker was lost or sent it to a part of them only, blocks nothing.
    pub(super) fn commit(&mut self, now: Time, attempt: AuthoredAttempt, partitions: &[PartitionId]) -> bool {
        let AuthoredAttempt { task, digest, author } = attempt;
        let Some(leading) = self.digests.get_mut(task.index()) else { return false };
        if *leading == NONE {
            *leading = digest;
            self.authors.set(task, author);
        }
        if *leading == digest {
            self.hold(now, task, partitions)
        } else {
            !self.accepted.contains(task) && self.commit_other(now, attempt, partitions)
        }
    }

    fn hold(&mut self, now: Time, task: TaskId, partitions: &[PartitionId]) -> bool {
        let fresh = partitions.iter().filter(|p| self.held[p.index()].insert(task)).count() as u16;
        let lacking = &mut self.lacking[task.index()];
        *lacking -= fresh;
        let complete = fresh > 0 && *lacking == 0;
        if fresh > 0 && self.reopen_at != Time::NEVER && self.accepted.contains(task) {
            // Commits of accepted attempts are still arriving. Commits of new tasks do not count: they may continue for
            // as long as the stage runs.
            self.reopen_at = self.reopen_at.max(now + REOPEN_AFTER);
        }
        if complete {
            self.accepted.insert(task);
            self.incomplete -= 1;
            self.accept.push(task);
            self.others.extract_if(AttemptId::all_of(task), |_, _| true).for_each(drop);
        }
        complete
    }

    fn commit_other(&mut self, now: Time, attempt: AuthoredAttempt, partitions: &[PartitionId]) -> bool {
        let AuthoredAttempt { task, digest, author } = attempt;
        if self.others.len() >= limits::OTHER_DIGESTS && !self.others.contains_key(&attempt.id()) {
            return false;
        }
        let of = self.others.entry(attempt.id()).or_insert_with(|| Other { author, partitions: BTreeSet::new() });
        of.partitions.extend(partitions);
        if of.partitions.len() < self.held.len() {
            return false;
        }
        let all: Vec<PartitionId> = of.partitions.iter().copied().collect();
        self.digests[task.index()] = digest;
        self.authors.set(task, of.author);
        self.lacking[task.index()] = all.len() as u16;
        self.held.iter_mut().for_each(|held| {
            held.remove(task);
        });
        self.hold(now, task, &all)
    }

    /// Restores what an earlier run of this peer accepted. No owner counts as holding any of it before it commits it
    /// again. Tasks that are not held by `reopen_at` are reopened.
    pub(super) fn restore(&mut self, reopen_at: Time, stage: StageId, state: &State) {
        let Some(decided) = state.stage(stage) else { return };
        for task in decided.accepted().iter() {
            if let (Some(digest), Some(author)) = (decided.digest(task), state.author(stage, task)) {
                self.digests[task.index()] = digest;
                self.authors.set(task, author);
                self.accepted.insert(task);
            }
        }
        self.reopen_at = reopen_at;
    }

    /// Whether an attempt differs from the accepted one of its task, and some partition has lost the accepted one.
    pub(super) fn contradicts(&self, AttemptId { task, digest }: AttemptId) -> bool {
        let other = self.digests.get(task.index()).is_some_and(|leading| *leading != digest);
        other && self.accepted.contains(task) && self.lacking[task.index()] > 0
    }

    /// Tasks with an accepted attempt that some partition has lost.
    pub(super) fn accepted_and_lost(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.accepted.iter().filter(|&task| self.lacking[task.index()] > 0)
    }

    /// Withdraws all acceptances except those in `standing`: of the other tasks, the first attempt that all owners hold
    /// is accepted next. A new generation begins with epoch `since`.
    pub(super) fn revoke(&mut self, standing: &BitSet<TaskId>, since: u32) {
        let revoked: Vec<TaskId> = self.accepted.iter().filter(|&task| !standing.contains(task)).collect();
        for task in revoked {
            self.accepted.remove(task);
            if self.lacking[task.index()] == 0 {
                // It counts as held again only after a new commit.
                self.incomplete += 1;
                self.lacking[task.index()] = self.held.len() as u16;
                self.held.iter_mut().for_each(|held| {
                    held.remove(task);
                });
            }
        }
        self.since = since;
        self.sealed.clear();
        self.root = None;
        self.accept.clear();
        self.accept_failed.clear();
        self.tries.clear();
    }

    /// Forgets what the owners hold: all of it was computed from revoked input.
    pub(super) fn reset(&mut self, since: u32) {
        let tasks = self.accepted.size();
        let (ring, opened) = (self.ring.clone(), std::mem::take(&mut self.opened));
        let pushed = std::mem::take(&mut self.pushed);
        *self = Self { since, opened, pushed, ..Self::new(ring, tasks) };
    }

    /// Notes how many bytes were pushed to an owner, as it reported.
    pub(super) fn note_pushed(&mut self, owner: PeerKey, bytes: u64) {
        let known = self.pushed.entry(owner).or_default();
        *known = bytes.max(*known);
    }

    /// Bytes written, as reported by owners; tasks that ran twice may count twice.
    pub(super) fn written(&self) -> u64 {
        self.pushed.values().fold(0, |sum, &bytes| sum.saturating_add(bytes))
    }

    /// Whether all owners hold an attempt of every task.
    pub(super) fn is_complete(&self) -> bool {
        self.incomplete == 0
    }

    /// The attempts whose acceptance is due, in the order of their tasks.
    pub(super) fn due_acceptances(&mut self) -> Vec<AuthoredAttempt> {
        self.accept_at = Time::NEVER;
        let mut tasks = std::mem::take(&mut self.accept);
        tasks.sort_unstable();
        tasks.dedup();
        let named = |task: TaskId| {
            let (digest, author) = (self.digests[task.index()], self.authors.author(task)?);
            Some(AuthoredAttempt { task, digest, author })
        };
        tasks.into_iter().filter(|&task| self.accepted.contains(task)).filter_map(named).collect()
    }

    /// The number of acceptances that are due.
    pub(super) fn due(&self) -> usize {
        self.accept.len()
    }

    /// Takes a seal from a partition's owner.
    pub(super) fn seal(&mut self, partition: PartitionId, root: Hash) -> Result<(), NotSealed> {
        if !self.accepted.is_full() {
            return Err(NotSealed::TooEarly);
        }
        // Accepted digests do not change within a generation.
        if *self.root.get_or_insert_with(|| segment::root(&self.digests)) != root {
            return Err(NotSealed::OtherRoot);
        }
        // With its seal the owner vouches for the whole partition, even if commits were lost or went to an earlier run
        // of this peer.
        let held = &mut self.held[partition.index()];
        for task in held.iter_missing().collect::<Vec<_>>() {
            held.insert(task);
            self.lacking[task.index()] -= 1;
            self.incomplete -= u32::from(self.lacking[task.index()] == 0);
        }
        self.sealed.insert(partition, root);
        Ok(())
    }

    /// Whether a commit comes from the owner's current incarnation, which opened the job at `opened`. If that
    /// incarnation is new, whatever the owner held before is lost.
    pub(super) fn matches_incarnation(&mut self, now: Time, owner: PeerKey, opened: u64) -> bool {
        let is_first = !self.opened.contains_key(&owner);
        let known = *self.opened.entry(owner).or_insert(opened);
        if is_first
            && self.reopen_at != Time::NEVER
            && self.ring.owners().iter().all(|owner| self.opened.contains_key(owner))
        {
            // All owners have been reached: their commits follow shortly.
            self.reopen_at = self.reopen_at.min(now + REOPEN_AFTER);
        }
        if opened > known {
            self.opened.insert(owner, opened);
            self.ring.partitions_of(owner).collect::<Vec<_>>().into_iter().for_each(|p| self.forget(p));
            self.reopen_at = now + REOPEN_AFTER;
        }
        opened >= known
    }

    /// Marks everything as held by no owner until owners commit it again.
    pub(super) fn forget_all(&mut self, now: Time) {
        self.ring.all_partitions().for_each(|partition| self.forget(partition));
        self.reopen_at = now + REOPEN_AFTER;
    }

    /// Marks a partition as held by no owner.
    fn forget(&mut self, partition: PartitionId) {
        self.sealed.remove(&partition);
        let held = &mut self.held[partition.index()];
        for task in held.iter() {
            self.incomplete += u32::from(self.lacking[task.index()] == 0);
            self.lacking[task.index()] += 1;
        }
        *held = BitSet::new(held.size());
        self.others.retain(|_, of| {
            of.partitions.remove(&partition);
            !of.partitions.is_empty()
        });
    }

    /// Resumes after this peer did not run for as long as `asleep`, when it could not receive commits.
    pub(super) fn on_resumed(&mut self, asleep: Duration) {
        self.standings.values_mut().for_each(|(_, since)| *since = *since + asleep);
        // `NEVER` must stay unchanged: it is the greatest time.
        self.reopen_at = self.reopen_at + asleep;
    }

    /// Takes a new ring. Partitions with a new owner count as held by no owner until that one commits.
    pub(super) fn new_ring(&mut self, now: Time, ring: Assignment) {
        let before = std::mem::replace(&mut self.ring, ring);
        for partition in self.ring.all_partitions() {
            if before.owner(partition) != self.ring.owner(partition) {
                self.forget(partition);
            }
        }
        self.accept_failed.retain(|(_, to, _)| self.ring.owners().contains(to));
        self.tries.clear();
        self.standings.clear();
        self.opened.retain(|owner, _| self.ring.owners().contains(owner));
        self.reopen_at = now + REOPEN_AFTER;
    }
}
