//! Jobs and peers in lists, for people.

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::id::{JobId, PeerKey};
use crate::limits;
use crate::membership::Advert;

/// One job in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its id.
    pub job: JobId,
    /// Its owner.
    pub owner: PeerKey,
    /// Its name.
    pub name: String,
    /// Done and all tasks, per stage.
    pub stages: Vec<(u32, u32)>,
    /// Seconds since it was submitted.
    pub age: u32,
    /// Seconds since its home was heard last, where that is longer than announcements may be late: its process may have
    /// ended.
    #[serde(default)]
    pub silent: Option<u32>,
    /// What became of it.
    pub state: JobState,
}

/// What became of a job, as far as the peer that answers knows. A variant that comes later must be sent to those alone
/// whose minor version has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// It runs.
    Running,
    /// Its submitter said goodbye, and has not said how the job ended.
    Left,
    /// Its owner's word, signed.
    Ended(Outcome),
}

/// One peer in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerKey,
    /// What it says of itself.
    pub advert: Advert,
    /// Whether the answerer has a connection to it.
    pub connected: bool,
}

/// Bytes of numbers, keys and names of fields in an element of a list: more than there are, whatever the numbers.
const FIELDS: usize = 256;

impl JobStatus {
    /// How much it takes in an answer at most, in bytes.
    pub(crate) fn size(&self) -> usize {
        let why = match &self.state {
            JobState::Ended(Outcome::Failed(why)) => why.len(),
            _ => 0,
        };
        FIELDS + self.name.len() + 12 * self.stages.len() + why
    }
}

impl PeerStatus {
    /// How much it takes in an answer at most, in bytes.
    pub(crate) fn size(&self) -> usize {
        let addresses: usize = self.advert.addresses.iter().map(|address| 4 + address.len()).sum();
        FIELDS + 64 + self.advert.agent.len() + addresses
    }
}

/// The first elements of a list, as many as fit into an answer.
pub(crate) fn as_many_as_fit<T>(list: impl Iterator<Item = T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut room = limits::HEAD_BYTES - FIELDS;
    let fits = |element: &T| {
        let size = size(element);
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    list.take_while(fits).collect()
}
