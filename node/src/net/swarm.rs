//! The task that owns the swarm.
//!
//! It turns commands into calls, and libp2p's reports into events. It never waits for the driver: events that the
//! channel has no room for are queued, and once there are [`limits::SWARM_EVENT_QUEUE`] of them it stops polling the
//! swarm, so connections are no longer read. Commands are accepted all the while, so a driver that sends commands while
//! its events pile up cannot deadlock.

mod dials;
mod relays;
mod start;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, Stream, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub, identify, kad, ping, relay};
use tokio::sync::{mpsc, oneshot};
use webmesh_protocol::PeerKey;
use webmesh_protocol::message::Topic;

use super::address_book::{AddressBook, is_circuit, is_loopback, is_public, relay_of};
use super::behaviour::{KAD, PROTOCOL_VERSION, Protocols, ProtocolsEvent};
use super::bootstrap::Bootstrap;
use super::dial_permits::DialPermits;
use super::gossip::{self, GossipGate, Refused};
use super::keys::{peer_id_of, peer_key_of};
use super::places::Places;
use super::prefix::Prefix;
use super::requests::Requests;
use super::status::{PeerLink, Status};
use super::streams::{self, Opener, Way};
use super::{NetError, NetEvent, limits, peers_file};
use crate::platform::{self, Instant};

pub(super) use start::start;

/// A command from the handle or the requests to the swarm.
#[derive(Debug)]
pub(super) enum Command {
    Publish { topic: Topic, data: Vec<u8> },
    Subscribe { topic: Topic, on: bool },
    Open { peer: PeerId, opener: Opener },
    Dial { address: Multiaddr, reply: oneshot::Sender<Result<PeerKey, NetError>> },
    AddAddresses { peer: PeerKey, addresses: Vec<Multiaddr> },
    Disconnect { peer: PeerKey },
    Incompatible { peer: PeerId, why: String },
    Shutdown { done: oneshot::Sender<()> },
}

/// Queued for the event channel, in order: a peer's streams are served only after the driver has been told of the peer.
#[derive(Debug)]
enum Held {
    Event(NetEvent),
    Serve { peer: PeerId, key: PeerKey, stream: Stream, way: Way },
}

