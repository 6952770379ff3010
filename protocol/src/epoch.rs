//! Epochs: one signed set of shufflers for a job (rule 2).

use serde::{Deserialize, Serialize};

use crate::codec::Wire;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::sign::Document;

/// The shufflers of a job from one moment on. Its ring is computed from this document alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The job.
    pub job: JobId,
    /// 0 in the first, and greater in each later one; the highest number that carries the authority's signature holds. A
    /// home that was started again continues with the seconds of its clock: past any number of an epoch whose record
    /// it may have lost.
    pub number: u32,
    /// The hash of the epoch before, as it was encoded; none before the first. So epochs make a chain.
    pub previous: Option<Hash>,
    /// The shufflers, in ascending order of their keys.
    pub shufflers: Vec<Shuffler>,
    /// The generations of each stage, in the manifest's order; empty while nothing has been revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Generations>,
}

/// What of a stage stands: whatever was computed from partitions of an older generation does not. A generation is the
/// number of the last revocation that touched a stage's partitions, 0 before the first. These numbers grow as those of
/// epochs do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// Of the partitions that its tasks read; of several sources, the newest: any that is revoked raises it.
    pub reads: u32,
    /// Of the partitions that it writes.
    pub writes: u32,
}

impl Epoch {
    /// The generations of a stage.
    pub fn generations_of(&self, stage: u8) -> Generations {
        self.generations.get(usize::from(stage)).copied().unwrap_or_default()
    }

    /// The highest generation of any stage.
    pub fn generation(&self) -> u32 {
        self.generations.iter().map(|of| of.reads.max(of.writes)).max().unwrap_or(0)
    }

    /// Whether it takes nothing back that `before` says: no stage has an older generation. The two contradict each other
    /// otherwise, and their home has lost a revocation.
    pub fn keeps_generations_of(&self, before: &Epoch) -> bool {
        let stages = 0..self.generations.len().max(before.generations.len()) as u8;
        stages.into_iter().all(|stage| {
            let (before, now) = (before.generations_of(stage), self.generations_of(stage));
            before.reads <= now.reads && before.writes <= now.writes
        })
    }
}

/// One shuffler of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shuffler {
    /// Who.
    pub peer: PeerKey,
    /// Its share of the ring, 1 to [`limits::WEIGHT`].
    pub weight: u8,
}

impl Wire for Epoch {
    const NAME: &'static str = "epoch";
    const MAX_BYTES: usize = 2048;

    fn check(&self) -> Result<(), &'static str> {
        if self.previous.is_none() != (self.number == 0) {
            return Err("a first epoch with one before it, or a later one without");
        }
        if self.shufflers.is_empty() || self.shufflers.len() > limits::SHUFFLERS {
            return Err("no shufflers, or too many");
        }
        if self.generations.len() > limits::STAGES {
            return Err("generations of too many stages");
        }
        if !self.shufflers.is_sorted_by(|a, b| a.peer < b.peer) {
            return Err("shufflers that repeat or stand out of order");
        }
        if self.shufflers.iter().any(|s| s.weight == 0 || s.weight > limits::WEIGHT) {
            return Err("a weight that cannot be");
        }
        Ok(())
    }
}

impl Document for Epoch {}
