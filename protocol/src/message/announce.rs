//! Gossip about jobs: that they are running, and how they ended.

use serde::{Deserialize, Serialize};

use crate::codec::Wire;
use crate::epoch::Epoch;
use crate::id::{JobId, PeerKey};
use crate::limits;
use crate::manifest::Manifest;
use crate::sign::{Document, Signed};

/// The state of a job, as gossip tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "most are announcements, and few of either are held at a time")]
pub enum JobNews {
    /// It is running; repeated about every [`limits::ANNOUNCE_INTERVAL`].
    Lives(Announce),
    /// It has ended, as its owner signed.
    Ended(Signed<End>),
}

impl JobNews {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            JobNews::Lives(announce) => announce.check(),
            JobNews::Ended(_) => Ok(()),
        }
    }

    /// An upper bound on its encoded size, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            JobNews::Lives(announce) => {
                let manifest = announce.manifest.as_ref().map_or(0, |m| m.payload_len() + SIGNED);
                LIVES
                    + manifest
                    + announce.epoch.payload_len()
                    + SIGNED
                    + 5 * (announce.done.len() + announce.tasks.len())
            }
            JobNews::Ended(end) => end.payload_len() + SIGNED,
        }
    }
}

/// Upper bound on the encoding of a signed document without its payload, in bytes.
const SIGNED: usize = 160;
/// Upper bound on the encoding of an announcement without its signed documents and lists, in bytes.
const LIVES: usize = 240;

/// The announcement of a running job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announce {
    /// Its id.
    pub job: JobId,
    /// Its owner.
    pub owner: PeerKey,
    /// The peer where its authority is reached.
    pub home: PeerKey,
    /// The signed manifest, if it is small (rule 7); otherwise peers request it.
    pub manifest: Option<Signed<Manifest>>,
    /// The newest epoch.
    pub epoch: Signed<Epoch>,
    /// Tasks done, per stage.
    pub done: Vec<u32>,
    /// Tasks in all, per stage. A stage that reads a shuffle has at least one for each partition; the number is known
    /// once the shuffle is written.
    pub tasks: Vec<u32>,
    /// Increases whenever tasks that were done are reopened: a peer that sees it grow asks for a summary.
    pub reopened: u32,
    /// Seconds since the job was submitted.
    pub age: u32,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The job.
    pub job: JobId,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It succeeded.
    Done,
    /// Its owner cancelled it.
    Cancelled,
    /// It failed, for this reason.
    Failed(String),
}

impl Announce {
    /// Whether its owner signed its epoch.
    pub fn is_signed_by_owner(&self) -> bool {
        self.epoch.signer() == self.owner && self.epoch.open().is_ok_and(|epoch| epoch.job == self.job)
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let manifest = self.manifest.as_ref().map_or(0, Signed::payload_len);
        if self.done.len().max(self.tasks.len()) > limits::STAGES || manifest > limits::INLINE_MANIFEST_BYTES {
            return Err("an announcement with too many stages or too large a manifest");
        }
        Ok(())
    }
}

impl Wire for End {
    const NAME: &'static str = "end of a job";
    const MAX_BYTES: usize = limits::TEXT_BYTES + 256;

    fn check(&self) -> Result<(), &'static str> {
        match &self.outcome {
            Outcome::Failed(why) if why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            _ => Ok(()),
        }
    }
}

impl Document for End {}
