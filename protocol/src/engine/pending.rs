//! Requests under way. Each role has its own kinds, which tell what the answer is for.

use bytes::Bytes;

use super::worker::Fetch;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::RequestError;
use crate::message::{Accept, Commit, Response};
use crate::part::{PartitionRef, ShardRef, StageRef, TaskId, TaskRef};

/// A response with its body, or why there is none.
pub(super) type Answer = Result<(Response, Bytes), RequestError>;

/// A request under way, by the role that handles its answer.
#[derive(Debug)]
pub(super) enum Pending {
    /// The answer is ignored.
    Ignored,
    Discovery(DiscoveryRequest),
    Jobs(JobsRequest),
    Blobs(BlobRequest),
    Worker(WorkerRequest),
    Shuffler(ShufflerRequest),
    Authority(AuthorityRequest),
}

impl Pending {
    /// Whether such a request goes only to a job's home.
    pub(super) fn asks_home(&self) -> bool {
        matches!(
            self,
            Self::Worker(WorkerRequest::Summary(_))
                | Self::Shuffler(ShufflerRequest::Commit(_) | ShufflerRequest::Sealed(_))
        )
    }
}

/// Requests for peers that neighbours know.
#[derive(Debug)]
pub(super) enum DiscoveryRequest {
    Hello(PeerKey),
    /// For the peer of this key as a home, or for any homes if `None`.
    Homes(Option<PeerKey>),
}

/// Requests for manifests.
#[derive(Debug)]
pub(super) enum JobsRequest {
    Manifest(JobId),
    /// To a peer that announced a job under another owner or home.
    RivalManifest(JobId),
}

/// A request for a blob.
#[derive(Debug)]
pub(super) struct BlobRequest {
    pub(super) hash: Hash,
    pub(super) from: PeerKey,
}

/// Requests of a worker.
#[derive(Debug)]
pub(super) enum WorkerRequest {
    Summary(ShardRef),
    Claims { shard: ShardRef, from: PeerKey },
    Push(PushRequest),
    Output(TaskRef),
    Bucket(Fetch),
}

/// Attempts sent to an owner of their partitions.
#[derive(Debug)]
pub(super) struct PushRequest {
    pub(super) stage: StageRef,
    pub(super) owner: PeerKey,
    pub(super) epoch: u32,
    pub(super) tasks: Vec<TaskId>,
}

/// Requests of a shuffler.
#[derive(Debug)]
pub(super) enum ShufflerRequest {
    Held {
        partition: PartitionRef,
        epoch: u32,
    },
    Pull {
        partition: PartitionRef,
        epoch: u32,
    },
    /// Kept in case it must be sent again.
    Commit(Commit),
    Replica {
        stage: StageRef,
        request: u64,
    },
    Sealed(PartitionRef),
}

/// Requests of an authority.
#[derive(Debug)]
pub(super) enum AuthorityRequest {
    Cancel(JobId),
    Offer(JobId),
    Watch { job: JobId, peer: PeerKey },
    Accept(AcceptRequest),
}

/// Acceptances sent to an owner of partitions, kept in case they must be sent again.
#[derive(Debug)]
pub(super) struct AcceptRequest {
    pub(super) to: PeerKey,
    pub(super) accept: Accept,
}

macro_rules! pending_of {
    ($($role:ident($request:ty)),*) => {
        $(impl From<$request> for Pending {
            fn from(request: $request) -> Self {
                Self::$role(request)
            }
        })*
    };
}

pending_of!(
    Discovery(DiscoveryRequest),
    Jobs(JobsRequest),
    Blobs(BlobRequest),
    Worker(WorkerRequest),
    Shuffler(ShufflerRequest),
    Authority(AuthorityRequest)
);
