//! The world of a simulation: virtual time, the event queue, and the peers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::exec::Executor;
use super::gossip::{Messages, Router, Rpc};
use super::net::{Flight, Side};
use super::oracle::Oracle;
use super::queue::Queue;
use super::rng::{Rng, draw};
use super::scenario::{SMALL_MEMORY, Scenario, key_of};
use super::store::Store;
use crate::engine::{Config, Engine, Memory};
use crate::id::{Hash, PeerKey};
use crate::io::{Event, RequestError, RequestId, Token};
use crate::limits;
use crate::membership::{Advert, Kind, Roles};
use crate::message::Response;
use crate::time::Time;
use crate::version;

/// Duration of a disk access.
pub(super) const DISK: Duration = Duration::from_micros(200);
/// Time within which the peers of a new mesh join.
const ARRIVAL: Duration = Duration::from_secs(1);
/// Interval between pings to a neighbour. To keep simulations of many peers fast, each peer except the submitters pings
/// one neighbour at a time: only submitters take pongs as signs of life.
const PING: Duration = Duration::from_secs(4);
/// Time after the last job in which engines must drop all its state: peers that were not told of its end forget it
/// after [`limits::ANNOUNCE_LIFETIME`].
const GRACE: Duration = Duration::from_secs(45);
/// Interval at which old messages are forgotten.
const FORGET: Duration = Duration::from_secs(5);

/// An event of the simulation.
#[derive(Debug)]
pub(super) enum SimEvent {
    Tick(u32),
    Event(u32, Box<Event>),
    Rpc {
        from: u32,
        to: u32,
        rpc: Rpc,
    },
    Heartbeat(u32),
    Request(Box<Flight>),
    Answer {
        to: u32,
        id: RequestId,
        outcome: Box<Result<(Response, Bytes), RequestError>>,
        landed: bool,
    },
    Connect(u32, u32),
    Broken(u32, u32),
    Ping(u32),
    Step {
        peer: u32,
        thread: usize,
        step: u64,
    },
    Arrive(u32),
    RestartHome(u32),
    Submit(usize),
    Cancel(usize),
    Fault(usize),
    /// The strangers of the fault with this index publish; the second number counts the messages that each has
    /// published.
    Strangers(usize, u32),
    Churn,
    Forget,
    /// A peer that slept resumes; the connections that it had then are broken.
    Wake(u32, BTreeSet<u32>),
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: PeerKey,
    /// `None` before it joins, and once it is gone.
    pub(super) engine: Option<Box<Engine>>,
    born: u64,
    pub(super) tick_at: u64,
    pub(super) connected: BTreeSet<u32>,
    pub(super) side: Side,
    pub(super) router: Router,
    pub(super) exec: Executor,
    pub(super) store: Store,
    pub(super) sends_until: u64,
    pub(super) takes_until: u64,
    /// Whether it hangs: it receives events and does nothing.
    pub(super) hangs: bool,
    /// Whether its disk is full: it cannot store segments.
    pub(super) is_full: bool,
    /// It sleeps until this time, in microseconds; events for it are delivered then.
    pub(super) sleeps_until: u64,
    /// Copies of gossip delivered to it until the last job was over.
    pub(super) delivered_at_end: Option<u64>,
}

