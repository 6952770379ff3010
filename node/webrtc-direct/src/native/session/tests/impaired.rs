//! Streams of two sessions over an impaired network, with simulated time, which runs much faster than real time.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::limits::SCTP_SEND_BYTES;
use crate::native::channels::Key;

/// Timeout of one stream in simulated time: enough for several successive retransmissions.
const STREAM_TIMEOUT: Duration = Duration::from_secs(60);

/// Streams of one run.
const STREAMS: usize = 150;

/// Impairments of the network. Counts are per 1,000 datagrams.
#[derive(Clone, Copy)]
struct Impairments {
    /// One-way latency.
    latency: Duration,
    lost: u32,
    duplicated: u32,
    /// Delayed by up to 2.5 s, so that retransmissions overtake them.
    delayed: u32,
}

/// A stream of the dialer, which expects its data to be echoed.
struct Ask {
    key: Key,
    unsent: Vec<u8>,
    awaited: VecDeque<u8>,
    /// Drops the stream once at most this many bytes are unsent.
    dropped_at: Option<usize>,
    started: Instant,
}

/// A stream of the listener, which echoes what it receives.
struct Echo {
    key: Key,
    unsent: VecDeque<u8>,
    ended: bool,
}

struct Run {
    seed: u64,
    rng: StdRng,
    impairments: Impairments,
    world: World,
    /// By time of arrival. The flag tells whether the datagram is for the listener.
    in_flight: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    sent: u64,
    asks: Vec<Ask>,
    echoes: Vec<Echo>,
}

impl Run {
    fn new(seed: u64, impairments: Impairments) -> Self {
        let mut world = World::connected(Version::V2);
        for session in [&mut world.dialer, &mut world.listener] {
            let key = session.channels.handshake().unwrap();
            session.channels.with(key, |channel| channel.stream.close_write(), world.now);
            session.channels.release(key, world.now);
        }
        Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
            impairments,
            world,
            in_flight: BTreeMap::new(),
            sent: 0,
            asks: Vec::new(),
            echoes: Vec::new(),
        }
    }

    fn hit(&mut self, of_thousand: u32) -> bool {
        self.rng.random_range(0..1000) < of_thousand
    }

    fn send(&mut self, to_listener: bool, out: &mut Batch) {
        for (_, datagram) in out.take() {
            if self.hit(self.impairments.lost) {
                continue;
            }
            let mut delay = self.impairments.latency;
            if self.hit(self.impairments.delayed) {
                delay += Duration::from_millis(self.rng.random_range(1..2500));
            }
            let copies = if self.hit(self.impairments.duplicated) { 2 } else { 1 };
            for copy in 0..copies {
                self.sent += 1;
                let arrival = (self.world.now + delay + copy * Duration::from_millis(5), self.sent);
                self.in_flight.insert(arrival, (to_listener, datagram.clone()));
            }
        }
    }

    /// Opens a stream, if an id is free, to send `length` bytes.
    fn ask(&mut self, length: usize, dropped_at: Option<usize>) {
        let cx = &mut Context::from_waker(Waker::noop());
        let now = self.world.now;
        if let Poll::Ready(key) = self.world.dialer.channels.poll_open(cx, now) {
            let data: Vec<u8> = (0..length).map(|_| self.rng.random()).collect();
            self.asks.push(Ask {
                key,
                awaited: data.iter().copied().collect(),
                unsent: data,
                dropped_at,
                started: now,
            });
        }
    }

    /// The dialer's streams read and write what they can.
    fn dial_side(&mut self) {
        let (seed, now, channels) = (self.seed, self.world.now, &mut self.world.dialer.channels);
        self.asks.retain_mut(|ask| {
            assert!(now < ask.started + STREAM_TIMEOUT, "seed {seed}: stream {} does not end", ask.key);
            let done = channels.with(ask.key, |channel| ask.act(&mut channel.stream, seed), now).expect("a stream").0;
            if done {
                channels.release(ask.key, now);
            }
            !done
        });
    }

    /// The listener's streams read and write what they can.
    fn listen_side(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        let (now, channels) = (self.world.now, &mut self.world.listener.channels);
        while let Poll::Ready(key) = channels.poll_accept(cx) {
            self.echoes.push(Echo { key, unsent: VecDeque::new(), ended: false });
        }
        self.echoes.retain_mut(|echo| {
            let done = channels.with(echo.key, |channel| echo.act(&mut channel.stream), now).expect("a stream").0;
            if done {
                channels.release(echo.key, now);
            }
            !done
        });
    }

    /// Advances by one millisecond. Streams may be used before or after the sessions process what has arrived.
    fn step(&mut self) {
        self.world.now += Duration::from_millis(1);
        let later = self.in_flight.split_off(&(self.world.now + Duration::from_nanos(1), 0));
        let arrived = std::mem::replace(&mut self.in_flight, later);
        let mut out = [Batch::default(), Batch::default()];
        for (to_listener, datagram) in arrived.into_values() {
            let World { dialer, listener, now, dialer_address, listener_address, .. } = &mut self.world;
            match to_listener {
                true => listener.receive(*dialer_address, &datagram, &mut out[0], *now),
                false => dialer.receive(*listener_address, &datagram, &mut out[1], *now),
            }
        }
        for users_first in [self.rng.random(), false] {
            if users_first {
                self.dial_side();
                self.listen_side();
            }
            self.world.dialer.advance(&mut out[1], self.world.now);
            self.world.listener.advance(&mut out[0], self.world.now);
            if !users_first {
                self.dial_side();
                self.listen_side();
            }
        }
        let [mut from_listener, mut from_dialer] = out;
        self.send(true, &mut from_dialer);
        self.send(false, &mut from_listener);
        let over = (self.world.dialer.over(), self.world.listener.over());
        assert!(matches!(over, (None, None)), "seed {}: {over:?}", self.seed);
    }
}

