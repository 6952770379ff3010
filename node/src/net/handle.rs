//! The handle through which the driver uses the network.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot};
use webmesh_protocol::io::{RequestId, Token};
use webmesh_protocol::message::{Gossip, Request, Response, Topic};
use webmesh_protocol::{PeerKey, codec};

use super::address_book::is_circuit;
use super::counters::Meters;
use super::keys::peer_id_of;
use super::requests::Requests;
use super::status::Status;
use super::swarm::{self, Command};
use super::{Counters, NetConfig, NetError, NetEvent, PeerLink, limits};
use crate::platform;

/// The running network. Cheap to clone; when the last handle is dropped, the network closes its connections
/// without a goodbye ([`Net::shutdown`] says one).
#[derive(Clone, Debug)]
pub struct Net {
    pub(super) me: PeerKey,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) requests: Arc<Requests>,
    pub(super) status: Arc<Status>,
    pub(super) meters: Arc<Meters>,
    pub(super) acceptor: platform::Acceptor,
}

impl Net {
    /// Starts listening and dialling the bootstrap peers. Returns once it listens on every address; the receiver yields
    /// the network's events, and must be read.
    ///
    /// # Errors
    /// [`NetError`] if an address cannot be listened on, a file in the data folder is unusable, or the identity is not
    /// an Ed25519 key. Each says what to do about it.
    pub async fn start(config: NetConfig) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
        swarm::start(config).await
    }

    /// This peer's key.
    pub fn peer(&self) -> PeerKey {
        self.me
    }

    /// Accepts connections from elsewhere in this process.
    pub fn acceptor(&self) -> &platform::Acceptor {
        &self.acceptor
    }

    /// Publishes a message, signed with this peer's key. While there is no subscriber, it is kept and retried for
    /// [`limits::OUTBOX_RETRY_TIME`]. Own messages are not delivered back.
    pub async fn publish(&self, topic: Topic, message: &Gossip) {
        let data = codec::encode(message);
        self.command(Command::Publish { topic, data }).await;
    }

    /// Subscribes to a topic, or unsubscribes.
    pub async fn subscribe(&self, topic: Topic, on: bool) {
        self.command(Command::Subscribe { topic, on }).await;
    }

    /// Sends a request to a peer; answered by [`NetEvent::Response`] with the same `id`. The parts of `body` are sent
    /// one after another without being joined first. Returns at once.
    ///
    /// At most [`limits::STREAMS_TO_PEER`] requests to one peer are in flight at a time, further ones queue; beyond
    /// [`limits::OUTGOING_REQUESTS`] in total, the answer is [`Response::Busy`].
    pub fn request(&self, id: RequestId, to: PeerKey, request: Request, body: Vec<Bytes>) {
        self.requests.request(id, to, request, body);
    }

    /// Answers a request. Returns at once. A token whose requester has gone away is ignored.
    pub fn respond(&self, token: Token, response: Response, body: Vec<Bytes>) {
        self.requests.respond(token, response, body);
    }

    /// Completes once nobody waits for the answer to `token` any more: it was given, or the requester has gone away.
    pub fn abandoned(&self, token: Token) -> impl Future<Output = ()> + Send + 'static {
        Arc::clone(&self.requests).abandoned(token)
    }

    /// Dials an address, with or without `/p2p/PEER` at its end, and waits for the connection.
    ///
    /// # Errors
    /// [`NetError::Unreachable`] with the reason, or [`NetError::Closed`] after shutdown.
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerKey, NetError> {
        let (reply, outcome) = oneshot::channel();
        self.command(Command::Dial { address, reply }).await;
        outcome.await.map_err(|_| NetError::Closed)?
    }

    /// Notes addresses of a peer (from its advert). It is dialled when there is a request for it, or when fewer peers
    /// than wanted are connected.
    pub async fn add_address(&self, peer: PeerKey, addresses: Vec<Multiaddr>) {
        self.command(Command::AddAddresses { peer, addresses }).await;
    }

    /// Closes all connections to a peer.
    pub async fn disconnect(&self, peer: PeerKey) {
        self.command(Command::Disconnect { peer }).await;
    }

    /// Addresses at which this peer can be dialled: external ones, then those that it listens on, each ending in
    /// `/p2p/PEER`.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        let status = self.status.lock();
        let inner = status.listening.iter().filter(|a| !status.external.contains(*a));
        status.external.iter().chain(inner).cloned().collect()
    }

    /// The subset of [`Net::addresses`] to publish, best first: no local addresses if the mesh has a public bootstrap
    /// peer, and a limited number of addresses for each relay.
    pub fn told_addresses(&self) -> Vec<Multiaddr> {
        let status = self.status.lock();
        let inner = status.listening.iter().filter(|a| !status.external.contains(*a));
        let (circuits, direct): (Vec<_>, Vec<_>) = inner.partition(|a| is_circuit(a));
        let circuits = circuits.into_iter().take(limits::RELAY_ADDRESSES);
        let inner = circuits.chain(direct).filter(|a| status.publishes(a));
        status.external.iter().chain(inner).cloned().collect()
    }

    /// The connected peers, by key.
    pub fn peers(&self) -> Vec<PeerLink> {
        self.status.lock().peers.values().cloned().collect()
    }

    /// Time since the last byte of a request or response to or from a peer; `None` once its streams have idled out.
    pub fn silence(&self, peer: &PeerKey) -> Option<Duration> {
        self.requests.silence(&peer_id_of(peer))
    }

    /// Network traffic so far.
    pub fn counters(&self) -> Counters {
        self.meters.read()
    }

    /// Says goodbye to the connected peers ([`Request::Goodbye`], for at most [`limits::GOODBYE_TIMEOUT`]), closes all
    /// connections and stops the network; the event channel ends with it. Returns when that is done.
    pub async fn shutdown(&self) {
        let peers = self.status.lock().peers.keys().copied().collect();
        self.requests.goodbye(peers, limits::GOODBYE_TIMEOUT).await;
        let (done, closed) = oneshot::channel();
        self.command(Command::Shutdown { done }).await;
        let _ = closed.await; // fails if it was closed before
    }

    async fn command(&self, command: Command) {
        // Fails only after shutdown, when there is nothing left to command.
        let _ = self.commands.send(command).await;
    }
}
