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
    /// Counts up from 0; the highest number that carries the authority's signature holds.
    pub number: u32,
    /// The hash of the epoch before, as it was encoded; none before the first. So epochs make a chain.
    pub previous: Option<Hash>,
    /// The shufflers, in ascending order of their keys.
    pub shufflers: Vec<Shuffler>,
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
