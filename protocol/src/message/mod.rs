//! What peers say to each other: gossip for everyone, requests for one.

mod announce;
mod claim;
mod push;
mod request;
mod response;
mod status;

use serde::{Deserialize, Serialize};

pub use self::announce::{Announce, End, Outcome};
pub use self::claim::{Claim, Hold, Seals};
pub use self::push::{Attempts, Push, PushEntry};
pub use self::request::{Failure, Request};
pub use self::response::{Response, ShardLeft, Summary};
pub(crate) use self::status::as_many_as_fit;
pub use self::status::{JobStatus, PeerStatus};
use crate::codec::Wire;
use crate::id::{Hash, JobId};
use crate::limits;
use crate::membership::Advert;
use crate::sign::Signed;

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
            Topic::Jobs => "webmesh/1/jobs".to_owned(),
            Topic::Peers => "webmesh/1/peers".to_owned(),
            Topic::Claims(n) => format!("webmesh/1/claims/{n}"),
        }
    }

    /// Every topic there is.
    pub fn all() -> impl Iterator<Item = Topic> {
        [Topic::Jobs, Topic::Peers].into_iter().chain((0..limits::CLAIM_TOPICS).map(Topic::Claims))
    }
}

/// A message for everyone on a topic. Gossipsub signs it with its sender's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "messages are moved a few times each, and matched often")]
pub enum Gossip {
    /// A job lives (topic [`Topic::Jobs`]); repeated every [`limits::ANNOUNCE_INTERVAL`] or so.
    Announce(Announce),
    /// A job is over (topic [`Topic::Jobs`]), in its owner's word.
    Ended(Signed<End>),
    /// The sender's claims in one shard, with its progress (topic [`Topic::Claims`]).
    Claim(Claim),
    /// Partitions that the sender sealed (topic [`Topic::Claims`] of every shard of the stage that reads them).
    Seals(Seals),
    /// The sender's roles (topic [`Topic::Peers`]).
    Advert(Advert),
}

impl Wire for Gossip {
    const NAME: &'static str = "gossip message";
    const MAX_BYTES: usize = limits::GOSSIP_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Gossip::Announce(a) => a.check(),
            Gossip::Ended(_) => Ok(()),
            Gossip::Claim(c) => c.check(),
            Gossip::Seals(s) if s.seals.len() > usize::from(limits::PARTITIONS) => Err("too many seals"),
            Gossip::Seals(_) => Ok(()),
            Gossip::Advert(a) => a.check(),
        }
    }
}
