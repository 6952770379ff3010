//! Attempts and their segments in transit between workers, shufflers and the authority.

use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::part::{PartitionId, StageId, StageRef, TaskId};
use crate::ranges::{Run, check_runs};

/// Stands in tables where no attempt is known. No bytes have this hash.
const NO_DIGEST: [u8; 32] = [0; 32];

/// Attempts' segments for one shuffler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The epoch whose ring chose the receiver.
    pub epoch: u32,
    /// Whether a partition's owner made it for a replica, instead of a worker for the owner.
    pub replica: bool,
    /// The attempts, in the order of their bytes in the body.
    pub entries: Vec<PushEntry>,
    /// The peers that ran them, if the sender passes on the attempts of others: consecutive entries of one author are
    /// counted together. Empty if the sender is the author, or answers for the attempts as if it were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<(PeerKey, u32)>,
}

/// One attempt in a push. Partitions of the receiver that are not listed are empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushEntry {
    /// The task.
    pub task: TaskId,
    /// The attempt's digest.
    pub digest: Hash,
    /// Partitions with the lengths of their segments, ascending.
    pub segments: Vec<(PartitionId, u32)>,
}

impl Push {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.entries.len() > limits::PUSH_ENTRIES {
            return Err("too many attempts in one push");
        }
        for entry in &self.entries {
            let ascend = entry.segments.is_sorted_by(|a, b| a.0 < b.0);
            if !ascend || entry.segments.last().is_some_and(|s| s.0.0 >= limits::PARTITIONS) {
                return Err("partitions that repeat, are out of order or over the limit");
            }
            if entry.digest.0 == NO_DIGEST {
                return Err("a digest of zeros");
            }
        }
        if self.authors.is_empty() { Ok(()) } else { check_authors(&self.authors, self.entries.len() as u64) }
    }

    /// The author of each entry; `sender` where none is named.
    pub fn authors_or(&self, sender: PeerKey) -> impl Iterator<Item = PeerKey> + '_ {
        authors_of(&self.authors).chain(std::iter::repeat(sender))
    }

    /// The stage whose tasks wrote it.
    pub fn stage_ref(&self) -> StageRef {
        StageRef { job: self.job, stage: self.stage }
    }

    /// The length that the body must have, in bytes.
    pub fn body_len(&self) -> u64 {
        self.entries.iter().map(PushEntry::bytes).sum()
    }
}

impl PushEntry {
    /// An attempt whose segments are not in the body: there are none, or they are sent apart.
    pub fn without_segments(attempt: AttemptId) -> Self {
        let AttemptId { task, digest } = attempt;
        Self { task, digest, segments: Vec::new() }
    }

    /// Its attempt.
    pub fn attempt(&self) -> AttemptId {
        AttemptId { task: self.task, digest: self.digest }
    }

    /// The length of its segments in bytes.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|&(_, len)| u64::from(len)).sum()
    }
}

/// An attempt at a task of some stage. Attempts with equal output are one, whoever ran them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task.
    pub task: TaskId,
    /// The digest of its output.
    pub digest: Hash,
}

impl AttemptId {
    /// All attempts at a task that there can be.
    pub(crate) fn all_of(task: TaskId) -> RangeInclusive<Self> {
        let of = |byte| Self { task, digest: Hash([byte; 32]) };
        of(u8::MIN)..=of(u8::MAX)
    }

    /// The least attempt at a task: the first of all in order from this task on.
    pub(crate) fn first_of(task: TaskId) -> Self {
        Self { task, digest: Hash(NO_DIGEST) }
    }

    /// The same with the peer that ran it.
    pub fn by(self, author: PeerKey) -> AuthoredAttempt {
        let Self { task, digest } = self;
        AuthoredAttempt { task, digest, author }
    }
}

/// An attempt at a task, and the peer that ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthoredAttempt {
    /// The task.
    pub task: TaskId,
    /// The digest of its output.
    pub digest: Hash,
    /// The peer that ran it.
    pub author: PeerKey,
}

impl AuthoredAttempt {
    /// The attempt.
    pub fn id(&self) -> AttemptId {
        AttemptId { task: self.task, digest: self.digest }
    }
}

