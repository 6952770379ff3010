//! The state of the network that can be read without waiting: addresses and connected peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use webmesh_protocol::PeerKey;

use super::address_book::is_public;

/// A connected peer.
#[derive(Clone, Debug)]
pub struct PeerLink {
    /// Its key.
    pub peer: PeerKey,
    /// The address of the connection: the one dialled, or the remote one of an incoming connection.
    pub address: Multiaddr,
    /// Whether this peer dialled it.
    pub dialled: bool,
    /// The peer that relays the connection; `None` for a direct one.
    pub relay: Option<PeerId>,
    /// The last round-trip time; `None` before the first ping.
    pub rtt: Option<Duration>,
    /// Program and version; `None` until identify has run.
    pub agent: Option<String>,
}

/// Written by the swarm's task, read by everyone.
#[derive(Debug, Default)]
pub(super) struct Status(Mutex<Inner>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// Whether addresses of the local network are kept private.
    pub(super) public_only: bool,
    pub(super) external: BTreeSet<Multiaddr>,
    pub(super) listening: BTreeSet<Multiaddr>,
    pub(super) peers: BTreeMap<PeerKey, PeerLink>,
}

impl Inner {
    /// Whether `address` is published.
    ///
    /// Local addresses are of no use outside, and would reveal the local network. A mesh within one local network has
    /// no other addresses. A mesh with a public bootstrap peer has: its peers on one local network find each other by
    /// mDNS, which does not leave it.
    pub(super) fn publishes(&self, address: &Multiaddr) -> bool {
        !self.public_only || is_public(address)
    }
}

impl Status {
    /// Locks it for a moment; it stays usable if another holder panics, for every change is a single step.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
