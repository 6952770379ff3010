//! What peers say to each other: gossip for everyone, requests for one.

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
pub use self::push::{Attempts, Push, PushEntry};
pub use self::request::{Cause, Failure, Request};
pub use self::response::{Response, ShardLeft, Summary};
pub(crate) use self::status::as_many_as_fit;
pub use self::status::{JobState, JobStatus, PeerStatus};
use crate::codec::Wire;
use crate::id::{Hash, JobId};
use crate::limits;
use crate::membership::Advert;

/// A gossip topic. There is a fixed number of them: strangers cannot create any (rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Jobs announced and ended. Everyone listens.
    Jobs,
    /// Adverts of peers with a role. Everyone listens.
    Peers,
    /// Claims of the shards that hash to this number, below [`limits::CLAIM_TOPICS`].
    Claims(u8),
}

impl Topic {
    /// The topic of a shard's claims: the shards of a stage have different ones, as far as there are enough.
    pub fn of_shard(job: JobId, stage: u8, shard: u16) -> Self {
        let draw = Hash::of_parts("webmesh 1 claim topic", &[&job.0, &[stage]]).draw();
        Topic::Claims((draw.wrapping_add(u64::from(shard)) % u64::from(limits::CLAIM_TOPICS)) as u8)
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
    /// Of jobs, that they live or are over (topic [`Topic::Jobs`]): as many in one message as have room.
    Jobs(Vec<JobNews>),
    /// The sender's claims, with its progress: in one shard, whose topic it is ([`Topic::Claims`]), and in others
    /// whose workers all listen there too.
    Claims(Vec<Claim>),
    /// Partitions that the sender sealed (topic [`Topic::Claims`] of every shard of the stage that reads them).
    Seals(Seals),
    /// The sender's roles (topic [`Topic::Peers`]).
    Advert(Advert),
}

impl Gossip {
    /// Whether it may stand on a topic, as far as it alone says so.
    pub fn belongs_on(&self, topic: Topic) -> bool {
        match self {
            Gossip::Jobs(_) => topic == Topic::Jobs,
            Gossip::Advert(_) => topic == Topic::Peers,
            Gossip::Claims(claims) => claims.first().is_some_and(|claim| topic == claim.topic()),
            // They go to all shards of the stage that reads them; how many there are is not said in the message.
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
                Err("a wrong number of jobs")
            }
            Gossip::Jobs(news) => news.iter().try_for_each(JobNews::check),
            Gossip::Claims(claims) if claims.is_empty() || claims.len() > limits::CLAIMS_IN_MESSAGE => {
                Err("a wrong number of claims")
            }
            Gossip::Claims(claims) => claims.iter().try_for_each(Claim::check),
            Gossip::Seals(s) if s.seals.len() > usize::from(limits::PARTITIONS) => Err("too many seals"),
            Gossip::Seals(_) => Ok(()),
            Gossip::Advert(a) => a.check(),
        }
    }
}

/// Cuts a text to what a message may carry.
pub(crate) fn cut_text(mut text: String) -> String {
    let end = text.floor_char_boundary(limits::TEXT_BYTES);
    text.truncate(end);
    text
}
