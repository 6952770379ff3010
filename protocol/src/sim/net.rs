//! The model of the network: links with delay and bandwidth, connections, requests and their responses.

use std::time::Duration;

use bytes::Bytes;

use super::rng::unit;
use super::world::{SimEvent, World};
use crate::codec;
use crate::io::{Event, RequestError, RequestId, Token};
use crate::limits;
use crate::message::{Request, Response};

/// Messages of at least this many bytes queue for the receiver's link too.
const BULK: usize = 16 * 1024;
/// A lost message is sent again after this time and a round trip.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// The most transmissions of one message.
const TRANSMISSIONS: u32 = 12;
/// Time until a dial to a peer that is gone fails.
const DIAL: Duration = Duration::from_secs(1);
/// Bytes of a frame beside head and body.
const FRAME: usize = 24;

/// The side of a partitioned network that a peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Main,
    Apart,
}

/// A request in transit.
#[derive(Debug)]
pub(super) struct Flight {
    from: u32,
    to: u32,
    id: RequestId,
    request: Request,
    body: Bytes,
    bytes: usize,
    landed: bool,
}

impl World {
    fn delay(&self, a: u32, b: u32) -> Duration {
        let (least, most) = self.scenario.links.delay;
        least + (most - least).mul_f64(unit(self.pair(a, b)))
    }

    pub(super) fn round_trip(&self, a: u32, b: u32) -> Duration {
        self.delay(a, b) * 2 + self.scenario.links.jitter
    }

    pub(super) fn can_reach(&self, a: u32, b: u32) -> bool {
        let (a, b) = (&self.peers[a as usize], &self.peers[b as usize]);
        let awake = self.now >= a.sleeps_until && self.now >= b.sleeps_until;
        awake && a.engine.is_some() && b.engine.is_some() && a.side == b.side
    }

    fn transmission(&self, bytes: usize) -> u64 {
        (bytes as u64).saturating_mul(1_000_000) / self.scenario.links.bytes_per_second.max(1)
    }

    /// Sends a message without retransmission; gives its time of arrival, or `None` if it is lost, or if the queue of
    /// the sender's link is longer than `patience`.
    pub(super) fn line(&mut self, from: u32, to: u32, bytes: usize, patience: Duration) -> Option<u64> {
        let free = self.peers[from as usize].sends_until.max(self.now);
        if free - self.now > patience.as_micros() as u64 || !self.can_reach(from, to) {
            return None;
        }
        let sent = free + self.transmission(bytes);
        self.peers[from as usize].sends_until = sent;
        self.bytes += bytes as u64;
        let jitter = self.rng.up_to(self.scenario.links.jitter);
        if self.rng.happens(self.scenario.links.loss) {
            return None;
        }
        Some(sent + (self.delay(from, to) + jitter).as_micros() as u64)
    }

    /// Sends a message with retransmission until it arrives; gives its time of arrival.
    pub(super) fn stream(&mut self, from: u32, to: u32, bytes: usize) -> Option<u64> {
        if !self.can_reach(from, to) {
            return None;
        }
        let again = (RETRANSMIT + self.delay(from, to) * 2).as_micros() as u64;
        (0..TRANSMISSIONS).find_map(|tries| {
            let arrives = self.line(from, to, bytes, limits::REQUEST_TIMEOUT)?;
            Some(arrives + u64::from(tries) * again)
        })
    }

    /// Begins to connect, if there is no connection yet.
    pub(super) fn dial(&mut self, from: u32, to: u32) {
        let takes = self.round_trip(from, to) * 3 / 2;
        self.after(takes, SimEvent::Connect(from, to));
    }

    pub(super) fn connect(&mut self, a: u32, b: u32) {
        if a == b || !self.can_reach(a, b) || !self.peers[a as usize].connected.insert(b) {
            return;
        }
        self.peers[b as usize].connected.insert(a);
        for (this, other) in [(a, b), (b, a)] {
            let peer = self.peers[other as usize].key;
            self.gossip_connected(this, other);
            self.soon(this, Event::Connected { peer, network: None });
            let rtt = self.round_trip(this, other);
            self.soon(this, Event::Rtt { peer, rtt });
        }
    }

    /// `peer` notices that its connection to `gone` is over.
    pub(super) fn broken(&mut self, peer: u32, gone: u32) {
        if self.can_reach(peer, gone) && self.peers[gone as usize].connected.contains(&peer) {
            return;
        }
        if !self.peers[peer as usize].connected.remove(&gone) {
            return;
        }
        self.peers[peer as usize].router.disconnected(gone);
        let key = self.peers[gone as usize].key;
        self.feed(peer, Event::Disconnected { peer: key });
        let of_peer = (peer, RequestId(0))..=(peer, RequestId(u64::MAX));
        let waiting: Vec<RequestId> =
            self.asked.range(of_peer).filter(|(_, to)| **to == gone).map(|((_, id), _)| *id).collect();
        for id in waiting {
            self.on_answer(peer, id, Box::new(Err(RequestError::Unreachable)), true);
        }
    }

