//! A model of gossipsub 1.1 as the node sets it up: meshes per topic among connected subscribers, eager push along
//! them, own messages to every connected subscriber (flood publish), a heartbeat that grafts, prunes and advertises
//! messages to other neighbours (lazy gossip: IHAVE, IWANT).
//!
//! Left out: scoring, peer exchange, opportunistic grafting, IDONTWANT (which only long messages cause).

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::world::{SimEvent, World};
use crate::codec;
use crate::id::PeerKey;
use crate::io::Event;
use crate::limits;
use crate::message::{Gossip, Topic};

/// Bytes of an RPC beside its message: source, sequence number, signature, key, topic.
const ENVELOPE: usize = 180;
/// Bytes of a message id in an IHAVE or IWANT.
const NAME: usize = 48;
/// The number of topics.
const TOPICS: usize = 2 + limits::CLAIM_TOPICS as usize;

/// A message between two neighbours, as gossipsub frames it.
#[derive(Debug)]
pub(super) enum Rpc {
    Subscribed(u8, bool),
    Graft(u8),
    /// Not in this mesh, with the backoff in microseconds.
    Prune(u8, u64),
    Message(u32),
    Ihave(Rc<[u32]>),
    Iwant(Rc<[u32]>),
}

/// The gossipsub state of one peer.
#[derive(Debug)]
pub(super) struct Router {
    topics: Vec<Subscription>,
    /// Messages of the last heartbeats, newest first.
    history: VecDeque<Vec<u32>>,
    /// Copies of messages that neighbours delivered.
    pub(super) delivered: u64,
    /// IHAVE and IWANT that neighbours sent.
    pub(super) lazy: u64,
}

/// One topic at one peer.
#[derive(Debug, Default)]
struct Subscription {
    on: bool,
    mesh: Vec<u32>,
    /// Neighbours that subscribe to it.
    known: Vec<u32>,
    /// Neighbours that were pruned, with the time at which their backoff ends.
    backoff: Vec<(u32, u64)>,
}

/// All messages that a peer may still forward.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// The number of the first of them; the others are numbered consecutively.
    first: u32,
    alive: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    topic: u8,
    source: u32,
    key: PeerKey,
    at: u64,
    bytes: usize,
    gossip: Rc<Gossip>,
    seen: Vec<u64>,
}

impl Router {
    pub(super) fn new() -> Self {
        let topics = (0..TOPICS).map(|_| Subscription::default()).collect();
        Self { topics, history: VecDeque::from([vec![]]), delivered: 0, lazy: 0 }
    }

    /// Whether this peer subscribes to the topic with this number.
    pub(super) fn listens(&self, topic: u8) -> bool {
        self.topics[usize::from(topic)].on
    }

    /// A neighbour disconnected.
    pub(super) fn disconnected(&mut self, peer: u32) {
        for topic in &mut self.topics {
            topic.mesh.retain(|&p| p != peer);
            topic.known.retain(|&p| p != peer);
            topic.backoff.retain(|&(p, _)| p != peer);
        }
    }
}

impl Subscription {
    fn backs_off(&self, peer: u32, now: u64) -> bool {
        self.backoff.iter().any(|&(p, until)| p == peer && until > now)
    }

    fn back_off(&mut self, peer: u32, until: u64) {
        self.backoff.retain(|&(p, _)| p != peer);
        self.backoff.push((peer, until));
    }
}

impl Messages {
    fn get(&self, name: u32) -> Option<&Message> {
        self.alive.get(name.checked_sub(self.first)? as usize)
    }

    /// Records that a peer has a message; returns whether that is new, or `None` if the message is forgotten.
    fn see(&mut self, name: u32, peer: u32) -> Option<bool> {
        let message = self.alive.get_mut(name.checked_sub(self.first)? as usize)?;
        let word = peer as usize / 64;
        if message.seen.len() <= word {
            message.seen.resize(word + 1, 0);
        }
        let bit = 1u64 << (peer % 64);
        let new = message.seen[word] & bit == 0;
        message.seen[word] |= bit;
        Some(new)
    }

    fn has_seen(&self, name: u32, peer: u32) -> bool {
        let seen = self.get(name).and_then(|m| m.seen.get(peer as usize / 64));
        seen.is_none_or(|word| word >> (peer % 64) & 1 == 1)
    }
}

pub(super) fn number_of(topic: Topic) -> u8 {
    match topic {
        Topic::Jobs => 0,
        Topic::Peers => 1,
        Topic::Claims(n) => n + 2,
    }
}

