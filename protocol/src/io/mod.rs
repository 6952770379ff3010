//! Everything that goes into the engine and comes out of it.
//!
//! The driver hands in [`Event`]s together with the time, and carries out the [`Action`]s that follow. Actions are typed
//! by who carries them out, so that each of them (the network, the stores, the threads that run tasks, the user) is given
//! its own kind alone, and matches all of it.

mod event;
mod net;
mod notice;
mod store;
mod work;

use serde::{Deserialize, Serialize};

pub use self::event::{Event, Resumption, Submission};
pub use self::net::{NetAction, RequestError};
pub use self::notice::{Notice, Progress};
pub use self::store::{
    BlobAction, BlobClass, BucketRef, KeptSegment, NotStored, ReadError, SegmentAction, StoreAction,
};
pub use self::work::{Port, RunAction, TaskFailure, TaskOutput, TaskResult, Work};

/// Names a request that this engine sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a request that this engine has to answer. Chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(pub u64);

/// Names a unit of work given to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// Names a read of the segment store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReadId(pub u64);

/// What the driver has to do, by who does it.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are requests; a box would be an allocation for each")]
pub enum Action {
    /// For the network.
    Net(NetAction),
    /// For what keeps bytes: blobs, segments of shuffles, decisions and results of this peer's own jobs.
    Store(StoreAction),
    /// For the threads that run tasks.
    Run(RunAction),
    /// For the user, or a log.
    Notify(Notice),
}

impl From<NetAction> for Action {
    fn from(action: NetAction) -> Self {
        Self::Net(action)
    }
}

impl From<StoreAction> for Action {
    fn from(action: StoreAction) -> Self {
        Self::Store(action)
    }
}

impl From<BlobAction> for Action {
    fn from(action: BlobAction) -> Self {
        Self::Store(StoreAction::Blobs(action))
    }
}

impl From<SegmentAction> for Action {
    fn from(action: SegmentAction) -> Self {
        Self::Store(StoreAction::Segments(action))
    }
}

impl From<RunAction> for Action {
    fn from(action: RunAction) -> Self {
        Self::Run(action)
    }
}

impl From<Notice> for Action {
    fn from(notice: Notice) -> Self {
        Self::Notify(notice)
    }
}
