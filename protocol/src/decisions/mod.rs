//! The decisions of a job's authority: an append-only log of batches, and the state that follows from it.
//!
//! Everything on which the peers of a job must agree is a [`Decision`]: that the job is open, its epochs, which attempt
//! of a task is accepted, which acceptances are revoked, which partitions are sealed, which results are in, and the
//! end. Decisions are made in [`Batch`]es. Each batch is numbered, names the hash of the batch before, and is certified
//! ([`Certificate`]) by the authority that the manifest names, so the certificate of the last batch vouches for
//! the whole log.
//!
//! The [`State`] of a job is a fold over its log and nothing else: two replays of one log give one state, and any
//! prefix of a log gives a state from which the rest continues. What other peers can see follows from a batch only once
//! that batch is kept, so an authority that is started again from its log ([`replay`]) contradicts nothing that it
//! said before.
//!
//! Which peer holds which segments is not decided here. Shufflers say so, and say it again to an authority that was
//! started again.

mod batch;
mod certificate;
mod log;
mod state;
#[cfg(test)]
mod tests;

pub use self::batch::{Batch, Certified, Decision, Revoked};
pub use self::certificate::{Certificate, CertificateError, Certifiers};
#[cfg(feature = "sim")]
pub(crate) use self::log::take_frame;
pub use self::log::{Cut, Replayed, frame, replay};
pub(crate) use self::state::downstream;
pub use self::state::{Refused, StageState, State};