/// The state of the simulation.
pub(super) struct World {
    pub(super) scenario: Scenario,
    /// Virtual time since the start, in microseconds.
    pub(super) now: u64,
    queue: Queue,
    /// Events due now.
    soon: VecDeque<(u32, Event)>,
    pub(super) rng: Rng,
    pub(super) peers: Vec<Peer>,
    pub(super) index: BTreeMap<PeerKey, u32>,
    pub(super) messages: Messages,
    pub(super) oracle: Oracle,
    pub(super) blobs: BTreeMap<Hash, Bytes>,
    pub(super) tokens: BTreeMap<Token, (u32, RequestId, u32)>,
    /// Unanswered requests, each with the peer that was asked.
    pub(super) asked: BTreeMap<(u32, RequestId), u32>,
    pub(super) requests: u64,
    pub(super) arrived: u64,
    pub(super) bytes: u64,
    /// A hash over all actions of the engines so far.
    pub(super) trace: u64,
    pub(super) submitting: Option<usize>,
    /// Copies of gossip delivered to each peer before the first job.
    pub(super) delivered_before: Vec<u64>,
    pub(super) events: u64,
    /// Task time started in each second.
    pub(super) busy: Vec<Duration>,
    /// Messages published, and copies delivered: of jobs, of peers, of claims.
    pub(super) traffic: [(u64, u64); 3],
    pub(super) log: Vec<(u64, u32, String)>,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            soon: VecDeque::new(),
            rng: Rng::new(scenario.seed),
            peers: Vec::new(),
            index: BTreeMap::new(),
            messages: Messages::default(),
            oracle: Oracle::new(&scenario.jobs),
            blobs: BTreeMap::new(),
            tokens: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: 0,
            arrived: 0,
            bytes: 0,
            trace: scenario.seed,
            submitting: None,
            delivered_before: Vec::new(),
            events: 0,
            busy: Vec::new(),
            traffic: [(0, 0); 3],
            log: Vec::new(),
            scenario: scenario.clone(),
        };
        for _ in 0..scenario.submitters + scenario.peers {
            let peer = world.add_peer();
            let at = world.rng.up_to(ARRIVAL);
            world.after(at, SimEvent::Arrive(peer));
        }
        for (i, job) in scenario.jobs.iter().enumerate() {
            world.after(job.at, SimEvent::Submit(i));
            if let Some(after) = job.cancelled_after {
                world.after(job.at + after, SimEvent::Cancel(i));
            }
        }
        for (i, (at, _)) in scenario.faults.iter().enumerate() {
            world.after(*at, SimEvent::Fault(i));
        }
        if let Some(every) = scenario.churn {
            world.after(every, SimEvent::Churn);
        }
        world.after(FORGET, SimEvent::Forget);
        world
    }

    /// A peer that has not joined yet. Submitters have the first numbers, workers follow.
    pub(super) fn add_peer(&mut self) -> u32 {
        let number = self.peers.len() as u32;
        let key = key_of(self.scenario.seed, number);
        self.index.insert(key, number);
        self.peers.push(Peer {
            key,
            engine: None,
            born: 0,
            tick_at: u64::MAX,
            connected: BTreeSet::new(),
            side: Side::Main,
            router: Router::new(),
            exec: Executor::new(self.scenario.threads),
            store: Store::default(),
            sends_until: 0,
            takes_until: 0,
            hangs: false,
            is_full: false,
            sleeps_until: 0,
            delivered_at_end: None,
        });
        number
    }

    /// The peer number of worker `worker`.
    pub(super) fn worker(&self, worker: u32) -> u32 {
        self.scenario.submitters + worker
    }

    pub(super) fn at(&mut self, at: u64, what: SimEvent) {
        self.queue.push(at.max(self.now), what);
    }

    pub(super) fn after(&mut self, time: Duration, what: SimEvent) {
        self.at(self.now + time.as_micros() as u64, what);
    }

    pub(super) fn soon(&mut self, peer: u32, event: Event) {
        self.soon.push_back((peer, event));
    }

    /// Runs until all jobs are over and dropped, or until the deadline.
    pub(super) fn run_to_end(&mut self) {
        let deadline = self.scenario.deadline.as_micros() as u64;
        let mut end = deadline;
        loop {
            if let Some((peer, event)) = self.soon.pop_front() {
                self.feed(peer, event);
                continue;
            }
            if end == deadline && self.oracle.all_ended() {
                // A sleeping peer learns of the end when it wakes, and so do peers that ask it.
                let awake = self.peers.iter().map(|peer| peer.sleeps_until).max().unwrap_or(0).max(self.now);
                // Peers tell newcomers of a job that cannot be resumed for as long as they remember it.
                let is_lost = self.oracle.fates.iter().any(|fate| fate.log_is_lost);
                let grace = if is_lost { 3 * GRACE } else { GRACE };
                end = deadline.min(awake + grace.as_micros() as u64);
                self.peers.iter_mut().for_each(|p| p.delivered_at_end = Some(p.router.delivered));
            }
            let Some((at, what)) = self.queue.pop() else { break };
            if at > end || self.oracle.violations.len() > 3 {
                break;
            }
            self.now = at;
            self.events += 1;
            self.dispatch(what);
        }
        if !self.oracle.all_ended() {
            let said = format!("a job is not over after {} s", self.scenario.deadline.as_secs());
            self.oracle.violation(said);
        } else if self.oracle.violations.is_empty() {
            self.check_nothing_is_left();
        }
    }

    fn dispatch(&mut self, what: SimEvent) {
        match what {
            SimEvent::Tick(peer) => self.on_tick(peer),
            SimEvent::Event(peer, event) => self.feed(peer, *event),
            SimEvent::Rpc { from, to, rpc } => self.on_rpc(from, to, rpc),
            SimEvent::Heartbeat(peer) => self.on_heartbeat(peer),
            SimEvent::Request(flight) => self.on_request(flight),
            SimEvent::Answer { to, id, outcome, landed } => self.on_answer(to, id, outcome, landed),
            SimEvent::Connect(a, b) => self.connect(a, b),
            SimEvent::Broken(a, b) => self.broken(a, b),
            SimEvent::Ping(peer) => self.on_ping(peer),
            SimEvent::Step { peer, thread, step } => self.on_step(peer, thread, step),
            SimEvent::Arrive(peer) => self.arrive(peer),
            SimEvent::RestartHome(peer) => self.restart_home(peer),
            SimEvent::Submit(number) => match self.sleeps_until(number) {
                Some(until) => self.at(until, SimEvent::Submit(number)),
                None => self.submit(number),
            },
            SimEvent::Cancel(number) => self.cancel(number),
            SimEvent::Fault(number) => self.on_fault(number),
            SimEvent::Strangers(fault, said) => self.on_strangers(fault, said),
            SimEvent::Churn => self.on_churn(),
            SimEvent::Wake(peer, before) => self.wake(peer, before),
            SimEvent::Forget => {
                self.forget_messages();
                self.after(FORGET, SimEvent::Forget);
            }
        }
    }

    pub(super) fn arrive(&mut self, number: u32) {
        let submits = number < self.scenario.submitters;
        let worker = number.wrapping_sub(self.scenario.submitters);
        let roles =
            Roles { worker: !submits, shuffler: !submits && worker < self.scenario.shufflers, ..Roles::default() };
        let advert = Advert {
            kind: if submits { Kind::Submitter } else { Kind::Node },
            roles,
            threads: self.scenario.threads,
            weight: 1,
            addresses: vec![format!("/ip4/10.0.{}.{}/udp/4001/quic-v1", number >> 8 & 255, number & 255)],
            agent: "simulated".to_owned(),
            minor: version::MINOR,
        };
        let peer = &mut self.peers[number as usize];
        peer.engine = Some(Box::new(Engine::new(Config {
            me: peer.key,
            // One microsecond here stands for a millisecond of wall time: simulated restarts follow each other within
            // seconds.
            started: self.now * 1_000,
            advert,
            memory: Memory {
                tasks: if !submits && worker < self.scenario.small { SMALL_MEMORY } else { u64::MAX },
                ..Memory::native(u64::MAX, u64::MAX)
            },
            // Simulated guests support all that a manifest can ask for.
            interface: u8::MAX,
            confirms: true,
        })));
        peer.born = self.now;
        self.feed(number, Event::Tick);
        self.join(number);
        let phase = self.rng.up_to(Duration::from_millis(700));
        self.after(phase, SimEvent::Heartbeat(number));
        self.after(phase, SimEvent::Ping(number));
    }

    /// Opens a peer's first connections.
    pub(super) fn join(&mut self, number: u32) {
        let others: Vec<u32> =
            (0..self.peers.len() as u32).filter(|&p| p != number && self.peers[p as usize].engine.is_some()).collect();
        let mut chosen = self.rng.sample(&others, self.scenario.links.connections as usize);
        chosen.extend(others.iter().filter(|&&p| p < self.scenario.submitters));
        chosen.into_iter().for_each(|other| self.dial(number, other));
    }

    fn on_ping(&mut self, peer: u32) {
        if self.peers[peer as usize].engine.is_none() {
            return;
        }
        self.after(PING, SimEvent::Ping(peer));
        let answers = |other: &&u32| !self.peers[**other as usize].hangs && self.can_reach(peer, **other);
        let mut pinged: Vec<u32> = self.peers[peer as usize].connected.iter().filter(answers).copied().collect();
        if peer >= self.scenario.submitters {
            pinged = self.rng.sample(&pinged, 1);
        }
        for other in pinged {
            let event = Event::Rtt { peer: self.peers[other as usize].key, rtt: self.round_trip(peer, other) };
            self.feed(peer, event);
        }
    }

    fn on_tick(&mut self, peer: u32) {
        let this = &mut self.peers[peer as usize];
        if this.tick_at != self.now {
            return;
        }
        this.tick_at = u64::MAX;
        let Some(engine) = &this.engine else { return };
        let due = this.born.saturating_add(engine.deadline().0);
        if due <= self.now {
            self.feed(peer, Event::Tick);
        } else {
            self.tick_at(peer, due);
        }
    }

    fn tick_at(&mut self, peer: u32, due: u64) {
        if due < self.peers[peer as usize].tick_at {
            self.peers[peer as usize].tick_at = due.max(self.now);
            self.at(due, SimEvent::Tick(peer));
        }
    }

    /// Passes an event to an engine and carries out its actions.
    pub(super) fn feed(&mut self, peer: u32, event: Event) {
        let this = &mut self.peers[peer as usize];
        if self.now < this.sleeps_until {
            let until = this.sleeps_until;
            return self.at(until, SimEvent::Event(peer, Box::new(event)));
        }
        let Some(engine) = this.engine.as_mut().filter(|_| !this.hangs) else { return };
        let local = Time(self.now - this.born);
        if let Event::Persisted { job, number, .. } = &event
            && let Err(why) = self.oracle.kept(job, *number)
        {
            self.oracle.violation(why);
        }
        engine.handle(local, event);
        let mut actions = Vec::new();
        while let Some(action) = engine.poll() {
            actions.push(action);
        }
        let deadline = engine.deadline();
        let due = this.born.saturating_add(deadline.0);
        if deadline <= local {
            let said = format!("at {} us the engine of peer {peer} wants to be woken {deadline:?}, at once", local.0);
            self.oracle.violation(said);
        }
        self.tick_at(peer, due);
        for action in actions {
            self.act(peer, action);
        }
    }

    /// Logs what an engine does, if logging is on.
    pub(super) fn tell(&mut self, peer: u32, what: impl FnOnce() -> String) {
        if self.scenario.watched {
            self.log.push((self.now, peer, what()));
        }
    }

    /// Adds to the trace.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        self.trace = words
            .fold(self.trace ^ self.now, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }

    fn check_nothing_is_left(&mut self) {
        for number in 0..self.peers.len() {
            let peer = &self.peers[number];
            let Some(engine) = peer.engine.as_ref().filter(|_| !peer.hangs) else { continue };
            let load = engine.load();
            let clean = load.jobs + load.claims + load.runs + load.attempts == 0;
            if !clean || !peer.store.is_empty() || !peer.exec.is_idle() {
                let said =
                    format!("after the jobs, peer {number} still holds {load:?}, segments: {}", !peer.store.is_empty());
                self.oracle.violation(said);
            }
            if load.requests > limits::REQUESTS_OF_PEER {
                self.oracle.violation(format!("after the jobs, peer {number} waits for {} answers", load.requests));
            }
        }
    }

    /// A random draw for a pair of peers, the same in both directions.
    pub(super) fn pair(&self, a: u32, b: u32) -> u64 {
        draw(&[self.scenario.seed, 5, u64::from(a.min(b)), u64::from(a.max(b))])
    }
}