impl Ask {
    /// Writes and reads what it can. Returns whether the stream can be dropped.
    fn act(&mut self, stream: &mut Stream, seed: u64) -> bool {
        let key = self.key;
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Poll::Ready(Ok(length)) => drop(self.unsent.drain(..length)),
                Poll::Ready(Err(error)) => panic!("seed {seed}: writing to stream {key}: {error}"),
                Poll::Pending => break,
            }
        }
        if self.dropped_at.is_some_and(|at| self.unsent.len() <= at) {
            return true;
        }
        if self.unsent.is_empty() {
            stream.close_write();
        }
        let mut part = [0; 4096];
        loop {
            match stream.read(&mut part) {
                Poll::Ready(Ok(0)) => {
                    assert!(self.awaited.is_empty(), "seed {seed}: stream {key} ended {} early", self.awaited.len());
                    return true;
                }
                Poll::Ready(Ok(length)) => {
                    for byte in &part[..length] {
                        assert_eq!(self.awaited.pop_front(), Some(*byte), "seed {seed}: stream {key}");
                    }
                }
                Poll::Ready(Err(error)) => panic!("seed {seed}: reading stream {key}: {error}"),
                Poll::Pending => return false,
            }
        }
    }
}

impl Echo {
    fn act(&mut self, stream: &mut Stream) -> bool {
        let mut part = [0; 4096];
        while !self.ended && self.unsent.len() < 1 << 16 {
            match stream.read(&mut part) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(length)) => self.unsent.extend(&part[..length]),
                Poll::Ready(Err(error)) => {
                    assert_ne!(error, StreamError::Gone);
                    return true;
                }
                Poll::Pending => break,
            }
        }
        while !self.unsent.is_empty() {
            match stream.write(self.unsent.make_contiguous()) {
                Poll::Ready(Ok(length)) => drop(self.unsent.drain(..length)),
                Poll::Ready(Err(error)) => {
                    assert_ne!(error, StreamError::Gone);
                    return true;
                }
                Poll::Pending => return false,
            }
        }
        if self.ended {
            stream.close_write();
            return stream.poll_flushed().is_ready();
        }
        false
    }
}

/// Runs single streams and groups of streams, until neither side holds any.
fn run(seed: u64, impairments: Impairments) {
    let mut run = Run::new(seed, impairments);
    let mut left = STREAMS;
    while left > 0 || !run.asks.is_empty() {
        if left > 0 && run.asks.len() < 8 && run.hit(100) {
            // Streams of one length end together.
            let length = run.rng.random_range(0..40_000);
            for _ in 0..run.rng.random_range(1..8).min(left) {
                left -= 1;
                let dropped_at = if run.hit(250) { Some(run.rng.random_range(0..=length)) } else { None };
                run.ask(length, dropped_at);
            }
        }
        run.step();
    }
    let deadline = run.world.now + STREAM_TIMEOUT;
    let held = |world: &World| (world.dialer.channels.len(), world.listener.channels.len());
    while held(&run.world) != (0, 0) {
        assert!(run.world.now < deadline, "seed {seed}: streams left: {:?}", held(&run.world));
        run.step();
    }
}

/// `NETWORK_SEED` replays a seed; `NETWORK_RUNS` sets the number of runs.
#[test]
fn every_stream_is_echoed_and_removed_over_an_impaired_network() {
    let setting = |name, default| std::env::var(name).map_or(default, |text: String| text.parse().unwrap());
    let (seed, runs): (u64, u64) = (setting("NETWORK_SEED", rand::random()), setting("NETWORK_RUNS", 20));
    println!("NETWORK_SEED={seed}");
    for seed in (0..runs).map(|i| seed.wrapping_add(i)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut part = || rng.random_range(0..50);
        let latency = Duration::from_millis(1);
        run(seed, Impairments { latency, lost: part(), duplicated: part(), delayed: part() });
    }
}

/// Maximum bytes in flight to the listener, while four streams of 1 MiB are echoed.
fn max_in_flight(latency: Duration) -> usize {
    let mut run = Run::new(1, Impairments { latency, lost: 0, duplicated: 0, delayed: 0 });
    (0..4).for_each(|_| run.ask(1 << 20, None));
    let mut most = 0;
    while !run.asks.is_empty() {
        run.step();
        let to_listener = run.in_flight.values().filter(|(to_listener, _)| *to_listener);
        most = most.max(to_listener.map(|(_, datagram)| datagram.len()).sum());
    }
    most
}

#[test]
fn data_in_flight_grows_with_the_round_trip_time() {
    let near = max_in_flight(Duration::from_millis(1));
    // Allows for a round trip of two or three milliseconds, for headers, and for SACKs of the echo.
    assert!(near < SCTP_SEND_BYTES * 2, "{near} bytes to a peer nearby");
    let far = max_in_flight(Duration::from_millis(50));
    assert!(far > SCTP_SEND_BYTES * 4, "{far} bytes to a peer far away");
}
