//! The answers to requests.

use serde::{Deserialize, Serialize};

use super::{JobStatus, PeerStatus, Push, Standing};
use crate::codec::{Wire, at_most};
use crate::epoch::Epoch;
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::manifest::Manifest;
use crate::membership::Advert;
use crate::sign::Signed;

/// The answer to a [`Request`](super::Request). A body may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Done, taken, noted.
    Ok,
    /// Who I am.
    Hello(Advert),
    /// The manifest asked for.
    Manifest(Signed<Manifest>),
    /// The summary asked for; the body has one bit per block of the shard.
    Summary(Summary),
    /// The claims asked for, those of who answers first.
    Claims(Vec<Standing>),
    /// The blob asked for is in the body.
    Body,
    /// A piece of a bucket is in the body: [`limits::BUCKET_PIECE`] of it, or what there is to its end.
    Piece {
        /// How many bytes the bucket has.
        of: u64,
    },
    /// Segments pulled are in the body, described as in a push; `next` is the task to ask for next.
    Pulled {
        /// The attempts in the body.
        push: Push,
        /// Where to go on, if there is more.
        next: Option<u32>,
    },
    /// Busy with that blob; these peers have it.
    Redirect(Vec<PeerKey>),
    /// I am not, or no longer, the one to ask: here is the newest epoch that I know.
    NotOwner(Signed<Epoch>),
    /// Not here, or not yet.
    Missing,
    /// Too much to do: try again shortly.
    Busy,
    /// No, and why.
    Refused(String),
    /// The jobs known.
    Jobs(Vec<JobStatus>),
    /// The peers known.
    Peers(Vec<PeerStatus>),
    /// The module is in the body.
    Compiled {
        /// Warnings, as clang wrote them.
        warnings: String,
        /// Whether it came from the cache.
        cached: bool,
        /// How long it took.
        millis: u32,
    },
    /// It does not compile.
    CompileFailed {
        /// What clang said.
        diagnostics: String,
    },
}

/// What the authority knows of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The newest epoch.
    pub epoch: Signed<Epoch>,
    /// The count of [`Announce::reopened`](super::Announce::reopened) that this answer takes in.
    pub reopened: u32,
    /// Done tasks per stage.
    pub done: Vec<u32>,
    /// Sealed partitions of the shuffle that the stage reads.
    pub seals: Vec<(u16, Hash)>,
    /// Those of its further sources, in the order of its ports.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<{ limits::FURTHER_SOURCES }, _, _>"
    )]
    pub further: Vec<Vec<(u16, Hash)>>,
    /// How many of its buckets make one task ([`crate::split`]), once that is settled. The shards below, and the body,
    /// are those of the tasks that there are then.
    pub width: Option<u32>,
    /// Each shard of the stage.
    pub shards: Vec<ShardLeft>,
    /// Some who work on the shard asked for: to be heard through, where few neighbours listen to its topic.
    pub peers: Vec<PeerKey>,
}

impl Summary {
    /// The sealed partitions of each shuffle that the stage reads, in the order of its ports.
    pub fn ports(&self) -> impl Iterator<Item = &[(u16, Hash)]> {
        std::iter::once(&self.seals).chain(&self.further).map(Vec::as_slice)
    }
}

/// How much is left of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLeft {
    /// Blocks that are not done.
    pub blocks: u32,
    /// Workers that were last heard of there.
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
