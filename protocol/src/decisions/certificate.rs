//! Certificates: proof of who made a batch of decisions.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::manifest::{Authority, Manifest};
use crate::sign::{Keypair, hash_is_signed};

/// The role under which certificates are signed.
const ROLE: &str = "batch of decisions";

/// Proof that a batch was made by those who have a job's authority. One type and one check for both kinds of authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Certificate {
    /// The owner's signature, of 64 bytes.
    Owner(Bytes),
    /// Signatures of stewards, each with the steward's index in the manifest's list, in ascending order.
    Stewards(Vec<(u8, Bytes)>),
}

/// Those whose signatures make a certificate valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certifiers<'a> {
    /// The owner of the job.
    Owner(PeerKey),
    /// More than two thirds of these peers.
    Stewards(&'a [PeerKey]),
}

/// Why a certificate is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The certificate is of the wrong kind for the job: an owner's where stewards decide, or the reverse.
    #[error("the batch is not certified by the job's authority")]
    WrongKind,
    /// The signature of a named signer is invalid.
    #[error("a signature of the batch is invalid")]
    Signature,
    /// Signers that repeat, are out of order, or are no stewards of the job.
    #[error("the batch is signed by a peer that is not a steward of the job, or twice by one steward")]
    Signer,
    /// Too few stewards signed.
    #[error("{signed} of {stewards} stewards signed the batch; more than two thirds are needed")]
    TooFew {
        /// The number of signatures.
        signed: usize,
        /// The number of stewards.
        stewards: usize,
    },
}

impl<'a> Certifiers<'a> {
    /// The certifiers of a job's batches.
    pub fn of(manifest: &'a Manifest) -> Self {
        match &manifest.authority {
            Authority::Owner => Self::Owner(manifest.owner),
            Authority::Stewards(stewards) => Self::Stewards(stewards),
        }
    }
}

impl Certificate {
    /// The owner's certificate for the batch with this hash.
    pub fn by_owner(key: &Keypair, batch: &Hash) -> Self {
        Self::Owner(key.sign_hash(ROLE, batch))
    }

    /// One steward's signature for the batch with this hash: 64 bytes, to be gathered into a certificate.
    pub fn signature(key: &Keypair, batch: &Hash) -> Bytes {
        key.sign_hash(ROLE, batch)
    }

    /// Checks that this certificate vouches for the batch with this hash.
    ///
    /// # Errors
    /// If it was made by others, or by too few.
    pub fn check(&self, batch: &Hash, certifiers: Certifiers<'_>) -> Result<(), CertificateError> {
        let holds = |signer: &PeerKey, signature: &Bytes| hash_is_signed(signer, ROLE, batch, signature);
        match (self, certifiers) {
            (Self::Owner(signature), Certifiers::Owner(owner)) => {
                holds(&owner, signature).then_some(()).ok_or(CertificateError::Signature)
            }
            (Self::Stewards(signatures), Certifiers::Stewards(stewards)) => {
                if !signatures.is_sorted_by(|a, b| a.0 < b.0) {
                    return Err(CertificateError::Signer);
                }
                for (place, signature) in signatures {
                    let steward = stewards.get(usize::from(*place)).ok_or(CertificateError::Signer)?;
                    holds(steward, signature).then_some(()).ok_or(CertificateError::Signature)?;
                }
                let (signed, stewards) = (signatures.len(), stewards.len());
                let enough = 3 * signed > 2 * stewards;
                enough.then_some(()).ok_or(CertificateError::TooFew { signed, stewards })
            }
            _ => Err(CertificateError::WrongKind),
        }
    }

    /// Refuses a certificate of more signatures than a job may have stewards.
    pub(super) fn check_size(&self) -> Result<(), &'static str> {
        match self {
            Self::Stewards(signatures) if signatures.len() > limits::STEWARDS => Err("too many signatures"),
            _ => Ok(()),
        }
    }
}
