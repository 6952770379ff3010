//! The known peers and their adverts, in a table of bounded size.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::PeerKey;
use crate::limits;
use crate::time::Time;

/// What a peer does for the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Runs tasks.
    pub worker: bool,
    /// Holds map output between stages.
    pub shuffler: bool,
    /// Turns C++ into a module.
    pub compiler: bool,
    /// Carries circuits for peers that cannot be dialled.
    pub relay: bool,
    /// Keeps detached jobs alive.
    pub steward: bool,
}

/// What kind of program a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A native node.
    Node,
    /// A bootstrap node.
    Bootstrap,
    /// A native process that submits a job and leaves.
    Submitter,
    /// A browser tab.
    Tab,
}

impl Kind {
    /// Its name in lists of peers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Bootstrap => "bootstrap",
            Self::Submitter => "submitter",
            Self::Tab => "tab",
        }
    }
}

/// A peer's description of itself. Gossipsub or the connection authenticates the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// The kind of program.
    pub kind: Kind,
    /// Its roles.
    pub roles: Roles,
    /// How many tasks it runs at once.
    pub threads: u16,
    /// Its share of the ring as a shuffler, 1 to [`limits::WEIGHT`].
    pub weight: u8,
    /// The multiaddresses at which it can be dialled.
    #[serde(deserialize_with = "crate::codec::at_most::<{ limits::ADDRESSES }, _, _>")]
    pub addresses: Vec<String>,
    /// Program and version, for display.
    pub agent: String,
    /// The minor version of the protocol that it speaks.
    #[serde(default)]
    pub minor: u16,
}

impl Advert {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.addresses.len() > limits::ADDRESSES {
            return Err("too many addresses");
        }
        if self.addresses.iter().any(|a| a.len() > limits::ADDRESS_BYTES) || self.agent.len() > limits::NAME_BYTES {
            return Err("an address or a name that is too long");
        }
        if self.weight == 0 || self.weight > limits::WEIGHT {
            return Err("a weight must be 1 to 8");
        }
        Ok(())
    }
}

/// The network that a connected peer's address belongs to, in the driver's encoding: an IPv4 /24, an IPv6 /48, or this
/// machine. Addresses within one network cost nothing, so peers of one network share what strangers may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(pub [u8; 8]);

/// One known peer.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its newest advert.
    pub advert: Advert,
    /// When that was heard.
    pub heard: Time,
    /// Whether there is a connection to it.
    pub connected: bool,
}

/// The peers that this one knows of, at most [`limits::ADVERTS`].
#[derive(Debug, Default)]
pub struct Directory {
    members: BTreeMap<PeerKey, Member>,
    connected: BTreeMap<PeerKey, Link>,
}

/// The connection to a peer.
#[derive(Clone, Copy, Debug)]
struct Link {
    network: Option<Network>,
    /// When the peer last showed a sign of life.
    heard: Time,
}

impl Directory {
    /// Stores an advert. In a full table, the unconnected peer that has been silent longest is removed for it;
    /// connected peers stay.
    pub fn on_advert(&mut self, now: Time, peer: PeerKey, advert: Advert) {
        if !self.members.contains_key(&peer) && self.members.len() >= limits::ADVERTS {
            let silent = self.members.iter().filter(|(_, m)| !m.connected).min_by_key(|(_, m)| m.heard);
            match silent.map(|(&p, _)| p) {
                Some(p) => self.members.remove(&p),
                None => return,
            };
        }
        let connected = self.connected.contains_key(&peer);
        self.members.insert(peer, Member { advert, heard: now, connected });
    }

    /// A connection was opened; `network` is that of the peer's address, or `None` if a relay hides it.
    pub fn connect(&mut self, now: Time, peer: PeerKey, network: Option<Network>) {
        self.connected.insert(peer, Link { network, heard: now });
        if let Some(member) = self.members.get_mut(&peer) {
            member.connected = true;
        }
    }

    /// The last connection to a peer was closed.
    pub fn disconnect(&mut self, peer: &PeerKey) {
        self.connected.remove(peer);
        if let Some(member) = self.members.get_mut(peer) {
            member.connected = false;
        }
    }

    /// The network of a connected peer; `None` if it is not connected, or behind a relay.
    pub fn network_of(&self, peer: &PeerKey) -> Option<Network> {
        self.connected.get(peer)?.network
    }

    /// A peer showed a sign of life: a pong, gossip, or a request.
    pub fn note_sign_of_life(&mut self, now: Time, peer: &PeerKey) {
        if let Some(link) = self.connected.get_mut(peer) {
            link.heard = now;
        }
    }

    /// When a peer last showed a sign of life; `None` if it is not connected.
    pub fn last_sign_of_life(&self, peer: &PeerKey) -> Option<Time> {
        Some(self.connected.get(peer)?.heard)
    }

    /// Forgets a peer that said goodbye.
    pub fn forget(&mut self, peer: &PeerKey) {
        self.members.remove(peer);
    }

    /// Forgets peers that have been silent for `lifetime` and have no connection.
    pub fn expire(&mut self, now: Time, lifetime: Duration) {
        self.members.retain(|_, m| m.connected || now.since(m.heard) < lifetime);
    }

    /// The peers to which there is a connection.
    pub fn connected(&self) -> Vec<PeerKey> {
        self.connected.keys().copied().collect()
    }

    /// Whether there is a connection to `peer`.
    pub fn is_connected(&self, peer: &PeerKey) -> bool {
        self.connected.contains_key(peer)
    }

    /// What is known of `peer`.
    pub fn get(&self, peer: &PeerKey) -> Option<&Member> {
        self.members.get(peer)
    }

    /// All known peers, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerKey, &Member)> {
        self.members.iter()
    }

    /// The known peers with a role.
    pub fn with_role(&self, role: impl Fn(&Roles) -> bool) -> impl Iterator<Item = (&PeerKey, &Member)> {
        self.members.iter().filter(move |(_, m)| role(&m.advert.roles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Hash;

    fn advert() -> Advert {
        let roles = Roles { worker: true, ..Roles::default() };
        Advert { kind: Kind::Node, roles, threads: 1, weight: 1, addresses: vec![], agent: "test".into(), minor: 0 }
    }

    #[test]
    fn a_flood_of_strangers_cannot_grow_the_table_or_push_out_a_connected_peer() {
        let mut directory = Directory::default();
        let friend = PeerKey(Hash::of(b"friend").0);
        directory.connect(Time(0), friend, None);
        directory.on_advert(Time(0), friend, advert());
        for i in 0..2 * limits::ADVERTS as u64 {
            directory.on_advert(Time(i + 1), PeerKey(Hash::of(&i.to_le_bytes()).0), advert());
        }
        assert_eq!(directory.iter().count(), limits::ADVERTS);
        assert!(directory.get(&friend).is_some());
    }
}
