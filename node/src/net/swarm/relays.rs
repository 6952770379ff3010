//! Being reached through a relay, for a peer that cannot be dialled: it asks the bootstrap peers that have the
//! role to pass on connections, by listening on a circuit through each.

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::Task;
use crate::net::keys::peer_key_of;
use crate::net::limits::{RELAY_RETRY, RELAYS};
use crate::platform::Instant;

/// A relay that this peer is reached through, or would be.
#[derive(Debug)]
pub(super) struct Relay {
    peer: PeerId,
    /// `None` while it does not pass on connections.
    listener: Option<ListenerId>,
    tried: Instant,
}

impl Task {
    /// A bootstrap peer says that it relays: it is asked to.
    pub(super) fn on_relay(&mut self, peer: PeerId) {
        let wanted = self.relayed && self.bootstrap.includes(&peer) && self.relays.len() < RELAYS;
        if wanted && !self.relays.iter().any(|relay| relay.peer == peer) {
            let listener = self.reserve(peer);
            self.relays.push(Relay { peer, listener, tried: Instant::now() });
        }
    }

    /// A relay passes on connections no longer, because it has gone or refuses to.
    pub(super) fn on_listener_closed(&mut self, id: ListenerId) {
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.listener == Some(id)) {
            relay.listener = None;
        }
    }

    /// A peer is gone. If it is a relay, it is asked again when it comes back.
    pub(super) fn on_relay_gone(&mut self, peer: &PeerId) {
        self.relays.retain(|relay| relay.peer != *peer);
    }

    /// Asks relays again that have not passed on connections for a while.
    pub(super) fn renew_relays(&mut self) {
        for at in 0..self.relays.len() {
            let Relay { peer, listener, tried } = self.relays[at];
            if listener.is_none() && tried.elapsed() >= RELAY_RETRY {
                self.relays[at] = Relay { peer, listener: self.reserve(peer), tried: Instant::now() };
            }
        }
    }

    /// Listens on a circuit through `relay`, over the connection that there is.
    fn reserve(&mut self, relay: PeerId) -> Option<ListenerId> {
        let key = peer_key_of(&relay)?;
        let address = self.status.lock().peers.get(&key)?.address.clone();
        let circuit = circuit_through(address, relay)?;
        match self.swarm.listen_on(circuit) {
            Ok(id) => Some(id),
            Err(e) => {
                tracing::warn!(%relay, "a relay cannot be used: {e}");
                None
            }
        }
    }
}

/// `address/p2p/RELAY/p2p-circuit`, or `None` if the relay itself is reached through another.
fn circuit_through(address: Multiaddr, relay: PeerId) -> Option<Multiaddr> {
    if address.iter().any(|part| part == Protocol::P2pCircuit) {
        return None;
    }
    Some(address.with_p2p(relay).ok()?.with(Protocol::P2pCircuit))
}
