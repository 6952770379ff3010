//! Dialling peers, and the requests that wait for a connection.

use std::collections::hash_map;

use libp2p::kad::{self, PeerInfo};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, TransportError};
use tokio::sync::oneshot;
use webmesh_protocol::PeerKey;

use super::Task;
use crate::net::address_book::{other_transport, peer_of};
use crate::net::error::{NetError, innermost, name_error};
use crate::net::limits;
use crate::net::streams::{OpenError, Opener};

/// Requests that wait for a connection to one peer.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    openers: Vec<Opener>,
    /// Whether the DHT has been asked for more addresses, or is being asked.
    looked_up: bool,
}

/// A pending dial that was requested by address.
#[derive(Debug)]
pub(super) struct AddressDial {
    address: Multiaddr,
    reply: oneshot::Sender<Result<PeerKey, NetError>>,
}

impl Task {
    /// Opens a stream, over a new connection if there is none.
    pub(super) fn open(&mut self, peer: PeerId, opener: Opener) {
        let Err(opener) = self.swarm.behaviour_mut().streams.open(peer, opener) else {
            return;
        };
        if !self.awaiting.contains_key(&peer) && self.awaiting.len() >= limits::AWAITED_PEERS {
            return give_up(vec![opener], "too many other peers are being dialled");
        }
        let awaited = self.awaiting.entry(peer).or_default();
        awaited.openers.push(opener);
        if awaited.openers.len() == 1 {
            self.permits.lock().set_awaited(peer, true);
            self.dial_awaited(peer);
        }
    }

    /// Dials a peer for which requests wait; if no address is known, asks the DHT for one.
    fn dial_awaited(&mut self, peer: PeerId) {
        match self.dial_peer(peer) {
            // The pending dial serves as well.
            Ok(_) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(e) => self.on_unreachable(peer, &innermost(&e)),
        }
    }

    fn dial_peer(&mut self, peer: PeerId) -> Result<ConnectionId, DialError> {
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(self.book.of(&peer))
            .extend_addresses_through_behaviour()
            // From a port of its own: two peers that dial each other from their listening ports at the same moment get
            // one TCP connection that both believe to have initiated.
            .allocate_new_port()
            .build();
        let id = options.connection_id();
        self.swarm.dial(options).map(|()| id)
    }

    /// Handles a failed dial for waiting requests: asks the DHT once, then fails them.
    fn on_unreachable(&mut self, peer: PeerId, why: &str) {
        let Some(awaited) = self.awaiting.get_mut(&peer) else {
            return;
        };
        if awaited.looked_up {
            if let Some(awaited) = self.awaiting.remove(&peer) {
                self.permits.lock().set_awaited(peer, false);
                give_up(awaited.openers, why);
            }
        } else {
            awaited.looked_up = true;
            let query = self.swarm.behaviour_mut().kad.get_closest_peers(peer);
            self.lookups.insert(query, peer);
        }
    }

    /// Handles peers found by the DHT.
    pub(super) fn on_found(&mut self, query: kad::QueryId, peers: Vec<PeerInfo>, last: bool) {
        for found in peers {
            if found.peer_id != self.me {
                found.addrs.into_iter().take(limits::ADDRESSES_OF_PEER).for_each(|a| self.book.add(found.peer_id, a));
            }
        }
        if last
            && let Some(peer) = self.lookups.remove(&query)
            && self.awaiting.contains_key(&peer)
        {
            self.dial_awaited(peer);
        }
    }

    /// Handles a new connection to `peer`: waiting requests get a stream.
    pub(super) fn complete_awaiting(&mut self, peer: PeerId) {
        self.permits.lock().set_awaited(peer, false);
        for opener in self.awaiting.remove(&peer).map(|a| a.openers).unwrap_or_default() {
            if let Err(opener) = self.swarm.behaviour_mut().streams.open(peer, opener) {
                give_up(vec![opener], "the connection closed at once");
            }
        }
    }

    /// Dials an address for the handle. A bootstrap peer with a pending dial is not dialled twice.
    pub(super) fn dial_address(&mut self, address: Multiaddr, reply: oneshot::Sender<Result<PeerKey, NetError>>) {
        if let Some(id) = self.bootstrap.under_way(&address)
            && let hash_map::Entry::Vacant(free) = self.address_dials.entry(id)
        {
            free.insert(AddressDial { address, reply });
            return;
        }
        peer_of(&address).into_iter().for_each(|peer| self.permits.lock().give(peer, &address));
        // A failed send below means that the caller has given up.
        let options = match peer_of(&address) {
            Some(peer) if self.swarm.is_connected(&peer) => {
                let key = crate::net::peer_key_of(&peer);
                let _ = reply.send(key.ok_or_else(|| unreachable(&address, "its key is not Ed25519")));
                return;
            }
            Some(peer) => DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(vec![address.clone()])
                .allocate_new_port()
                .build(),
            None => DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build(),
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => drop(self.address_dials.insert(id, AddressDial { address, reply })),
            Err(e) => drop(reply.send(Err(unreachable(&address, &explain(&e))))),
        }
    }