impl World {
    /// Messages and lazy gossip may be lost, as from a full queue; subscriptions and changes of the mesh are not.
    fn rpc(&mut self, from: u32, to: u32, rpc: Rpc, bytes: usize) {
        let at = match rpc {
            Rpc::Subscribed(..) | Rpc::Graft(_) | Rpc::Prune(..) => self.stream(from, to, bytes),
            Rpc::Message(_) | Rpc::Ihave(_) | Rpc::Iwant(_) => self.line(from, to, bytes, limits::GOSSIP_QUEUE),
        };
        if let Some(at) = at {
            self.at(at, SimEvent::Rpc { from, to, rpc });
        }
    }

    fn router(&mut self, peer: u32) -> &mut Router {
        &mut self.peers[peer as usize].router
    }

    /// A peer tells a new neighbour what it subscribes to.
    pub(super) fn gossip_connected(&mut self, peer: u32, other: u32) {
        for topic in 0..TOPICS as u8 {
            if self.router(peer).topics[usize::from(topic)].on {
                self.rpc(peer, other, Rpc::Subscribed(topic, true), NAME);
            }
        }
    }

    pub(super) fn gossip_subscribe(&mut self, peer: u32, topic: Topic, on: bool) {
        let topic = number_of(topic);
        let of = &mut self.router(peer).topics[usize::from(topic)];
        of.on = on;
        let mesh = std::mem::take(&mut of.mesh);
        if on {
            self.graft(peer, topic);
        } else {
            mesh.into_iter().for_each(|other| self.prune(peer, other, topic, limits::GOSSIP_LEFT));
        }
        let neighbours: Vec<u32> = self.peers[peer as usize].connected.iter().copied().collect();
        for other in neighbours {
            self.rpc(peer, other, Rpc::Subscribed(topic, on), NAME);
        }
    }

    /// Removes a peer from a mesh, and tells it for how long it must not graft again.
    fn prune(&mut self, peer: u32, other: u32, topic: u8, time: Duration) {
        let micros = time.as_micros() as u64;
        let until = self.now + micros;
        self.router(peer).topics[usize::from(topic)].back_off(other, until);
        self.rpc(peer, other, Rpc::Prune(topic, micros), NAME);
    }

    /// Grafts neighbours up to the target degree of a mesh.
    fn graft(&mut self, peer: u32, topic: u8) {
        let of = &self.peers[peer as usize].router.topics[usize::from(topic)];
        let apart = |p: &u32| of.mesh.contains(p) || of.backs_off(*p, self.now);
        let others: Vec<u32> = of.known.iter().copied().filter(|p| !apart(p)).collect();
        let room = limits::GOSSIP_MESH.saturating_sub(of.mesh.len());
        for other in self.rng.sample(&others, room) {
            self.router(peer).topics[usize::from(topic)].mesh.push(other);
            self.rpc(peer, other, Rpc::Graft(topic), NAME);
        }
    }

    pub(super) fn gossip_publish(&mut self, peer: u32, topic: Topic, message: Gossip) {
        let encoded = codec::encode(&message);
        self.note(&encoded);
        if let Err(why) = codec::decode::<Gossip>(&encoded) {
            self.oracle.violation(format!("peer {peer} published an invalid message: {why}"));
            return;
        }
        let topic = number_of(topic);
        let name = self.messages.first + self.messages.alive.len() as u32;
        let key = self.peers[peer as usize].key;
        let bytes = encoded.len() + ENVELOPE;
        self.messages.alive.push_back(Message {
            topic,
            source: peer,
            key,
            at: self.now,
            bytes,
            gossip: Rc::new(message),
            seen: Vec::new(),
        });
        self.messages.see(name, peer);
        self.router(peer).history[0].push(name);
        self.traffic[usize::from(topic.min(2))].0 += 1;
        for other in self.router(peer).topics[usize::from(topic)].known.clone() {
            self.rpc(peer, other, Rpc::Message(name), bytes);
        }
    }

