//! Epochs: one signed set of shufflers for a job (rule 2).

use serde::{Deserialize, Serialize};

use crate::codec::Wire;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::part::{Generation, StageId};
use crate::sign::Document;

/// The shufflers of a job from one point in time on. The ring is computed from this document alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The job.
    pub job: JobId,
    /// 0 in the first epoch and greater in each later one; the highest number with the authority's signature is valid.
    /// A home that was restarted continues with the seconds of its clock, above the number of any epoch whose record it
    /// may have lost.
    pub number: u32,
    /// The hash of the previous epoch as it was encoded; `None` in the first. So the epochs form a chain.
    pub previous: Option<Hash>,
    /// The shufflers, in ascending order of their keys.
    pub shufflers: Vec<Shuffler>,
    /// The generations of each stage, in the manifest's order; empty before the first revocation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Generations>,
}

/// The generations of a stage that are valid: whatever was computed from partitions of an older one is revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// That of the partitions that its tasks read; of several sources, the newest, so that revoking any of them raises
    /// it.
    pub reads: Generation,
    /// That of the partitions that it writes.
    pub writes: Generation,
}

impl Epoch {
    /// The generations of a stage.
    pub fn generations_of(&self, stage: StageId) -> Generations {
        self.generations.get(stage.index()).copied().unwrap_or_default()
    }

    /// The highest generation of any stage.
    pub fn generation(&self) -> Generation {
        self.generations.iter().map(|of| of.reads.max(of.writes)).max().unwrap_or_default()
    }

    /// Whether no stage has an older generation than in `before`. Otherwise the two contradict each other, and their
    /// home has lost a revocation.
    pub fn keeps_generations_of(&self, before: &Epoch) -> bool {
        let stages = self.generations.len().max(before.generations.len());
        (0..stages).map(StageId::of_index).all(|stage| {
            let (before, now) = (before.generations_of(stage), self.generations_of(stage));
            before.reads <= now.reads && before.writes <= now.writes
        })
    }
}

/// One shuffler of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shuffler {
    /// The peer's key.
    pub peer: PeerKey,
    /// Its share of the ring, 1 to [`limits::WEIGHT`].
    pub weight: u8,
}

impl Wire for Epoch {
    const NAME: &'static str = "epoch";
    const MAX_BYTES: usize = 2048;

    fn check(&self) -> Result<(), &'static str> {
        if self.previous.is_none() != (self.number == 0) {
            return Err("a first epoch that names a previous one, or a later epoch that names none");
        }
        if self.shufflers.is_empty() || self.shufflers.len() > limits::SHUFFLERS {
            return Err("no shufflers, or too many");
        }
        if self.generations.len() > limits::STAGES {
            return Err("generations of too many stages");
        }
        if !self.shufflers.is_sorted_by(|a, b| a.peer < b.peer) {
            return Err("shufflers that repeat or are out of order");
        }
        if self.shufflers.iter().any(|s| s.weight == 0 || s.weight > limits::WEIGHT) {
            return Err("shuffler weights must be 1 to 8");
        }
        Ok(())
    }
}

impl Document for Epoch {}
