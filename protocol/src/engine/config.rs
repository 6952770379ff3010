//! What an engine is told when it starts, and how busy it is.

use crate::id::PeerKey;
use crate::limits;
use crate::membership::Advert;

/// The configuration of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// The peer's key.
    pub me: PeerKey,
    /// A number that is greater at each start, such as microseconds of the wall clock. It tells others that a restarted
    /// peer has lost its state.
    pub started: u64,
    /// The peer's advert; its roles are the ones that the engine plays.
    pub advert: Advert,
    /// Memory limits.
    pub memory: Memory,
    /// The version of the guest interface that its executor supports.
    pub interface: u8,
    /// Whether this peer can run single tasks of its own jobs even while it does not have the worker role. A failure
    /// that other workers report then ends a job only if the task fails here, too.
    pub confirms: bool,
}

/// How much memory a peer gives to each purpose, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Memory of all tasks that run at the same time. A job whose tasks may ask for more is not run here.
    pub tasks: u64,
    /// Inputs of tasks that run or are next. A larger input is fetched only while there is no other.
    pub inputs: u64,
    /// Tables of all shuffles.
    pub tables: usize,
    /// Segments of all shuffles, on disk for the most part.
    pub segments: u64,
}

impl Memory {
    /// The limits of a native peer with this much memory for its tasks, and `segments` bytes for segments. The inputs of
    /// its tasks may take as much memory again, and its tables half as much.
    pub fn native(tasks: u64, segments: u64) -> Self {
        let tables = usize::try_from(tasks / 2).unwrap_or(usize::MAX).min(limits::TABLE_BYTES);
        Self { tasks, inputs: tasks, tables, segments }
    }
}

/// The work that an engine has under way; all zero when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that await an answer.
    pub requests: usize,
    /// Running jobs.
    pub jobs: usize,
    /// Claimed blocks.
    pub claims: usize,
    /// Units of work that run or wait for their input.
    pub runs: usize,
    /// Finished tasks whose output is not acknowledged.
    pub attempts: usize,
}
