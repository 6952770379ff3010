//! The responses to requests.

use serde::{Deserialize, Serialize};

use super::{JobStatus, PeerStatus, Push, Standing};
use crate::codec::{Wire, at_most};
use crate::epoch::Epoch;
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::manifest::Manifest;
use crate::membership::Advert;
use crate::part::{PartitionId, TaskId};
use crate::sign::Signed;

/// The response to a [`Request`](super::Request). A body may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// The request was carried out.
    Ok,
    /// The answerer's advert.
    Hello(Advert),
    /// The requested manifest.
    Manifest(Signed<Manifest>),
    /// The requested summary; the body has one bit per block of the shard.
    Summary(Summary),
    /// The requested claims, the answerer's own first.
    Claims(Vec<Standing>),
    /// The requested blob is in the body.
    Body,
    /// A piece of a bucket is in the body: [`limits::BUCKET_PIECE`] bytes, or what is left of the bucket.
    Piece {
        /// Size of the bucket in bytes.
        of: u64,
    },
    /// Segments for a pull are in the body, described as in a push.
    Pulled {
        /// The attempts in the body.
        push: Push,
        /// The task to ask for next; `None` if there are no more.
        next: Option<TaskId>,
    },
    /// The answerer is busy serving that blob; these peers have it.
    Redirect(Vec<PeerKey>),
    /// The answerer is not (or no longer) the owner; this is the newest epoch that it knows.
    NotOwner(Signed<Epoch>),
    /// The answerer does not have it, or not yet.
    Missing,
    /// The answerer is overloaded: try again shortly.
    Busy,
    /// The request is refused, for this reason.
    Refused(String),
    /// The known jobs.
    Jobs(Vec<JobStatus>),
    /// The known peers.
    Peers(Vec<PeerStatus>),
    /// The compiled module is in the body.
    Compiled {
        /// Warnings, as clang wrote them.
        warnings: String,
        /// Whether it came from the cache.
        cached: bool,
        /// How long the compilation took, in milliseconds.
        millis: u32,
    },
    /// The source does not compile.
    CompileFailed {
        /// The compiler's diagnostics.
        diagnostics: String,
    },
}

/// The authority's view of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The newest epoch.
    pub epoch: Signed<Epoch>,
    /// The count of [`Announce::reopened`](super::Announce::reopened) that this answer includes.
    pub reopened: u32,
    /// Done tasks per stage.
    pub done: Vec<u32>,
    /// Sealed partitions of the shuffle that the stage reads.
    pub seals: Vec<(PartitionId, Hash)>,
    /// Those of its further sources, in the order of its ports.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<{ limits::FURTHER_SOURCES }, _, _>"
    )]
    pub further: Vec<Vec<(PartitionId, Hash)>>,
    /// How many buckets make one task ([`crate::split`]), once that is settled. The shards below and the body then
    /// refer to the resulting tasks.
    pub width: Option<u32>,
    /// Each shard of the stage.
    pub shards: Vec<ShardLeft>,
    /// Some workers of the requested shard: connections to them help when few neighbours subscribe to its topic.
    pub peers: Vec<PeerKey>,
    /// Workers of the requested shard of which a result was accepted in this job, at most [`limits::SHARD_WORKERS`];
    /// `None` from peers that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Vec<PeerKey>>,
}

impl Summary {
    /// The sealed partitions of each shuffle that the stage reads, in the order of its ports.
    pub fn ports(&self) -> impl Iterator<Item = &[(PartitionId, Hash)]> {
        std::iter::once(&self.seals).chain(&self.further).map(Vec::as_slice)
    }
}

/// How much is left of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLeft {
    /// Blocks that are not done.
    pub blocks: u32,
    /// Workers last heard of in the shard.
    pub workers: u16,
}

impl Wire for Response {
    const NAME: &'static str = "response";
    const MAX_BYTES: usize = limits::HEAD_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Response::Hello(advert) => advert.check(),
            Response::Redirect(peers) if peers.len() > limits::REDIRECTS => Err("too many peers"),
            Response::Pulled { push, .. } => push.check(),
            Response::Refused(why) if why.len() > limits::TEXT_BYTES => Err("a reason that is too long"),
            Response::Jobs(jobs) if jobs.len() > limits::JOBS => Err("too many jobs"),
            Response::Peers(peers) if peers.len() > limits::ADVERTS => Err("too many peers"),
            Response::Peers(peers) => peers.iter().try_for_each(|p| p.advert.check()),
            Response::Summary(s) if s.done.len() > limits::STAGES => Err("a summary of too many stages"),
            Response::Summary(s) if s.ports().any(|seals| seals.len() > usize::from(limits::PARTITIONS)) => {
                Err("too many seals")
            }
            Response::Summary(s) if s.shards.len() > usize::from(limits::SHARDS) => Err("too many shards"),
            Response::Summary(s) if s.peers.len() > limits::SHARD_PEERS => Err("too many peers"),
            Response::Summary(s) if s.proven.as_ref().is_some_and(|p| p.len() > limits::SHARD_WORKERS) => {
                Err("too many workers")
            }
            Response::Claims(claims) if claims.len() > limits::SHARD_WORKERS => Err("the claims of too many"),
            Response::Claims(claims) => claims.iter().try_for_each(|standing| standing.claim.check()),
            Response::CompileFailed { diagnostics } | Response::Compiled { warnings: diagnostics, .. }
                if diagnostics.len() > limits::DIAGNOSTICS_BYTES =>
            {
                Err("diagnostics that are too long")
            }
            _ => Ok(()),
        }
    }
}
