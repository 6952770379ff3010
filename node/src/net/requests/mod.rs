//! Requests: the only way in which one peer addresses another directly.
//!
//! Each exchange is a frame in each direction on a stream of [`streams::PROTOCOL`](super::streams::PROTOCOL), which is
//! reused for the next. A task for each outgoing request waits for the answer, a task for each incoming stream serves
//! it; the swarm's task only opens streams.

mod activity;
mod body;
mod callers;
mod client;
mod error;
mod flow;
mod frame;
mod pace;
mod pending;
mod pool;
mod room;
mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::AsyncWriteExt;
use libp2p::PeerId;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::{Semaphore, mpsc};
use webmesh_protocol::PeerKey;
use webmesh_protocol::codec;
use webmesh_protocol::io::{RequestError, RequestId, Token};
use webmesh_protocol::limits::REQUESTS_OF_PEER;
use webmesh_protocol::message::{Request, Response};

#[cfg(test)]
pub(super) use self::body::{PIECE_BYTES, PLAIN};
use self::callers::{Callers, Place};
use self::client::Question;
use self::pending::{PendingRequests, Requester};
use self::pool::Pools;
use super::NetEvent;
use super::budget::{Budget, Pressure};
use super::counters::Meters;
use super::keys::peer_id_of;
use super::limits::{BULK_ANSWERS, OUTGOING_REQUESTS, REQUESTER_POLL_INTERVAL};
use super::places::Standing;
use super::streams::Way;
use super::swarm::Command;
use crate::platform;

/// State shared by the client side and the server side.
#[derive(Debug)]
pub(super) struct Requests {
    me: PeerKey,
    /// Both weak: the event channel ends with the swarm's task, which ends with the last handle.
    events: mpsc::WeakSender<NetEvent>,
    commands: mpsc::WeakSender<Command>,
    pools: Pools,
    callers: Callers,
    pending: PendingRequests,
    /// Budget of frames being read: requests of others until they are answered, answers until the driver has them.
    bodies: Budget,
    /// Budget of answers being written to others.
    answers: Budget,
    /// Limits large answers being prepared, for all peers together.
    bulk_answers: Semaphore,
    meters: Arc<Meters>,
    /// The peers whose requests were useful.
    standing: Standing,
    outgoing: Arc<AtomicUsize>,
    to_self: Arc<AtomicUsize>,
}

impl Requests {
    pub(super) fn new(
        me: PeerKey,
        events: mpsc::WeakSender<NetEvent>,
        commands: mpsc::WeakSender<Command>,
        body_budget: usize,
        meters: Arc<Meters>,
    ) -> Self {
        let pressure = Pressure::default();
        Self {
            me,
            events,
            commands,
            pools: Pools::new(pressure.clone()),
            callers: Callers::new(pressure.clone()),
            pending: PendingRequests::default(),
            bodies: Budget::new(body_budget, pressure.clone(), Arc::clone(&meters.budget_held)),
            answers: Budget::new(body_budget, pressure, Arc::clone(&meters.answers_held)),
            bulk_answers: Semaphore::new(BULK_ANSWERS),
            meters,
            standing: Standing::default(),
            outgoing: Arc::default(),
            to_self: Arc::default(),
        }
    }

    /// See [`Net::request`](super::Net::request).
    pub(super) fn request(self: &Arc<Self>, id: RequestId, to: PeerKey, request: Request, body: Vec<Bytes>) {
        let (counter, max) =
            if to == self.me { (&self.to_self, REQUESTS_OF_PEER) } else { (&self.outgoing, OUTGOING_REQUESTS) };
        let Some(place) = Place::among(counter, max) else {
            return self.deliver(NetEvent::Response { id, outcome: Ok((Response::Busy, Bytes::new())) });
        };
        if to == self.me {
            let token = self.pending.local(id, place, client::patience(&request));
            return self.deliver(NetEvent::Request { from: to, token, request, body: join(body) });
        }
        let question = Question::new(&request, codec::encode(&request), body);
        let this = Arc::clone(self);
        platform::spawn(async move {
            let answer = this.ask(peer_id_of(&to), &question).await;
            this.meters.requests_out.add(1);
            let (outcome, reservation) = match answer {
                Ok(answer) => (Ok((answer.response, answer.body)), Some(answer._reservation)),
                Err(e) => (Err(e), None),
            };
            this.send(NetEvent::Response { id, outcome }).await;
            drop((reservation, place));
        });
    }

