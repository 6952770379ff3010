//! Jobs and peers in lists, for display.

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
    /// Done tasks and all tasks, per stage.
    pub stages: Vec<(u32, u32)>,
    /// Seconds since it was submitted.
    pub age: u32,
    /// Seconds since its home was last heard, if its announcements are overdue: its process may have ended. Otherwise
    /// `None`.
    #[serde(default)]
    pub silent: Option<u32>,
    /// Its state.
    pub state: JobState,
}

/// The state of a job, as far as the answering peer knows. A variant that is added later must be sent only to peers
/// whose minor version has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// It runs.
    Running,
    /// Its submitter said goodbye, and has not said how the job ended.
    Left,
    /// It has ended, as its owner signed.
    Ended(Outcome),
}

/// One peer in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer's key.
    pub peer: PeerKey,
    /// Its newest advert.
    pub advert: Advert,
    /// Whether the answering peer has a connection to it.
    pub connected: bool,
}

/// Upper bound on the encoding of the numbers, keys and field names of an element of a list, in bytes.
const FIELDS: usize = 256;

impl JobStatus {
    /// An upper bound on its encoded size, in bytes.
    pub(crate) fn size(&self) -> usize {
        let why = match &self.state {
            JobState::Ended(Outcome::Failed(why)) => why.len(),
            _ => 0,
        };
        FIELDS + self.name.len() + 12 * self.stages.len() + why
    }
}

impl PeerStatus {
    /// An upper bound on its encoded size, in bytes.
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
