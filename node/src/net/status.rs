//! What can be asked of the network without waiting: addresses and connected peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use webmesh_protocol::PeerKey;

use super::address_book::is_public;

/// A connected peer.
#[derive(Clone, Debug)]
pub struct PeerLink {
    /// Who.
    pub peer: PeerKey,
    /// Where it is connected: as dialled, or as it came.
    pub address: Multiaddr,
    /// Whether this peer dialled it.
    pub dialled: bool,
    /// The peer that relays the connection; `None` for a direct one.
    pub relay: Option<PeerId>,
    /// The last round trip, once there was one.
    pub rtt: Option<Duration>,
    /// Program and version, once it has told.
    pub agent: Option<String>,
}

/// The swarm task writes it, everyone reads it.
#[derive(Debug, Default)]
pub(super) struct Status(Mutex<Inner>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// Whether addresses of the local network are kept to this peer.
    pub(super) discreet: bool,
    pub(super) external: BTreeSet<Multiaddr>,
    pub(super) listening: BTreeSet<Multiaddr>,
    pub(super) peers: BTreeMap<PeerKey, PeerLink>,
}

impl Inner {
    /// Whether others are told of `address`.
    ///
    /// Where a local network is and who is in it is nobody's business outside, and no use there. A mesh that lies
    /// within one has no other addresses. A mesh with a public peer to meet at does: its peers of one home find each
    /// other by mDNS, which stays there.
    pub(super) fn tells(&self, address: &Multiaddr) -> bool {
        !self.discreet || is_public(address)
    }
}

impl Status {
    /// Access for a moment; a panic of another holder leaves it usable, for every change is a single step.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
