//! Being reached through a relay, for a peer that cannot be dialled: it asks peers with that role to forward
//! connections, by listening on a circuit through each.

use std::net::IpAddr;

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::Task;
use crate::net::address_book::{is_circuit, is_public};
use crate::net::keys::peer_key_of;
use crate::net::limits::{RELAY_ADDRESSES, RELAY_RETRY_DELAY, RELAYS};
use crate::platform::Instant;

/// A relay that this peer is reached through, or could be.
#[derive(Debug)]
pub(super) struct Relay {
    peer: PeerId,
    /// `None` while there is no reservation.
    listener: Option<ListenerId>,
    tried: Instant,
}

impl Task {
    /// Handles a peer's offer to relay; `observed` is the address at which it sees this one. Reserves a place there if
    /// this peer needs it and others are likely to reach the relay.
    pub(super) fn on_relay(&mut self, relay: PeerId, observed: &Multiaddr) {
        let known = self.relays.iter().any(|r| r.peer == relay);
        if known || self.relays.len() >= RELAYS || !self.needs_relay(observed) {
            return;
        }
        let Some(address) = self.dialled_address(&relay) else { return };
        if self.bootstrap.includes(&relay) || is_public(&address) {
            let listener = self.reserve(relay);
            self.relays.push(Relay { peer: relay, listener, tried: Instant::now() });
        }
    }

    /// Whether this peer needs a relay to be reached by a peer that sees it at `observed`: it is configured so, or it
    /// does not listen on that address, so there is a NAT between the two.
    fn needs_relay(&self, observed: &Multiaddr) -> bool {
        let status = self.status.lock();
        let mut own = status.listening.iter().filter(|a| !is_circuit(a)).filter_map(ip);
        let translated = ip(observed).is_none_or(|seen| own.all(|own| own != seen));
        self.relayed || (translated && !self.forwarded)
    }

    /// Whether a circuit address is worth publishing: it names the relay's address as this peer reaches it, or another
    /// that is reachable. A relay lists all addresses that it has, and might invent more.
    pub(super) fn is_useful(&self, circuit: &Multiaddr) -> bool {
        if self.status.lock().listening.iter().filter(|a| is_circuit(a)).count() >= RELAYS * RELAY_ADDRESSES {
            return false;
        }
        let relay = circuit.iter().find_map(|part| if let Protocol::P2p(relay) = part { Some(relay) } else { None });
        let dialled = relay.and_then(|relay| self.dialled_address(&relay));
        is_public(circuit) || dialled.is_some_and(|dialled| dialled.iter().next() == circuit.iter().next())
    }

    /// Handles the end of a reservation, because the relay has gone or refuses.
    pub(super) fn on_listener_closed(&mut self, id: ListenerId) {
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.listener == Some(id)) {
            relay.listener = None;
        }
    }

    /// Handles a lost peer. If it is a relay, it is asked again when it returns.
    pub(super) fn on_relay_gone(&mut self, peer: &PeerId) {
        self.relays.retain(|relay| relay.peer != *peer);
    }

    /// Asks relays again whose reservation ended a while ago.
    pub(super) fn renew_relays(&mut self) {
        for at in 0..self.relays.len() {
            let Relay { peer, listener, tried } = self.relays[at];
            if listener.is_none() && tried.elapsed() >= RELAY_RETRY_DELAY {
                self.relays[at] = Relay { peer, listener: self.reserve(peer), tried: Instant::now() };
            }
        }
    }

    /// Listens on a circuit through `relay`, over the existing connection.
    fn reserve(&mut self, relay: PeerId) -> Option<ListenerId> {
        let circuit = self.dialled_address(&relay)?.with_p2p(relay).ok()?.with(Protocol::P2pCircuit);
        match self.swarm.listen_on(circuit) {
            Ok(id) => Some(id),
            Err(e) => {
                tracing::warn!(%relay, "cannot use a relay: {e}");
                None
            }
        }
    }

    /// The address at which this peer dialled `peer`; `None` if it did not, or through another relay.
    fn dialled_address(&self, peer: &PeerId) -> Option<Multiaddr> {
        let status = self.status.lock();
        let link = status.peers.get(&peer_key_of(peer)?)?;
        (link.dialled && !is_circuit(&link.address)).then(|| link.address.clone())
    }
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}
