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
use crate::ranges::{Run, check_runs};
use crate::sign::{Keypair, Signed};

/// One thing on which all peers of a job must agree. Tasks are named by ranges, never one decision for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// The job is open. The first decision of every log, and only there.
    Open(Signed<Manifest>),
    /// The shufflers from here on.
    Epoch(Signed<Epoch>),
    /// One attempt of each of these tasks of a shuffling stage is accepted, with its author.
    Accept {
        /// The stage.
        stage: u8,
        /// The attempts, with their authors.
        attempts: Attempts,
    },
    /// So many neighbouring buckets of what a stage wrote make one task of the stage that reads it ([`crate::split`]).
    /// Decided once, when an attempt of every task is accepted for the first time; it stands through revocations. Of a
    /// stage with several sources one is decided for each of them, with the same width, once all are written.
    Split {
        /// The stage that wrote them.
        stage: u8,
        /// How many buckets make a task.
        width: u32,
    },
    /// Acceptances in a stage no longer stand: their tasks are open again. All partitions that the stage wrote have a
    /// new generation, and whatever was computed from an older one no longer stands either, in all stages downstream.
    Revoke {
        /// The stage.
        stage: u8,
        /// The generation of its partitions from here on: greater than that of any revocation before.
        generation: u32,
        /// Which acceptances.
        of: Revoked,
    },
    /// Partitions are complete: every task's accepted attempt lies with their owners.
    Seal {
        /// The stage that wrote them.
        stage: u8,
        /// Their generation.
        generation: u32,
        /// The root over the accepted digests.
        root: Hash,
        /// The partitions, ascending.
        partitions: Vec<u16>,
    },
    /// Results of a collecting stage are in, with their hashes and authors.
    Output {
        /// The stage.
        stage: u8,
        /// The tasks, with the hashes of their results.
        attempts: Attempts,
    },
    /// Nothing more is accepted of a peer. What was accepted of it before stands until it is revoked.
    Ban(PeerKey),
    /// The job is over. The last decision of every log.
    End(Outcome),
}

/// Which acceptances a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revoked {
    /// Those of these tasks, as far as there are any.
    Tasks(Vec<Run>),
    /// All of one author.
    Author(PeerKey),
}

/// Decisions that are made at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The job.
    pub job: JobId,
    /// Counts up from 0.
    pub number: u64,
    /// The hash of the encoded batch before; zeros before the first.
    pub previous: Hash,
    /// The decisions, in the order in which they hold.
    pub decisions: Vec<Decision>,
}

/// An encoded batch with the proof that those who may decide made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The encoded [`Batch`], kept and passed on byte for byte.
    pub batch: Bytes,
    /// Who vouches for it, and for all batches before.
    pub certificate: Certificate,
}

/// Why a batch is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Batch {
    /// The hash that the next batch names, and that a certificate signs.
    pub fn hash_of(encoded: &[u8]) -> Hash {
        Hash::of_parts("webmesh 1 batch of decisions", &[encoded])
    }
}

impl Certified {
    /// A batch certified by the job's owner.
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

    /// Decodes the batch without checking who made it: the first one says who may.
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
                    return Err("an acceptance of nothing, or of nobody's attempts");
                }
                Ok(())
            }
            Self::Revoke { of: Revoked::Tasks(runs), .. } => check_runs(runs),
            Self::Seal { partitions, .. } if !partitions.is_sorted_by(|a, b| a < b) => {
                Err("partitions that repeat or stand out of order")
            }
            Self::End(Outcome::Failed(why)) if why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            _ => Ok(()),
        }
    }

    /// Whether peers act on it in a way that another decision in its place would contradict: they refuse what comes from
    /// an older epoch, and share work out by the division that they were told.
    pub(crate) fn is_binding(&self) -> bool {
        matches!(self, Self::Epoch(_) | Self::Split { .. } | Self::Revoke { .. } | Self::Ban(_))
    }

    /// How much it takes in an encoded batch at most, in bytes.
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
