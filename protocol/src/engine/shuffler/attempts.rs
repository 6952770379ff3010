//! Which attempts lie at a shuffler, and which of them are accepted.

use std::collections::{BTreeMap, BTreeSet};

use super::shuffle::Shuffle;
use crate::engine::core::Core;
use crate::id::{Hash, PeerKey};
use crate::io::{KeptSegment, SegmentAction};
use crate::limits;
use crate::message::{AttemptId, AuthoredAttempt, Push};
use crate::part::{PartitionId, TaskId};
use crate::provenance::Provenance;
use crate::ranges::BitSet;

/// Authors of accepted attempts that are remembered: as many as the workers that an authority tells apart.
pub(super) const PROVEN: usize = 4096;

/// The digest of a task without an attempt.
const NONE: Hash = Hash([0; 32]);

/// An attempt that is not the leading one of its task.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) author: PeerKey,
    /// The partitions for which it lies here.
    pub(super) partitions: BTreeSet<PartitionId>,
}

/// The part of a push that is held.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// What the segment store has to hold.
    pub(super) keep: Vec<KeptSegment>,
    /// Attempts to report to the authority: those that lie here now, and those that contradict an accepted one.
    pub(super) noted: Vec<AuthoredAttempt>,
    /// Entries with anything new.
    pub(super) fresh: Vec<usize>,
    /// Whether some did not fit whose tasks have no accepted digest yet.
    pub(super) refused: bool,
    /// Bytes of what is kept.
    pub(super) bytes: u64,
}

impl Shuffle {
    /// Makes the tables of a peer that holds nothing yet.
    pub(super) fn prepare(&mut self) {
        if self.digests.is_empty() {
            self.digests = vec![NONE; self.tasks() as usize];
            self.authors = Provenance::new(self.tasks());
            self.accepted = BitSet::new(self.tasks());
        }
    }

    /// Notes the attempts of a push, by these authors, for the partitions `mine`.
    pub(super) fn stage_entries(&mut self, push: &Push, authors: &[PeerKey], mine: &[PartitionId]) -> Staged {
        let tasks = self.tasks();
        self.prepare();
        for &partition in mine {
            self.held.entry(partition).or_insert_with(|| BitSet::new(tasks));
        }
        let mut staged = Staged::default();
        for (i, (entry, &author)) in push.entries.iter().zip(authors).enumerate().filter(|(_, (e, _))| e.task.0 < tasks)
        {
            let attempt = entry.attempt().by(author);
            let Some(fresh) = self.hold(attempt, mine) else {
                if self.lacks_accepted_attempt(entry.task, mine) {
                    // Not held, but reported: if no other owner has the accepted attempt, it cannot be computed again.
                    staged.noted.push(attempt);
                }
                staged.refused |= !self.accepted.contains(entry.task);
                continue;
            };
            staged.noted.push(attempt);
            if !fresh.is_empty() {
                staged.fresh.push(i);
            }
            let kept = staged.keep.len();
            for partition in fresh {
                if let Ok(written) = entry.segments.binary_search_by_key(&partition, |s| s.0) {
                    staged.keep.push(KeptSegment { entry: i as u32, partition });
                    staged.bytes += u64::from(entry.segments[written].1);
                }
            }
            if staged.keep.len() > kept {
                self.staged += entry.bytes();
            }
        }
        staged
    }

    /// Whether an attempt of a task is accepted and does not lie here for all of these partitions.
    fn lacks_accepted_attempt(&self, task: TaskId, partitions: &[PartitionId]) -> bool {
        let held = |p: &PartitionId| self.held.get(p).is_some_and(|held| held.contains(task));
        self.accepted.contains(task) && !partitions.iter().all(held)
    }

    /// Notes that an attempt lies here for `partitions`; returns those for which it is new, or `None` if it must not be
    /// held: another one is accepted, or there are too many.
    fn hold(&mut self, attempt: AuthoredAttempt, partitions: &[PartitionId]) -> Option<Vec<PartitionId>> {
        let AuthoredAttempt { task, digest, author } = attempt;
        let leading = &mut self.digests[task.index()];
        if *leading == NONE {
            *leading = digest;
        }
        if *leading == digest {
            if self.authors.author(task).is_none() {
                self.authors.set(task, author);
            }
            let mut insert = |p: &PartitionId| self.held.get_mut(p).is_some_and(|held| held.insert(task));
            return Some(partitions.iter().copied().filter(|p| insert(p)).collect());
        }
        if self.accepted.contains(task) || (!self.others.contains_key(&attempt.id()) && !self.has_place(&attempt)) {
            return None;
        }
        let of = self.others.entry(attempt.id()).or_insert_with(|| Other { author, partitions: BTreeSet::new() });
        Some(partitions.iter().copied().filter(|&p| of.partitions.insert(p)).collect())
    }