struct Task {
    swarm: Swarm<Protocols>,
    me: PeerId,
    events: mpsc::Sender<NetEvent>,
    held: VecDeque<Held>,
    requests: Arc<Requests>,
    status: Arc<Status>,
    gate: GossipGate,
    book: AddressBook,
    permits: DialPermits,
    places: Places<ConnectionId>,
    bootstrap: Bootstrap,
    wanted_peers: usize,
    /// Requests that wait for a connection to a peer.
    awaiting: HashMap<PeerId, dials::Awaited>,
    /// Pending dials requested by address.
    address_dials: HashMap<ConnectionId, dials::AddressDial>,
    /// Pending dials that were not requested (see `wanted_peers`).
    speculative: HashMap<ConnectionId, PeerId>,
    /// Pending DHT lookups of addresses.
    lookups: HashMap<kad::QueryId, PeerId>,
    /// Whether this peer always uses relays.
    relayed: bool,
    /// Whether it has external addresses, which it does not listen on.
    forwarded: bool,
    relays: Vec<relays::Relay>,
    peers_file: Option<PathBuf>,
    remembered: Instant,
    /// Delay until they are saved again after that.
    save_delay: Duration,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut next_upkeep = Instant::now();
        loop {
            if next_upkeep <= Instant::now() {
                self.upkeep();
                next_upkeep = Instant::now() + limits::MAINTENANCE_INTERVAL;
            }
            let upkeep = platform::sleep(next_upkeep.saturating_duration_since(Instant::now()));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Shutdown { done }) => {
                        self.close().await;
                        let _ = done.send(()); // the caller may have given up
                        return;
                    }
                    Some(command) => self.on_command(command),
                    None => return self.close().await,
                },
                room = self.events.clone().reserve_owned(), if !self.held.is_empty() => match room {
                    Ok(room) => self.release(room),
                    Err(_) => return self.close().await, // nobody reads events any more
                },
                event = self.swarm.select_next_some(), if self.held.len() < limits::SWARM_EVENT_QUEUE => self.on_swarm(event),
                () = upkeep => {}
            }
        }
    }

    /// Sends the first queued event, and then whatever needs no room in the channel.
    fn release(&mut self, room: mpsc::OwnedPermit<NetEvent>) {
        let mut room = Some(room);
        while let Some(held) = self.held.pop_front() {
            match (held, room.take()) {
                (Held::Event(event), Some(room)) => drop(room.send(event)),
                (event @ Held::Event(_), None) => return self.held.push_front(event),
                (Held::Serve { peer, key, stream, way }, free) => {
                    self.requests.serve_stream(peer, key, stream, way);
                    room = free;
                }
            }
        }
    }

    fn emit(&mut self, event: NetEvent) {
        if self.held.is_empty() {
            match self.events.try_send(event) {
                Err(mpsc::error::TrySendError::Full(event)) => self.held.push_back(Held::Event(event)),
                // Closed: noticed in the next iteration.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        } else {
            self.held.push_back(Held::Event(event));
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Publish { topic, data } => self.gate.publish(&mut self.swarm.behaviour_mut().gossip, topic, data),
            Command::Subscribe { topic, on } => gossip::subscribe(&mut self.swarm.behaviour_mut().gossip, topic, on),
            Command::Open { peer, opener } => self.open(peer, opener),
            Command::Dial { address, reply } => self.dial_address(address, reply),
            Command::AddAddresses { peer, addresses } => {
                let peer = peer_id_of(&peer);
                if peer != self.me {
                    addresses.into_iter().take(limits::ADDRESSES_OF_PEER).for_each(|a| self.book.add(peer, a));
                }
            }
            Command::Disconnect { peer } => self.disconnect(peer_id_of(&peer)),
            Command::Incompatible { peer, why } => self.incompatible(peer, why),
            Command::Shutdown { .. } => {} // handled by the main loop
        }
    }

    fn on_swarm(&mut self, event: SwarmEvent<ProtocolsEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_protocol(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, num_established, .. } => {
                self.on_connected(peer_id, connection_id, endpoint, num_established.get() == 1);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                tracing::debug!(%peer_id, ?cause, "connection closed");
                self.requests.connection_closed(&peer_id, connection_id);
                self.places.leave(&connection_id);
                if num_established == 0 {
                    self.on_disconnected(peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address, true),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listening(address, false),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                match reason {
                    Ok(()) => tracing::info!(?addresses, "stopped listening"),
                    Err(why) => tracing::warn!(?addresses, "stopped listening: {why}"),
                }
                self.on_listener_closed(listener_id);
                addresses.into_iter().for_each(|a| self.on_listening(a, false));
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!("temporary error of a listener: {error}")
            }
            _ => {}
        }
    }

    fn on_protocol(&mut self, event: ProtocolsEvent) {
        match event {
            ProtocolsEvent::Streams(streams::Event::Incoming { peer, stream, way }) => {
                let Some(key) = peer_key_of(&peer) else {
                    return;
                };
                if self.held.is_empty() {
                    self.requests.serve_stream(peer, key, stream, way);
                } else {
                    self.held.push_back(Held::Serve { peer, key, stream, way });
                }
            }
            ProtocolsEvent::Streams(streams::Event::Unsupported { peer }) => {
                let why =
                    format!("{} does not support {}: it runs another program or version", peer, streams::PROTOCOL);
                self.incompatible(peer, why);
            }
            ProtocolsEvent::Gossip(event) => self.on_gossip(event),
            ProtocolsEvent::Identify(identify::Event::Received { peer_id, connection_id: _, info }) => {
                self.on_identified(peer_id, info);
            }
            ProtocolsEvent::Ping(ping::Event { peer, connection, result }) => match result {
                Ok(rtt) => self.on_rtt(peer, rtt),
                // No answer, or a broken connection: pending requests on it should fail now.
                Err(ping::Failure::Timeout | ping::Failure::Other { .. }) => {
                    self.swarm.close_connection(connection);
                }
                Err(ping::Failure::Unsupported) => {}
            },
            ProtocolsEvent::Kad(kad::Event::OutboundQueryProgressed {
                id,
                result: kad::QueryResult::GetClosestPeers(found),
                step,
                ..
            }) => {
                let peers = found.map_or_else(|kad::GetClosestPeersError::Timeout { peers, .. }| peers, |ok| ok.peers);
                self.on_found(id, peers, step.last);
            }
            ProtocolsEvent::Local(event) => {
                for (peer, address) in platform::discovered(event) {
                    if !is_public(&address) {
                        self.permits.lock().give(peer, &address);
                    }
                    self.book.add(peer, address);
                }
                self.dial_known_peers();
            }
            _ => {}
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                match self.gate.validate(gossip, &message_id, &propagation_source, &message) {
                    Ok((from, message)) => self.emit(NetEvent::Gossip { from, message }),
                    Err(Refused::OtherVersion(source, why)) => self.incompatible(source, why),
                    Err(Refused::Nonsense | Refused::Flood) => {}
                }
            }
            gossipsub::Event::Subscribed { topic, .. } => self.gate.retry(gossip, Some(&topic)),
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: ConnectedPoint, first: bool) {
        let address = endpoint.get_remote_address().clone();
        let dialled = endpoint.is_dialer();
        let relay = relay_of(match &endpoint {
            ConnectedPoint::Dialer { address, .. } => address,
            // The remote address of a relayed connection does not name the relay.
            ConnectedPoint::Listener { local_addr, .. } => local_addr,
        });
        self.speculative.remove(&id);
        let Some(key) = peer_key_of(&peer) else {
            tracing::debug!(%peer, "peer disconnected: its key is not Ed25519");
            self.complete_address_dial(id, None);
            return self.disconnect(peer);
        };
        self.bootstrap.connected(id, peer);
        self.permits.lock().connected(peer, &address, Instant::now());
        if let ConnectedPoint::Listener { local_addr, .. } = &endpoint {
            // The remote address of a relayed connection tells no network; its local one is that of the relay.
            let from = Prefix::of_address(&address).or_else(|| Prefix::of_address(local_addr));
            self.share_places(id, peer, from);
        }
        self.book.connected(peer, dialled.then(|| address.clone()));
        if first {
            // Behind a relay, one party and another have the same address.
            let network = Prefix::of_address(&address).filter(|_| relay.is_none()).map(Prefix::network);
            let link = PeerLink { peer: key, address, dialled, relay, rtt: None, agent: None };
            self.status.lock().peers.insert(key, link);
            self.note_reach();
            self.emit(NetEvent::Connected { peer: key, network });
        } else {
            let superseded = self.swarm.behaviour().streams.superseded(&peer, id, limits::SIMULTANEOUS_DIAL_WINDOW);
            if let Some(link) = self.status.lock().peers.get_mut(&key)
                && relay.is_none()
                && (link.relay.is_some() || !superseded.is_empty())
            {
                (link.address, link.dialled, link.relay) = (address, dialled, None);
            }
            for old in superseded {
                tracing::debug!(%peer, "the peer connected again: closing the old connection");
                self.swarm.close_connection(old);
            }
        }
        // Update the status before notifying waiters.
        self.complete_address_dial(id, Some(key));
        self.complete_awaiting(peer);
    }

    /// Takes a place for an incoming connection, and closes the one that makes room.
    fn share_places(&mut self, id: ConnectionId, peer: PeerId, from: Option<Prefix>) {
        let (bootstrap, standing) = (&self.bootstrap, self.requests.standing());
        let is_known = |peer: &PeerId| bootstrap.includes(peer) || standing.has(peer);
        if let Some(victim) = self.places.take(id, peer, from, is_known) {
            tracing::debug!(%victim, "a connection makes room for others");
            self.swarm.close_connection(victim);
        }
    }

    /// Tells the permits how far the mesh reaches.
    fn note_reach(&self) {
        let (status, bootstrap) = (self.status.lock(), self.bootstrap.addresses());
        let ends = status.peers.values().map(|link| (peer_id_of(&link.peer), &link.address));
        self.permits.lock().set_reach(status.external.iter().chain(&bootstrap), ends);
    }

    fn on_disconnected(&mut self, peer: PeerId) {
        self.bootstrap.disconnected(&peer);
        self.on_relay_gone(&peer);
        let Some(key) = peer_key_of(&peer) else {
            return;
        };
        if self.status.lock().peers.remove(&key).is_some() {
            self.note_reach();
            self.emit(NetEvent::Disconnected { peer: key });
        }
    }

    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        if info.protocol_version != PROTOCOL_VERSION {
            let theirs: String = info.protocol_version.chars().take(64).collect();
            let why = format!("it speaks `{theirs}`, this peer `{PROTOCOL_VERSION}`: update the older of the two");
            return self.incompatible(peer, why);
        }
        let Some(key) = peer_key_of(&peer) else {
            return;
        };
        let here = {
            let mut status = self.status.lock();
            let Some(link) = status.peers.get_mut(&key) else {
                return;
            };
            link.agent = Some(info.agent_version.chars().take(webmesh_protocol::limits::NAME_BYTES / 4).collect());
            is_loopback(&link.address)
        };
        if info.protocols.contains(&relay::HOP_PROTOCOL_NAME) {
            self.on_relay(peer, &info.observed_addr);
        }
        let serves_dht = info.protocols.contains(&KAD);
        if serves_dht {
            // Remove its earlier addresses first: the DHT's table only ever adds.
            self.swarm.behaviour_mut().kad.remove_peer(&peer);
        }
        for address in info.listen_addrs.into_iter().take(limits::ADDRESSES_OF_PEER) {
            // A loopback address is valid only for a peer on the same machine.
            if here || !is_loopback(&address) {
                if serves_dht {
                    self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
                }
                self.book.add(peer, address);
            }
        }
    }

    fn on_rtt(&mut self, peer: PeerId, rtt: Duration) {
        let Some(key) = peer_key_of(&peer) else {
            return;
        };
        if let Some(link) = self.status.lock().peers.get_mut(&key) {
            link.rtt = Some(rtt);
        }
        self.emit(NetEvent::Rtt { peer: key, rtt });
    }

    fn on_listening(&mut self, address: Multiaddr, on: bool) {
        if is_circuit(&address) {
            // The relay client has already added it to the swarm.
            if on && !self.is_useful(&address) {
                return;
            }
        } else if !on {
            self.swarm.remove_external_address(&address);
        } else if self.status.lock().publishes(&address) {
            // In a mesh within one local network, nobody confirms an address: the peer trusts those that it listens on.
            self.swarm.add_external_address(address.clone());
        }
        let address = address.with_p2p(self.me).unwrap_or_else(|ended_in_a_peer| ended_in_a_peer);
        let changed = {
            let listening = &mut self.status.lock().listening;
            if on { listening.insert(address.clone()) } else { listening.remove(&address) }
        };
        if changed {
            self.emit(if on { NetEvent::Listening { address } } else { NetEvent::NotListening { address } });
        }
    }

    fn incompatible(&mut self, peer: PeerId, why: String) {
        tracing::info!(%peer, why, "incompatible");
        self.book.forget(&peer);
        self.bootstrap.incompatible(&peer);
        self.disconnect(peer);
        if let Some(key) = peer_key_of(&peer) {
            self.emit(NetEvent::Incompatible { peer: key, why });
        }
    }

    fn disconnect(&mut self, peer: PeerId) {
        // Fails only if there is no connection.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn upkeep(&mut self) {
        self.gate.retry(&mut self.swarm.behaviour_mut().gossip, None);
        self.requests.upkeep();
        self.dial_bootstrap();
        self.dial_known_peers();
        self.seek_direct_ways();
        self.renew_relays();
        if self.remembered.elapsed() >= self.save_delay {
            self.remember();
        }
    }

    /// Saves the peers if there is anything new, without blocking.
    fn remember(&mut self) {
        self.remembered = Instant::now();
        self.save_delay = (self.save_delay * 2).min(limits::SAVE_MAX_INTERVAL);
        if let Some(path) = self.peers_file.clone()
            && let Some(peers) = self.book.changed_proven(limits::REMEMBERED_PEERS)
        {
            platform::spawn_blocking(move || peers_file::save(&path, &peers));
        }
    }

    /// Closes every connection, within [`limits::GOODBYE_TIMEOUT`].
    async fn close(mut self) {
        // Synchronously, even if another thread is writing the file: the process may exit after this.
        let peers = self.book.proven(limits::REMEMBERED_PEERS);
        if let Some(path) = self.peers_file.as_deref().filter(|_| !peers.is_empty()) {
            peers_file::save(path, &peers);
        }
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        peers.into_iter().for_each(|peer| self.disconnect(peer));
        let swarm = &mut self.swarm;
        let emptied = async {
            while swarm.network_info().num_peers() > 0 {
                swarm.select_next_some().await;
            }
        };
        // Remaining peers notice when the sockets close.
        let _ = platform::timeout(limits::GOODBYE_TIMEOUT, emptied).await;
    }
}
