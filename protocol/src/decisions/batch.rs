//! Decisions, and the batches in which they are made.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::certificate::{Certificate, CertificateError, Certifiers};
use crate::codec::{self, DecodeError, Wire};
use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::manifest::Manifest;
use crate::message::{Attempts, Outcome};
use crate::part::{Generation, PartitionId, StageId, TaskId};
use crate::ranges::{Run, check_runs};
use crate::sign::{Keypair, Signed};

/// One fact on which all peers of a job must agree. Tasks are named by ranges, so that there is no decision per task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// The job is open. The first decision of every log, and never a later one.
    Open(Signed<Manifest>),
    /// A new set of shufflers, from here on.
    Epoch(Signed<Epoch>),
    /// One attempt of each of these tasks of a shuffling stage is accepted, with its author.
    Accept {
        /// The stage.
        stage: StageId,
        /// The attempts, with their authors.
        attempts: Attempts,
    },
    /// This many neighbouring buckets of what a stage wrote make one task of the stage that reads it
    /// ([`crate::split`]). Decided once, when an attempt of every task is accepted for the first time; revocations do
    /// not undo it. A stage with several sources has one such decision for each of them, with the same width, once all
    /// of them are written.
    Split {
        /// The stage that wrote them.
        stage: StageId,
        /// How many buckets make a task.
        width: u32,
    },
    /// Acceptances in a stage are withdrawn: their tasks are open again. All partitions that the stage wrote get a new
    /// generation, and whatever was computed from an older one is withdrawn too, in all stages downstream.
    Revoke {
        /// The stage.
        stage: StageId,
        /// The generation of its partitions from here on: greater than in any earlier revocation.
        generation: Generation,
        /// The acceptances that are revoked.
        of: Revoked,
    },
    /// Partitions are complete: their owners hold the accepted attempt of every task.
    Seal {
        /// The stage that wrote them.
        stage: StageId,
        /// Their generation.
        generation: Generation,
        /// The root over the accepted digests.
        root: Hash,
        /// The partitions, ascending.
        partitions: Vec<PartitionId>,
    },
    /// Results of a collecting stage are in, with their hashes and authors.
    Output {
        /// The stage.
        stage: StageId,
        /// The tasks, with the hashes of their results.
        attempts: Attempts,
    },
    /// Nothing more is accepted from a peer. What was accepted from it before stands until it is revoked.
    Ban(PeerKey),
    /// The job is over. The last decision of every log.
    End(Outcome),
}

/// The acceptances that a revocation covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revoked {
    /// Those of these tasks that have one.
    Tasks(Vec<Run<TaskId>>),
    /// All attempts of one author.
    Author(PeerKey),
}

/// Decisions that are made together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The job.
    pub job: JobId,
    /// The position of the batch in the log, from 0.
    pub number: u64,
    /// The hash of the encoded previous batch; zeros in the first.
    pub previous: Hash,
    /// The decisions, in the order in which they take effect.
    pub decisions: Vec<Decision>,
}

/// An encoded batch with the proof that those who may decide made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The encoded [`Batch`], stored and forwarded byte for byte.
    pub batch: Bytes,
    /// The proof for this batch and all batches before it.
    pub certificate: Certificate,
}

/// Why a batch is rejected.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Batch {
    /// The hash that the next batch names and that a certificate signs.
    pub fn hash_of(encoded: &[u8]) -> Hash {
        Hash::of_parts("webmesh 1 batch of decisions", &[encoded])
    }
}

impl Certified {
    /// Encodes a batch and certifies it with the owner's key.
    pub fn by_owner(batch: &Batch, key: &Keypair) -> Self {
        let batch = Bytes::from(codec::encode(batch));
        let certificate = Certificate::by_owner(key, &Batch::hash_of(&batch));
        Self { batch, certificate }
    }

    /// The hash of the batch.
    pub fn hash(&self) -> Hash {
        Batch::hash_of(&self.batch)
    }

    /// Checks the certificate and decodes the batch.
    pub(super) fn open(&self, certifiers: Certifiers<'_>) -> Result<Batch, BatchError> {
        self.certificate.check(&self.hash(), certifiers)?;
        Ok(self.peek()?)
    }

    /// Decodes the batch without checking its certificate: the first batch names those who may certify.
    pub(super) fn peek(&self) -> Result<Batch, DecodeError> {
        codec::decode(&self.batch)
    }
}

impl Wire for Batch {
    const NAME: &'static str = "batch of decisions";
    const MAX_BYTES: usize = limits::BATCH_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        if self.decisions.is_empty() {
            return Err("a batch without decisions");
        }
        self.decisions.iter().try_for_each(Decision::check)
    }
}

impl Wire for Certified {
    const NAME: &'static str = "certified batch";
    const MAX_BYTES: usize = limits::BATCH_BYTES + limits::CERTIFICATE_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        self.certificate.check_size()
    }
}

impl Decision {
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Accept { attempts, .. } | Self::Output { attempts, .. } => {
                attempts.check()?;
                if attempts.is_empty() || attempts.authors.is_empty() {
                    return Err("an acceptance without attempts, or without their authors");
                }
                Ok(())
            }
            Self::Revoke { of: Revoked::Tasks(runs), .. } => check_runs(runs),
            Self::Seal { partitions, .. } if !partitions.is_sorted_by(|a, b| a < b) => {
                Err("partitions that repeat or are out of order")
            }
            Self::End(Outcome::Failed(why)) if why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            _ => Ok(()),
        }
    }

    /// Whether peers act on it in a way that a different decision in its place would contradict: they refuse messages
    /// of older epochs, and divide work as they were told.
    pub(crate) fn is_binding(&self) -> bool {
        matches!(self, Self::Epoch(_) | Self::Split { .. } | Self::Revoke { .. } | Self::Ban(_))
    }

    /// Upper bound of its size in an encoded batch, in bytes.
    pub(crate) fn size(&self) -> usize {
        const NAMES: usize = 256;
        NAMES
            + match self {
                Self::Open(manifest) => manifest.payload_len(),
                Self::Epoch(epoch) => epoch.payload_len(),
                Self::Accept { attempts, .. } | Self::Output { attempts, .. } => {
                    attempts.digests.len() + 24 * attempts.runs.len() + 40 * attempts.authors.len()
                }
                Self::Revoke { of: Revoked::Tasks(runs), .. } => 24 * runs.len(),
                Self::Seal { partitions, .. } => 3 * partitions.len(),
                Self::End(Outcome::Failed(why)) => why.len(),
                Self::Split { .. } | Self::Revoke { .. } | Self::Ban(_) | Self::End(_) => 0,
            }
    }
}