    pub(super) fn on_rpc(&mut self, from: u32, to: u32, rpc: Rpc) {
        if !self.peers[to as usize].connected.contains(&from) {
            return;
        }
        match rpc {
            Rpc::Subscribed(topic, on) => {
                let of = &mut self.router(to).topics[usize::from(topic)];
                of.known.retain(|&p| p != from);
                if on {
                    of.known.push(from);
                } else {
                    of.mesh.retain(|&p| p != from);
                }
            }
            Rpc::Graft(topic) => {
                let now = self.now;
                let of = &mut self.router(to).topics[usize::from(topic)];
                if !of.on || of.mesh.len() >= limits::GOSSIP_MESH_HIGH || of.backs_off(from, now) {
                    self.prune(to, from, topic, limits::GOSSIP_PRUNED);
                } else if !of.mesh.contains(&from) {
                    of.mesh.push(from);
                }
            }
            Rpc::Prune(topic, time) => {
                let until = self.now + time;
                let of = &mut self.router(to).topics[usize::from(topic)];
                of.mesh.retain(|&p| p != from);
                of.back_off(from, until);
            }
            Rpc::Message(name) => self.on_message(from, to, name),
            Rpc::Ihave(names) => {
                self.router(to).lazy += 1;
                let missing: Rc<[u32]> = names.iter().copied().filter(|&n| !self.messages.has_seen(n, to)).collect();
                if !missing.is_empty() {
                    let bytes = NAME * missing.len();
                    self.rpc(to, from, Rpc::Iwant(missing), bytes);
                }
            }
            Rpc::Iwant(names) => {
                self.router(to).lazy += 1;
                for &name in &names[..] {
                    let Some(bytes) = self.messages.get(name).map(|m| m.bytes) else { continue };
                    self.rpc(to, from, Rpc::Message(name), bytes);
                }
            }
        }
    }

    fn on_message(&mut self, from: u32, to: u32, name: u32) {
        self.router(to).delivered += 1;
        if let Some(message) = self.messages.get(name) {
            self.traffic[usize::from(message.topic.min(2))].1 += 1;
        }
        if self.messages.see(name, to) != Some(true) {
            return;
        }
        let Some(message) = self.messages.get(name) else { return };
        let (topic, source, key, bytes, gossip) =
            (message.topic, message.source, message.key, message.bytes, message.gossip.clone());
        let router = self.router(to);
        router.history[0].push(name);
        let of = &router.topics[usize::from(topic)];
        let (on, mesh) = (of.on, of.mesh.clone());
        for other in mesh.into_iter().filter(|&p| p != from && p != source) {
            self.rpc(to, other, Rpc::Message(name), bytes);
        }
        if on {
            self.feed(to, Event::Gossip { from: key, message: (*gossip).clone() });
        }
    }

    /// Refills the meshes of a peer and sends lazy gossip to neighbours outside them.
    pub(super) fn on_heartbeat(&mut self, peer: u32) {
        if self.peers[peer as usize].engine.is_none() {
            return;
        }
        self.after(limits::GOSSIP_HEARTBEAT, SimEvent::Heartbeat(peer));
        for topic in 0..TOPICS as u8 {
            let of = &self.peers[peer as usize].router.topics[usize::from(topic)];
            if of.on && of.mesh.len() < limits::GOSSIP_MESH_LOW && of.known.len() > of.mesh.len() {
                self.graft(peer, topic);
            }
        }
        let mut of_topic: Vec<Vec<u32>> = vec![Vec::new(); TOPICS];
        for &name in self.peers[peer as usize].router.history.iter().flatten() {
            if let Some(message) = self.messages.get(name) {
                of_topic[usize::from(message.topic)].push(name);
            }
        }
        for (topic, names) in of_topic.into_iter().enumerate().filter(|(_, names)| !names.is_empty()) {
            let of = &self.peers[peer as usize].router.topics[topic];
            let others: Vec<u32> = of.known.iter().copied().filter(|p| !of.mesh.contains(p)).collect();
            let names: Rc<[u32]> = names.into();
            for other in self.rng.sample(&others, limits::GOSSIP_LAZY.max(others.len() / 4)) {
                self.rpc(peer, other, Rpc::Ihave(names.clone()), NAME * names.len());
            }
        }
        let history = &mut self.router(peer).history;
        history.push_front(Vec::new());
        history.truncate(limits::GOSSIP_TOLD);
    }

    /// Forgets messages that nobody asks for any more.
    pub(super) fn forget_messages(&mut self) {
        let old = |m: &Message, now: u64| now.saturating_sub(m.at) > limits::GOSSIP_SEEN.as_micros() as u64;
        while self.messages.alive.front().is_some_and(|m| old(m, self.now)) {
            self.messages.alive.pop_front();
            self.messages.first += 1;
        }
    }
}
