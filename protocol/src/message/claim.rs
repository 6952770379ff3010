//! Gossip among the workers of a shard: their claims, and the partitions that are ready for them.

use serde::{Deserialize, Serialize};

use super::Topic;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::part::{PartitionId, ShardId, ShardRef, StageId};
use crate::ranges::{Run, check_runs};

/// All that a worker holds and has finished in one shard: claim, renewal, release and progress are this one message. It
/// states the whole, not a change, so the next message makes up for a lost one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The shard.
    pub shard: ShardId,
    /// Counts the sender's messages in this stage, from 1: gossip may deliver an old one after a newer one.
    pub number: u32,
    /// Blocks that the sender holds and has not finished, by term, ascending.
    pub holds: Vec<Hold>,
    /// The blocks that it finished last, as many as fit.
    pub done: Vec<Run>,
    /// How many blocks of this shard it has finished in all.
    pub finished: u32,
}

/// A worker's claim as another peer knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The worker that made the claim.
    pub worker: PeerKey,
    /// Its last claim.
    pub claim: Claim,
    /// The rest of its lease in milliseconds, if it is not heard again. A peer that passes a standing on states less
    /// than it was told: otherwise newcomers would keep a worker alive for each other that is long gone.
    pub lease: u32,
}

/// Blocks held under one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The blocks.
    pub run: Run,
    /// 0 for a first claim; one more than the claim that lapsed before it.
    pub term: u8,
    /// A second attempt beside a claim that still stands.
    pub speculative: bool,
    /// It has stood long enough for every worker to have heard it.
    pub settled: bool,
}

/// Partitions of a stage's shuffle that are complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seals {
    /// The job.
    pub job: JobId,
    /// The stage that wrote them.
    pub stage: StageId,
    /// The epoch under which the sender owns them.
    pub epoch: u32,
    /// How many of their buckets make one task ([`crate::split`]).
    pub width: u32,
    /// The partitions, with the roots over their accepted digests.
    pub seals: Vec<(PartitionId, Hash)>,
}

/// Upper bound on the encoding of a claim without its runs, in bytes.
const CLAIM: usize = 160;
/// Upper bound on the encoding of a hold, in bytes.
const HOLD: usize = 72;
/// Upper bound on the encoding of a run of finished blocks, in bytes.
const RUN: usize = 24;

impl Claim {
    /// The shard.
    pub fn shard_ref(&self) -> ShardRef {
        ShardRef { job: self.job, stage: self.stage, shard: self.shard }
    }

    /// The topic of its shard.
    pub fn topic(&self) -> Topic {
        Topic::of_shard(self.shard_ref())
    }

    /// An upper bound on its encoded size, in bytes.
    pub(crate) fn size(&self) -> usize {
        CLAIM + HOLD * self.holds.len() + RUN * self.done.len()
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.holds.len() > limits::CLAIM_RUNS || self.done.len() > limits::CLAIM_RUNS {
            return Err("a claim with too many runs");
        }
        let holds: Vec<Run> = self.holds.iter().map(|h| h.run).collect();
        for runs in [&self.done, &holds] {
            check_runs(runs)?;
            if runs.last().is_some_and(|r| r.end() > limits::BLOCKS) {
                return Err("a claim on blocks over the limit of a stage");
            }
        }
        Ok(())
    }
}
