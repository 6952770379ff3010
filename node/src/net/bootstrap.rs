//! Bootstrap peers: dialled until connected, and again when the connection is lost.

use std::time::Duration;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::address_book::peer_of;
use super::limits::{REDIAL_INITIAL_DELAY, REDIAL_MAX_DELAY, REDIAL_MAX_DELAY_BOOTSTRAP};
use crate::platform::Instant;

/// The number of the failed dial at which a node warns. A command reports the first one itself, and exits.
const WARNED_AT: u32 = 2;

/// The bootstrap peers of the configuration.
#[derive(Debug)]
pub(super) struct Bootstrap(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    address: Multiaddr,
    peer: Option<PeerId>,
    state: State,
    delay: Duration,
    /// Whether it was ever connected.
    reached: bool,
    /// Number of failed dials.
    failures: u32,
}

#[derive(Debug, PartialEq)]
enum State {
    BackingOff { until: Instant },
    Dialling(ConnectionId),
    Connected,
}

impl Bootstrap {
    pub(super) fn new(addresses: &[Multiaddr]) -> Self {
        let state = || State::BackingOff { until: Instant::now() };
        let entry = |a: &Multiaddr| Entry {
            address: a.clone(),
            peer: peer_of(a),
            state: state(),
            delay: REDIAL_INITIAL_DELAY,
            reached: false,
            failures: 0,
        };
        Self(addresses.iter().map(entry).collect())
    }

    /// The addresses due for dialling, with their indexes.
    pub(super) fn due(&self) -> Vec<(usize, Multiaddr)> {
        let now = Instant::now();
        let due = |e: &Entry| matches!(e.state, State::BackingOff { until } if until <= now);
        self.0.iter().enumerate().filter(|(_, e)| due(e)).map(|(i, e)| (i, e.address.clone())).collect()
    }

    /// Whether `peer` is a bootstrap peer.
    pub(super) fn includes(&self, peer: &PeerId) -> bool {
        self.0.iter().any(|entry| entry.peer == Some(*peer))
    }

    /// The pending dial of `address`, if there is one.
    pub(super) fn under_way(&self, address: &Multiaddr) -> Option<ConnectionId> {
        self.0.iter().find_map(|e| match e.state {
            State::Dialling(id) if e.address == *address => Some(id),
            _ => None,
        })
    }

    /// Notes that the address at index `place` is being dialled.
    pub(super) fn dialling(&mut self, place: usize, id: ConnectionId) {
        self.0[place].state = State::Dialling(id);
    }

    /// Notes that no dial of the address at index `place` could be started.
    pub(super) fn refused(&mut self, place: usize) {
        self.0[place].back_off();
    }

    /// Notes a failed dial. Returns its address if that is worth a warning: once, at failure number [`WARNED_AT`] of an
    /// address that was never reached.
    pub(super) fn failed(&mut self, id: ConnectionId) -> Option<Multiaddr> {
        let mut warning = None;
        for entry in self.0.iter_mut().filter(|e| e.state == State::Dialling(id)) {
            entry.back_off();
            entry.failures = entry.failures.saturating_add(1);
            if !entry.reached && entry.failures == WARNED_AT {
                warning = Some(entry.address.clone());
            }
        }
        warning
    }

    /// All addresses.
    pub(super) fn addresses(&self) -> Vec<Multiaddr> {
        self.0.iter().map(|entry| entry.address.clone()).collect()
    }

    /// Notes a new connection.
    pub(super) fn connected(&mut self, id: ConnectionId, peer: PeerId) {
        for entry in &mut self.0 {
            if entry.state == State::Dialling(id) || entry.peer == Some(peer) {
                entry.peer = Some(peer);
                entry.state = State::Connected;
                entry.delay = REDIAL_INITIAL_DELAY;
                entry.reached = true;
            }
        }
    }

    /// Notes that the last connection to a peer closed.
    pub(super) fn disconnected(&mut self, peer: &PeerId) {
        self.0.iter_mut().filter(|e| e.peer == Some(*peer) && e.state == State::Connected).for_each(Entry::back_off);
    }

    /// Notes that a peer is incompatible: its redial delay is not reset.
    pub(super) fn incompatible(&mut self, peer: &PeerId) {
        self.0.iter_mut().filter(|e| e.peer == Some(*peer)).for_each(|e| e.delay = REDIAL_MAX_DELAY);
    }
}

impl Entry {
    fn back_off(&mut self) {
        self.state = State::BackingOff { until: Instant::now() + self.delay };
        // A peer of another version keeps its longer delay.
        self.delay = (self.delay * 2).min(REDIAL_MAX_DELAY_BOOTSTRAP.max(self.delay));
    }
}