    /// Whether one more attempt at its task may be held. Peers that have done nothing yet cannot use up the places of
    /// those that have.
    fn has_place(&self, attempt: &AuthoredAttempt) -> bool {
        let AuthoredAttempt { task, author, .. } = *attempt;
        let others = || self.others.range(AttemptId::all_of(task)).map(|(_, other)| other.author);
        let of_author = others().chain(self.authors.author(task)).filter(|of| *of == author).count();
        let is_proven = author == self.manifest.home || self.proven.contains(&author);
        let places = limits::DIGESTS_OF_TASK + if is_proven { limits::DIGESTS_OF_PROVEN } else { 0 };
        others().count() + 1 < places && of_author < limits::DIGESTS_OF_AUTHOR
    }

    pub(super) fn accept(&mut self, core: &mut Core, attempt: AttemptId) {
        let AttemptId { task, digest } = attempt;
        if task.0 >= self.tasks() || !self.accepted.insert(task) {
            return;
        }
        let leading = std::mem::replace(&mut self.digests[task.index()], digest);
        let others = self.others.extract_if(AttemptId::all_of(task), |_, _| true);
        let mut others: BTreeMap<AttemptId, Other> = others.collect();
        let mut dropped: Vec<(AttemptId, BTreeSet<PartitionId>)> = Vec::new();
        if leading != digest {
            // If the accepted attempt does not lie here, it must be pulled or computed again.
            let here = others.remove(&attempt);
            self.authors.clear(task);
            here.iter().for_each(|other| self.authors.set(task, other.author));
            let here = here.map(|other| other.partitions).unwrap_or_default();
            let mut lost = BTreeSet::new();
            for (&partition, held) in &mut self.held {
                if held.remove(task) {
                    lost.insert(partition);
                }
                if here.contains(&partition) {
                    held.insert(task);
                }
            }
            dropped.push((AttemptId { task, digest: leading }, lost));
        }
        if let Some(author) = self.authors.author(task).filter(|_| self.proven.len() < PROVEN) {
            self.proven.insert(author);
        }
        dropped.extend(others.into_iter().map(|(attempt, other)| (attempt, other.partitions)));
        for (attempt, partitions) in dropped {
            for partition in partitions {
                core.act(SegmentAction::Drop { partition: self.id.partition(partition), attempt });
            }
        }
    }

    /// Drops everything: it was computed from partitions of an older generation.
    pub(super) fn drop_everything(&mut self, core: &mut Core) {
        for &partition in self.held.keys() {
            for attempt in self.attempts_of(partition, TaskId(0)) {
                core.act(SegmentAction::Drop { partition: self.id.partition(partition), attempt: attempt.id() });
            }
        }
        self.digests = Vec::new();
        self.authors = Provenance::default();
        self.others.clear();
        self.held.clear();
        // The holders being asked have the same outdated attempts.
        self.pulling.clear();
    }

    /// Forgets acceptances and the division: the authority repeats them in each generation.
    pub(super) fn forget_acceptances(&mut self) {
        self.accepted = BitSet::new(self.accepted.size());
        self.sealed.clear();
        self.split = self.manifest.fixed_split_of(self.id.stage);
    }

    /// All attempts that lie here for a partition, of tasks from `from` on, in order of task.
    pub(super) fn attempts_of(&self, partition: PartitionId, from: TaskId) -> Vec<AuthoredAttempt> {
        let held = self.held.get(&partition).into_iter().flat_map(BitSet::iter).skip_while(|&task| task < from);
        let leading = held.filter_map(|task| {
            let (digest, author) = (self.digests[task.index()], self.authors.author(task)?);
            Some(AuthoredAttempt { task, digest, author })
        });
        let others =
            self.others.range(AttemptId::first_of(from)..).filter(|(_, of)| of.partitions.contains(&partition));
        let others = others.map(|(attempt, of)| attempt.by(of.author));
        let mut attempts: Vec<AuthoredAttempt> = leading.chain(others).collect();
        attempts.sort_unstable();
        attempts
    }
}