    /// Completes the dial requested by address, if the new connection comes from one.
    pub(super) fn complete_address_dial(&mut self, id: ConnectionId, key: Option<PeerKey>) {
        if let Some(AddressDial { address, reply }) = self.address_dials.remove(&id) {
            let _ = reply.send(key.ok_or_else(|| unreachable(&address, "its key is not Ed25519")));
        }
    }

    /// Handles any failed dial.
    pub(super) fn on_dial_failed(&mut self, id: ConnectionId, peer: Option<PeerId>, error: &DialError) {
        tracing::debug!(?peer, %error, "dial failed");
        let never_reached = self.bootstrap.failed(id);
        if let Some(AddressDial { address, reply }) = self.address_dials.remove(&id) {
            let _ = reply.send(Err(unreachable(&address, &explain(error))));
        } else if let Some(address) = never_reached {
            let hint = other_transport(&self.bootstrap.addresses()).map_or(String::new(), |hint| format!("; {hint}"));
            tracing::warn!("cannot reach the bootstrap peer {address}, will retry: {}{hint}", explain(error));
        }
        let speculative = self.speculative.remove(&id).is_some();
        if let Some(peer) = peer {
            let connected = self.swarm.is_connected(&peer);
            if speculative || !connected {
                self.book.failed(&peer);
            }
            if !connected {
                self.on_unreachable(peer, &explain(error));
            }
        }
    }

    /// Dials the bootstrap peers that are due.
    pub(super) fn dial_bootstrap(&mut self) {
        for (place, address) in self.bootstrap.due() {
            let options = match peer_of(&address) {
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::Disconnected)
                    .addresses(vec![address])
                    .allocate_new_port()
                    .build(),
                None => DialOpts::unknown_peer_id().address(address).allocate_new_port().build(),
            };
            let id = options.connection_id();
            self.bootstrap.dialling(place, id);
            if let Err(e) = self.swarm.dial(options) {
                tracing::debug!(%e, "a bootstrap peer cannot be dialled now");
                self.bootstrap.refused(place);
            }
        }
    }

    /// Dials some known peers while there are too few connections.
    pub(super) fn dial_known_peers(&mut self) {
        let connected = self.swarm.network_info().num_peers();
        let free = limits::SPECULATIVE_DIALS.saturating_sub(self.speculative.len());
        let wanted = self.wanted_peers.saturating_sub(connected).min(free);
        if wanted == 0 {
            return;
        }
        let (me, swarm) = (self.me, &self.swarm);
        for peer in self.book.draw(wanted, |p| *p == me || swarm.is_connected(p)) {
            match self.dial_peer(peer) {
                Ok(id) => drop(self.speculative.insert(id, peer)),
                Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(_) => self.book.failed(&peer),
            }
        }
    }

    /// Dials the known direct addresses of some peers that are reached through relays only: a relay is slow, and
    /// carries others' traffic too.
    pub(super) fn seek_direct_ways(&mut self) {
        for peer in self.swarm.behaviour().streams.relayed_peers() {
            let addresses = self.book.direct(&peer);
            if addresses.is_empty() || self.speculative.len() >= limits::SPECULATIVE_DIALS {
                continue;
            }
            let options = DialOpts::peer_id(peer).condition(PeerCondition::NotDialing).addresses(addresses);
            let options = options.allocate_new_port().build();
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => drop(self.speculative.insert(id, peer)),
                Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(_) => self.book.failed(&peer),
            }
        }
    }
}

/// Fails the requests that wait for a connection. Those that have given up meanwhile are ignored.
fn give_up(openers: Vec<Opener>, why: &str) {
    for opener in openers {
        let _ = opener.send(Err(OpenError::NoConnection(why.to_owned())));
    }
}

fn unreachable(address: &Multiaddr, why: &str) -> NetError {
    NetError::Unreachable { address: address.clone(), why: why.to_owned() }
}

/// Explains a failed dial to the user.
fn explain(error: &DialError) -> String {
    match error {
        DialError::WrongPeerId { obtained, .. } => {
            format!("another peer answers at that address, {obtained}; check the id at its end")
        }
        DialError::LocalPeerId { .. } => "it is an address of this peer itself".to_owned(),
        DialError::NoAddresses => "no address of it is known".to_owned(),
        DialError::Transport(errors) => match errors.last() {
            Some((_, TransportError::MultiaddrNotSupported(_))) => {
                "it cannot be dialled; expected an address such as /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…".to_owned()
            }
            Some((_, TransportError::Other(e))) => match name_error(e) {
                Some(why) => format!(
                    "its name cannot be resolved ({why}); check the name, or give the address by number, such as \
                     /ip4/192.0.2.1/tcp/4001"
                ),
                None => format!("{}; check that the peer runs and the port is open", innermost(e)),
            },
            None => "nothing answered".to_owned(),
        },
        other => innermost(other),
    }
}
