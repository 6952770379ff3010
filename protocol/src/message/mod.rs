//! Messages between peers: gossip for everyone, requests for one.

mod announce;
mod claim;
mod push;
mod request;
mod response;
mod status;

use serde::{Deserialize, Serialize};

pub use self::announce::{Announce, End, JobNews, Outcome};
pub use self::claim::{Claim, Hold, Seals, Standing};
pub(crate) use self::push::runs_of_authors;
pub use self::push::{AttemptId, Attempts, AuthoredAttempt, Push, PushEntry};
pub use self::request::{Accept, BucketPiece, Cause, Commit, Failure, Output, Request, Sealed};
pub use self::response::{Response, ShardLeft, Summary};
pub(crate) use self::status::as_many_as_fit;
pub use self::status::{JobState, JobStatus, PeerStatus};
use crate::codec::Wire;
use crate::id::Hash;
use crate::limits;
use crate::membership::Advert;
use crate::part::ShardRef;

/// A gossip topic. There is a fixed number of them: strangers cannot create any (rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Announcements and ends of jobs. Every peer subscribes.
    Jobs,
    /// Adverts of peers with a role. Every peer subscribes.
    Peers,
    /// Claims of the shards that hash to this number, below [`limits::CLAIM_TOPICS`].
    Claims(u8),
}

impl Topic {
    /// The topic of a shard's claims: the shards of a stage have different ones, as far as there are enough.
    pub fn of_shard(shard: ShardRef) -> Self {
        let draw = Hash::of_parts("webmesh 1 claim topic", &[&shard.job.0, &[shard.stage.0]]).draw();
        Topic::Claims((draw.wrapping_add(u64::from(shard.shard.0)) % u64::from(limits::CLAIM_TOPICS)) as u8)
    }

    /// Its name on the wire.
    pub fn name(&self) -> String {
        match self {
            Topic::Jobs => "webmesh/2/jobs".to_owned(),
            Topic::Peers => "webmesh/2/peers".to_owned(),
            Topic::Claims(n) => format!("webmesh/2/claims/{n}"),
        }
    }

    /// Every topic there is.
    pub fn all() -> impl Iterator<Item = Topic> {
        [Topic::Jobs, Topic::Peers].into_iter().chain((0..limits::CLAIM_TOPICS).map(Topic::Claims))
    }
}

/// A message for everyone on a topic. Gossipsub signs it with its sender's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Gossip {
    /// Announcements and ends of jobs (topic [`Topic::Jobs`]): as many as fit into one message.
    Jobs(Vec<JobNews>),
    /// The sender's claims, with its progress: first in the shard whose topic the message is published on
    /// ([`Topic::Claims`]), then in others whose workers all subscribe to that topic too.
    Claims(Vec<Claim>),
    /// Partitions that the sender sealed (topic [`Topic::Claims`] of every shard of the stage that reads them).
    Seals(Seals),
    /// The sender's roles (topic [`Topic::Peers`]).
    Advert(Advert),
}

impl Gossip {
    /// Whether it may be published on a topic, as far as its content shows.
    pub fn belongs_on(&self, topic: Topic) -> bool {
        match self {
            Gossip::Jobs(_) => topic == Topic::Jobs,
            Gossip::Advert(_) => topic == Topic::Peers,
            Gossip::Claims(claims) => claims.first().is_some_and(|claim| topic == claim.topic()),
            // Seals go to all shards of the stage that reads them; the message does not say how many there are.
            Gossip::Seals(_) => matches!(topic, Topic::Claims(_)),
        }
    }
}

impl Wire for Gossip {
    const NAME: &'static str = "gossip message";
    const MAX_BYTES: usize = limits::GOSSIP_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Gossip::Jobs(news) if news.is_empty() || news.len() > limits::JOBS_IN_MESSAGE => {
                Err("no jobs, or too many")
            }
            Gossip::Jobs(news) => news.iter().try_for_each(JobNews::check),
            Gossip::Claims(claims) if claims.is_empty() || claims.len() > limits::CLAIMS_IN_MESSAGE => {
                Err("no claims, or too many")
            }
            Gossip::Claims(claims) => claims.iter().try_for_each(Claim::check),
            Gossip::Seals(s) if s.seals.len() > usize::from(limits::PARTITIONS) => Err("too many seals"),
            Gossip::Seals(_) => Ok(()),
            Gossip::Advert(a) => a.check(),
        }
    }
}

/// Truncates a text to [`limits::TEXT_BYTES`].
pub(crate) fn cut_text(mut text: String) -> String {
    let end = text.floor_char_boundary(limits::TEXT_BYTES);
    text.truncate(end);
    text
}
