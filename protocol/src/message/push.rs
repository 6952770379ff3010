//! Attempts and their segments on their way between workers, shufflers and the authority.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{Hash, JobId};
use crate::limits;
use crate::ranges::{Run, check_runs};

/// No bytes have this hash; tables keep it where they know of no attempt.
const NO_DIGEST: [u8; 32] = [0; 32];

/// Attempts' segments for one shuffler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: u8,
    /// The epoch whose ring chose the receiver.
    pub epoch: u32,
    /// Made by a partition's owner for its replica, not by a worker for the owner.
    pub replica: bool,
    /// The attempts, in the order of their bytes in the body.
    pub entries: Vec<PushEntry>,
}

/// One attempt in a push. Partitions of the receiver that are not listed got nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushEntry {
    /// The task.
    pub task: u32,
    /// The attempt's digest.
    pub digest: Hash,
    /// Partitions with the lengths of their segments, ascending.
    pub segments: Vec<(u16, u32)>,
}

impl Push {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.entries.len() > limits::PUSH_ENTRIES {
            return Err("too many attempts in one push");
        }
        for entry in &self.entries {
            let ascend = entry.segments.is_sorted_by(|a, b| a.0 < b.0);
            if !ascend || entry.segments.last().is_some_and(|s| s.0 >= limits::PARTITIONS) {
                return Err("partitions that repeat, stand out of order or cannot be");
            }
            if entry.digest.0 == NO_DIGEST {
                return Err("a digest that no attempt has");
            }
        }
        Ok(())
    }

    /// How long the body must be.
    pub fn body_len(&self) -> u64 {
        self.entries.iter().flat_map(|e| &e.segments).map(|&(_, len)| u64::from(len)).sum()
    }
}

/// Tasks with one digest each: runs, and the digests of all their tasks in a row, 32 bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The tasks.
    pub runs: Vec<Run>,
    /// Their digests.
    pub digests: Bytes,
}

impl Attempts {
    /// Packs tasks with their digests; the tasks must ascend.
    pub fn pack(attempts: &[(u32, Hash)]) -> Self {
        let runs = crate::ranges::runs_of(attempts.iter().map(|a| a.0));
        let digests: Vec<u8> = attempts.iter().flat_map(|a| a.1.0).collect();
        Self { runs, digests: digests.into() }
    }

    /// The tasks with their digests.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Hash)> + '_ {
        let digests = self.digests.chunks_exact(32).map(|d| Hash(d.try_into().expect("a chunk of 32 bytes")));
        self.runs.iter().flat_map(Run::iter).zip(digests)
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        check_runs(&self.runs)?;
        if self.runs.last().is_some_and(|r| r.end() > limits::TASKS) {
            return Err("attempts at tasks that no stage has");
        }
        let tasks: u64 = self.runs.iter().map(|r| u64::from(r.len)).sum();
        if tasks * 32 != self.digests.len() as u64 {
            return Err("a number of digests that is not that of the tasks");
        }
        if self.digests.chunks_exact(32).any(|d| d == NO_DIGEST) {
            return Err("a digest that no attempt has");
        }
        Ok(())
    }
}