    /// See [`Net::respond`](super::Net::respond).
    pub(super) fn respond(self: &Arc<Self>, token: Token, response: Response, body: Vec<Bytes>) {
        match self.pending.take(token) {
            // Fails if the requester has given up meanwhile.
            Some(Requester::Remote(reply)) => drop(reply.send((response, body))),
            Some(Requester::Local { id, .. }) => {
                self.deliver(NetEvent::Response { id, outcome: Ok((response, join(body))) });
            }
            None => tracing::debug!(?token, "answer dropped: the requester has gone away"),
        }
    }

    /// See [`Net::abandoned`](super::Net::abandoned).
    pub(super) async fn abandoned(self: Arc<Self>, token: Token) {
        while self.pending.is_awaited(token) {
            platform::sleep(REQUESTER_POLL_INTERVAL).await;
        }
    }

    /// Serves a stream that `peer` opened.
    pub(super) fn serve_stream(self: &Arc<Self>, peer: PeerId, key: PeerKey, stream: Stream, way: Way) {
        match self.callers.stream_of(peer, way, &self.bodies, &self.answers) {
            Some(caller) => platform::spawn(Arc::clone(self).serve(peer, key, caller, stream)),
            None => tracing::debug!(%peer, "stream refused: the peer has too many"),
        }
    }

    /// The peers that did something useful.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// See [`Net::silence`](super::Net::silence).
    pub(super) fn silence(&self, peer: &PeerId) -> Option<Duration> {
        self.pools.silence(peer).into_iter().chain(self.callers.silence(peer)).min()
    }

    /// Says goodbye to `peers`, for at most `patience`.
    pub(super) async fn goodbye(&self, peers: Vec<PeerKey>, patience: Duration) {
        let question = Question::new(&Request::Goodbye, codec::encode(&Request::Goodbye), Vec::new());
        let asked = peers.iter().map(|peer| self.ask(peer_id_of(peer), &question));
        // A peer that does not answer in time will notice that its connections close.
        let _ = platform::timeout(patience, futures::future::join_all(asked)).await;
    }

    /// A connection closed.
    pub(super) fn connection_closed(&self, peer: &PeerId, connection: ConnectionId) {
        self.pools.connection_closed(peer, connection);
    }

    /// Closes idle streams and expires requests that the driver has left unanswered.
    pub(super) fn upkeep(self: &Arc<Self>) {
        for mut opened in self.pools.expired() {
            platform::spawn(async move {
                let _ = opened.stream.close().await; // broken or closed: gone in either case
            });
        }
        for id in self.pending.expired() {
            self.deliver(NetEvent::Response { id, outcome: Err(RequestError::TimedOut) });
        }
    }

    async fn incompatible(&self, peer: PeerId, why: String) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(Command::Incompatible { peer, why }).await; // fails only at shutdown
        }
    }

    /// Sends an event to the driver, waiting for room. `false` if the network has ended.
    async fn send(&self, event: NetEvent) -> bool {
        match self.events.upgrade() {
            Some(events) => events.send(event).await.is_ok(),
            None => false,
        }
    }

    /// Sends an event to the driver without waiting, so that the driver itself may be the caller. Bounded by the slots
    /// of requests.
    fn deliver(&self, event: NetEvent) {
        let Some(events) = self.events.upgrade() else { return };
        if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
            platform::spawn(async move {
                let _ = events.send(event).await; // fails only when the driver is gone
            });
        }
    }
}

/// The parts of a body in one piece; copied only where there are several.
fn join(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => {
            let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| joined.extend_from_slice(part));
            joined.freeze()
        }
    }
}