/// Tasks with one digest each: runs, and the digests of all their tasks in a row, 32 bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The tasks.
    pub runs: Vec<Run<TaskId>>,
    /// Their digests.
    pub digests: Bytes,
    /// The peers that ran them: consecutive attempts of one author are counted together. Empty if the authors are not
    /// given; otherwise the counts add up to the number of tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<(PeerKey, u32)>,
}

impl Attempts {
    /// Packs tasks with their digests; the tasks must ascend.
    pub fn pack(attempts: impl IntoIterator<Item = AttemptId, IntoIter: Clone>) -> Self {
        let attempts = attempts.into_iter();
        let runs = crate::ranges::runs_of(attempts.clone().map(|attempt| attempt.task));
        let digests: Vec<u8> = attempts.flat_map(|attempt| attempt.digest.0).collect();
        Self { runs, digests: digests.into(), authors: Vec::new() }
    }

    /// Packs tasks with their digests and authors; the tasks must ascend.
    pub fn pack_authored(attempts: &[AuthoredAttempt]) -> Self {
        let authors = runs_of_authors(attempts.iter().map(|attempt| attempt.author));
        Self { authors, ..Self::pack(attempts.iter().map(AuthoredAttempt::id)) }
    }

    /// The same attempts without their authors.
    pub fn without_authors(self) -> Self {
        Self { authors: Vec::new(), ..self }
    }

    /// The tasks.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.runs.iter().flat_map(Run::iter)
    }

    /// The attempts.
    pub fn iter(&self) -> impl Iterator<Item = AttemptId> + '_ {
        let digests = self.digests.chunks_exact(32).map(|d| Hash(d.try_into().expect("a chunk of 32 bytes")));
        self.tasks().zip(digests).map(|(task, digest)| AttemptId { task, digest })
    }

    /// The attempts with their authors; nothing if the authors are not given.
    pub fn iter_authored(&self) -> impl Iterator<Item = AuthoredAttempt> + '_ {
        self.iter().zip(authors_of(&self.authors)).map(|(attempt, author)| attempt.by(author))
    }

    /// The attempts with their authors; `sender` stands for authors that are not given.
    pub fn authors_or(&self, sender: PeerKey) -> impl Iterator<Item = AuthoredAttempt> + '_ {
        let authors = authors_of(&self.authors).chain(std::iter::repeat(sender));
        self.iter().zip(authors).map(|(attempt, author)| attempt.by(author))
    }

    /// How many attempts there are.
    pub fn len(&self) -> usize {
        self.digests.len() / 32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        check_runs(&self.runs)?;
        if self.runs.last().is_some_and(|r| r.end().0 > limits::TASKS) {
            return Err("attempts at tasks over the limit of a stage");
        }
        let tasks: u64 = self.runs.iter().map(|r| u64::from(r.len)).sum();
        if tasks * 32 != self.digests.len() as u64 {
            return Err("different numbers of digests and tasks");
        }
        if self.digests.chunks_exact(32).any(|d| d == NO_DIGEST) {
            return Err("a digest of zeros");
        }
        if self.authors.is_empty() { Ok(()) } else { check_authors(&self.authors, tasks) }
    }
}

/// The author of each attempt, from [`runs_of_authors`].
fn authors_of(runs: &[(PeerKey, u32)]) -> impl Iterator<Item = PeerKey> + '_ {
    runs.iter().flat_map(|&(author, count)| std::iter::repeat_n(author, count as usize))
}

/// Joins consecutive equal authors, each with the number of its attempts.
pub(crate) fn runs_of_authors(authors: impl Iterator<Item = PeerKey>) -> Vec<(PeerKey, u32)> {
    let mut runs: Vec<(PeerKey, u32)> = Vec::new();
    for author in authors {
        match runs.last_mut() {
            Some(last) if last.0 == author => last.1 += 1,
            _ => runs.push((author, 1)),
        }
    }
    runs
}

/// Refuses authors whose counts are zero or do not add up to the number of attempts.
pub(super) fn check_authors(authors: &[(PeerKey, u32)], attempts: u64) -> Result<(), &'static str> {
    let told: u64 = authors.iter().map(|a| u64::from(a.1)).sum();
    if told != attempts || authors.iter().any(|a| a.1 == 0) {
        return Err("authors whose counts do not add up to the attempts");
    }
    Ok(())
}
