//! Streams for requests: a behaviour that opens them on demand and passes on those that peers open.
//!
//! It replaces the published `libp2p-stream`, which drops an incoming stream when two come at once, keeps a channel for
//! every connection ever made, and picks any connection of a peer, relayed or not.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use tokio::sync::oneshot;

use super::address_book::{is_circuit, is_loopback};
use super::limits;
use crate::platform::Instant;

/// The protocol spoken on a stream.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/webmesh/2/request");

/// A stream that this peer opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) connection: ConnectionId,
    pub(super) way: Way,
    pub(super) since: Instant,
}

/// The kind of path that a connection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Whether it goes through a relay.
    pub(super) relayed: bool,
    /// Whether it stays within this machine, over a transport with little overhead.
    pub(super) is_short: bool,
}

impl Way {
    /// The path of a connection from or to `remote`, whose other end has the address `local` if that is known.
    fn between(local: Option<&Multiaddr>, remote: &Multiaddr) -> Self {
        let relayed = local.into_iter().chain([remote]).any(is_circuit);
        let is_costly = remote.iter().any(|p| matches!(p, Protocol::WebRTCDirect | Protocol::Ws(_) | Protocol::Wss(_)));
        Self { relayed, is_short: is_loopback(remote) && !relayed && !is_costly }
    }
}

/// Why a stream could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The peer does not support [`PROTOCOL`].
    #[error("it does not support {PROTOCOL}; update the older of the two peers")]
    Unsupported,
    /// There is no connection, or it broke.
    #[error("no connection: {0}")]
    NoConnection(String),
}

/// Receives the stream, or the error.
pub(super) type Opener = oneshot::Sender<Result<Opened, OpenError>>;

/// An event for the swarm's task.
#[derive(Debug)]
pub(super) enum Event {
    /// A peer opened a stream.
    Incoming {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: Stream,
        /// The path of its connection.
        way: Way,
    },
    /// A peer does not support [`PROTOCOL`].
    Unsupported {
        /// The peer.
        peer: PeerId,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Behaviour {
    connections: HashMap<PeerId, Vec<Link>>,
    out: VecDeque<ToSwarm<Event, Opener>>,
}

#[derive(Debug)]
struct Link {
    id: ConnectionId,
    way: Way,
    since: Instant,
}

impl Behaviour {
    /// Opens a stream over the newest direct connection to `peer`, or over a relayed one if there is no direct one: an
    /// older connection may belong to a process that crashed and was restarted, which takes seconds to notice over
    /// QUIC. Returns the opener if there is no connection at all.
    pub(super) fn open(&mut self, peer: PeerId, opener: Opener) -> Result<(), Opener> {
        let Some(id) = self.best(&peer).map(|link| link.id) else { return Err(opener) };
        self.out.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::One(id), event: opener });
        Ok(())
    }

    fn best(&self, peer: &PeerId) -> Option<&Link> {
        // Among equals, the last one.
        self.connections.get(peer)?.iter().rev().min_by_key(|link| link.way.relayed)
    }

    /// The direct connections to `peer` that the new one, `id`, replaces: the only reason for a peer to connect again
    /// is that it lost the old connection, as a restarted process has. Two peers that dial each other at once have two
    /// connections as well, but neither is older than `age`.
    pub(super) fn superseded(&self, peer: &PeerId, id: ConnectionId, age: Duration) -> Vec<ConnectionId> {
        let links = self.connections.get(peer).map_or(&[][..], Vec::as_slice);
        if links.iter().any(|link| link.id == id && link.way.relayed) {
            return Vec::new();
        }
        let old = links.iter().filter(|link| link.id != id && !link.way.relayed && link.since.elapsed() >= age);
        old.map(|link| link.id).collect()
    }

    /// The peers that are reached through relays only.
    pub(super) fn relayed_peers(&self) -> Vec<PeerId> {
        self.connections
            .iter()
            .filter(|(_, links)| links.iter().all(|l| l.way.relayed))
            .map(|(peer, _)| *peer)
            .collect()
    }

    fn established(&mut self, peer: PeerId, id: ConnectionId, way: Way) -> Handler {
        self.connections.entry(peer).or_default().push(Link { id, way, since: Instant::now() });
        Handler { id, way, openers: VecDeque::new(), incoming: VecDeque::new(), unsupported: false }
    }