    /// Cuts some peers off from all others.
    pub(super) fn cut(&mut self, peers: std::ops::Range<u32>) {
        for peer in peers.clone() {
            self.peers[peer as usize].side = Side::Apart;
        }
        for peer in peers {
            let there = |o: &u32| self.peers[*o as usize].side == Side::Main;
            let others: Vec<u32> = self.peers[peer as usize].connected.iter().copied().filter(there).collect();
            for other in others {
                self.after(self.scenario.links.silence, SimEvent::Broken(peer, other));
                self.after(self.scenario.links.silence, SimEvent::Broken(other, peer));
            }
        }
    }

    pub(super) fn request(&mut self, from: u32, id: RequestId, to: crate::PeerKey, request: Request, body: &[Bytes]) {
        let encoded = codec::encode(&request);
        self.note(&encoded);
        self.requests += 1;
        if let Err(why) = codec::decode::<Request>(&encoded) {
            self.oracle.violation(format!("peer {from} sent an invalid request: {why}"));
        }
        let body: Bytes = match body {
            [] => Bytes::new(),
            [whole] => whole.clone(),
            parts => parts.concat().into(),
        };
        let Some(&to) = self.index.get(&to) else {
            self.oracle.violation(format!("peer {from} asks {}, which is no peer", to.short()));
            return;
        };
        self.asked.insert((from, id), to);
        self.tell(from, || format!("asks peer {to}: {request:?}"));
        let bytes = encoded.len() + body.len() + FRAME;
        let flight = Box::new(Flight { from, to, id, request, body, bytes, landed: bytes < BULK });
        if from == to {
            return self.at(self.now, SimEvent::Request(flight));
        }
        let connected = self.peers[from as usize].connected.contains(&to);
        if !connected && !self.can_reach(from, to) {
            let outcome = Box::new(Err(RequestError::Unreachable));
            return self.after(DIAL, SimEvent::Answer { to: from, id, outcome, landed: true });
        }
        let outcome = Box::new(Err(RequestError::TimedOut));
        self.after(limits::REQUEST_TIMEOUT, SimEvent::Answer { to: from, id, outcome, landed: true });
        let mut dialling = 0;
        if !connected {
            self.dial(from, to);
            dialling = (self.round_trip(from, to) * 3 / 2).as_micros() as u64;
        }
        if let Some(at) = self.stream(from, to, bytes) {
            self.at(at + dialling, SimEvent::Request(flight));
        }
    }

    /// A long message queues for the receiver's link behind earlier ones; gives the time at which it is received.
    fn lands(&mut self, to: u32, bytes: usize) -> u64 {
        let until = self.peers[to as usize].takes_until.max(self.now) + self.transmission(bytes);
        self.peers[to as usize].takes_until = until;
        until
    }

    pub(super) fn on_request(&mut self, mut flight: Box<Flight>) {
        if self.peers[flight.to as usize].engine.is_none() {
            return;
        }
        if !flight.landed {
            flight.landed = true;
            let at = self.lands(flight.to, flight.bytes);
            return self.at(at, SimEvent::Request(flight));
        }
        let Flight { from, to, id, request, body, .. } = *flight;
        self.arrived += 1;
        let token = Token(self.arrived);
        self.tokens.insert(token, (from, id, to));
        let from = self.peers[from as usize].key;
        self.feed(to, Event::Request { from, token, request, body });
    }

    pub(super) fn respond(&mut self, peer: u32, token: Token, response: Response, body: Bytes) {
        let Some((to, id, asked)) = self.tokens.remove(&token) else {
            return self.oracle.violation(format!("peer {peer} answers a request for the second time"));
        };
        self.tell(peer, || format!("answers peer {to}: {response:?}"));
        if asked != peer {
            return self.oracle.violation(format!("peer {peer} answers for peer {asked}"));
        }
        let encoded = codec::encode(&response);
        self.note(&encoded);
        if let Err(why) = codec::decode::<Response>(&encoded) {
            self.oracle.violation(format!("peer {peer} sent an invalid response: {why}"));
        }
        let bytes = encoded.len() + body.len() + FRAME;
        let outcome = Box::new(Ok((response, body)));
        let at = if to == peer { Some(self.now) } else { self.stream(peer, to, bytes) };
        if let Some(at) = at {
            self.at(at, SimEvent::Answer { to, id, outcome, landed: bytes < BULK || to == peer });
        }
    }

    pub(super) fn on_answer(
        &mut self,
        to: u32,
        id: RequestId,
        outcome: Box<Result<(Response, Bytes), RequestError>>,
        landed: bool,
    ) {
        if !landed {
            let bytes = outcome.as_ref().as_ref().map_or(0, |(_, body)| body.len());
            let at = self.lands(to, bytes);
            return self.at(at, SimEvent::Answer { to, id, outcome, landed: true });
        }
        if self.asked.remove(&(to, id)).is_some() {
            self.feed(to, Event::Response { id, outcome: *outcome });
        }
    }

    pub(super) fn say_goodbye(&mut self, peer: u32, other: u32) {
        let Some(at) = self.stream(peer, other, FRAME) else { return };
        self.arrived += 1;
        let token = Token(self.arrived);
        self.tokens.insert(token, (peer, RequestId(u64::MAX), other));
        let from = self.peers[peer as usize].key;
        let event = Event::Request { from, token, request: Request::Goodbye, body: Bytes::new() };
        self.at(at, SimEvent::Event(other, Box::new(event)));
    }
}