    fn closed(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(links) = self.connections.get_mut(peer) {
            links.retain(|l| l.id != id);
            if links.is_empty() {
                self.connections.remove(peer);
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.established(peer, id, Way::between(Some(local), remote)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.established(peer, id, Way::between(None, address)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.closed(&peer_id, connection_id);
            }
            // Another behaviour may refuse a connection after this one has agreed to it.
            FromSwarm::DialFailure(failure) => {
                if let Some(peer) = failure.peer_id {
                    self.closed(&peer, failure.connection_id);
                }
            }
            FromSwarm::ListenFailure(failure) => {
                if let Some(peer) = failure.peer_id {
                    self.closed(&peer, failure.connection_id);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        let event = match event {
            FromHandler::Incoming(stream, way) => Event::Incoming { peer, stream, way },
            FromHandler::Unsupported => Event::Unsupported { peer },
        };
        self.out.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        self.out.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The handler of one connection.
#[derive(Debug)]
pub(super) struct Handler {
    id: ConnectionId,
    way: Way,
    openers: VecDeque<Opener>,
    incoming: VecDeque<Stream>,
    unsupported: bool,
}

/// A handler's event for the behaviour.
#[derive(Debug)]
pub(super) enum FromHandler {
    Incoming(Stream, Way),
    Unsupported,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Opener;
    type ToBehaviour = FromHandler;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opener;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()).with_timeout(limits::STREAM_OPEN_TIMEOUT)
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Opener, FromHandler>> {
        if let Some(stream) = self.incoming.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Incoming(stream, self.way)));
        }
        if std::mem::take(&mut self.unsupported) {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Unsupported));
        }
        if let Some(opener) = self.openers.pop_front() {
            let protocol =
                SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), opener).with_timeout(limits::STREAM_OPEN_TIMEOUT);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, opener: Opener) {
        // Bounded by the pools: there are no more openers for a peer than streams to it.
        self.openers.push_back(opener);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Opener>,
    ) {
        // The opener's receiver may have given up meanwhile: a failed send does no harm.
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. })
                if self.incoming.len() < limits::STREAM_BACKLOG =>
            {
                self.incoming.push_back(stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                let (connection, way) = (self.id, self.way);
                let _ = info.send(Ok(Opened { stream, connection, way, since: Instant::now() }));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = match error {
                    StreamUpgradeError::NegotiationFailed => {
                        self.unsupported = true;
                        OpenError::Unsupported
                    }
                    StreamUpgradeError::Timeout => OpenError::NoConnection("it does not answer".to_owned()),
                    StreamUpgradeError::Io(e) => OpenError::NoConnection(e.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = info.send(Err(error));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_take_the_newest_direct_connection() {
        let (mut behaviour, peer) = (Behaviour::default(), PeerId::random());
        let way = |relayed| Way { relayed, is_short: false };
        for (id, relayed) in [(1, true), (2, false), (3, false), (4, true)] {
            behaviour.established(peer, ConnectionId::new_unchecked(id), way(relayed));
        }
        let best = |behaviour: &Behaviour| behaviour.best(&peer).map(|link| link.id);
        assert_eq!(best(&behaviour), Some(ConnectionId::new_unchecked(3)));
        behaviour.closed(&peer, ConnectionId::new_unchecked(3));
        assert_eq!(best(&behaviour), Some(ConnectionId::new_unchecked(2)));
        behaviour.closed(&peer, ConnectionId::new_unchecked(2));
        assert_eq!(best(&behaviour), Some(ConnectionId::new_unchecked(4)));
    }

    #[test]
    fn a_new_direct_connection_replaces_only_older_direct_ones() {
        let (mut behaviour, peer) = (Behaviour::default(), PeerId::random());
        let id = ConnectionId::new_unchecked;
        for (number, relayed) in [(1, true), (2, false), (3, false), (4, true)] {
            behaviour.established(peer, id(number), Way { relayed, is_short: false });
        }
        assert_eq!(behaviour.superseded(&peer, id(3), Duration::ZERO), [id(2)]);
        assert_eq!(behaviour.superseded(&peer, id(4), Duration::ZERO), [], "a relayed one takes nobody's place");
        assert_eq!(behaviour.superseded(&peer, id(3), Duration::from_secs(3600)), [], "both dialled at once");
        assert_eq!(behaviour.superseded(&PeerId::random(), id(3), Duration::ZERO), []);
    }

    #[test]
    fn a_way_is_short_within_the_machine_unless_relayed_or_by_a_browsers_transport() {
        let peer = PeerId::random();
        for (address, is_short) in [
            ("/ip4/127.0.0.1/tcp/4001".to_owned(), true),
            ("/ip6/::1/udp/4001/quic-v1".to_owned(), true),
            ("/ip4/127.0.0.1/udp/4001/webrtc-direct".to_owned(), false),
            ("/ip4/127.0.0.1/tcp/4001/ws".to_owned(), false),
            (format!("/ip4/127.0.0.1/tcp/4001/p2p/{peer}/p2p-circuit"), false),
            ("/ip4/192.0.2.1/tcp/4001".to_owned(), false),
        ] {
            let way = Way::between(None, &address.parse().unwrap());
            assert_eq!(way.is_short, is_short, "{address}");
        }
    }
}
