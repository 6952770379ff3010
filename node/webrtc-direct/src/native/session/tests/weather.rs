//! Streams of two sessions in bad weather, on hand-driven time: minutes of it in each second.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::limits::SCTP_SEND_BYTES;
use crate::native::channels::Key;

/// How long a stream may take: some repetitions, one after the other, of what was lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// In one run.
const STREAMS: usize = 150;

/// What happens to datagrams, of 1,000.
#[derive(Clone, Copy)]
struct Weather {
    /// How long each takes.
    way: Duration,
    lost: u32,
    doubled: u32,
    /// By up to some repetitions.
    late: u32,
}

/// A stream of the dialer, which wants back what it sends.
struct Ask {
    key: Key,
    unsent: Vec<u8>,
    awaited: VecDeque<u8>,
    /// Lets go once this much is unsent still.
    given_up_at: Option<usize>,
    begun: Instant,
}

/// A stream of the listener, which sends back what comes.
struct Echo {
    key: Key,
    unsent: VecDeque<u8>,
    ended: bool,
}

struct Storm {
    seed: u64,
    chance: StdRng,
    weather: Weather,
    world: World,
    /// By time of arrival; whether to the listener.
    on_the_way: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    sent: u64,
    asks: Vec<Ask>,
    echoes: Vec<Echo>,
}

impl Storm {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut world = World::connected(Version::V2);
        for session in [&mut world.dialer, &mut world.listener] {
            let key = session.channels.handshake().unwrap();
            session.channels.with(key, |channel| channel.stream.close_write(), world.now);
            session.channels.release(key, world.now);
        }
        Self {
            seed,
            chance: StdRng::seed_from_u64(seed),
            weather,
            world,
            on_the_way: BTreeMap::new(),
            sent: 0,
            asks: Vec::new(),
            echoes: Vec::new(),
        }
    }

    fn hit(&mut self, of_thousand: u32) -> bool {
        self.chance.random_range(0..1000) < of_thousand
    }

    fn send(&mut self, to_listener: bool, out: &mut Batch) {
        for (_, datagram) in out.take() {
            if self.hit(self.weather.lost) {
                continue;
            }
            let mut delay = self.weather.way;
            if self.hit(self.weather.late) {
                delay += Duration::from_millis(self.chance.random_range(1..2500));
            }
            let copies = if self.hit(self.weather.doubled) { 2 } else { 1 };
            for copy in 0..copies {
                self.sent += 1;
                let arrival = (self.world.now + delay + copy * Duration::from_millis(5), self.sent);
                self.on_the_way.insert(arrival, (to_listener, datagram.clone()));
            }
        }
    }

    /// Opens a stream if there is one free, to send so much.
    fn ask(&mut self, length: usize, given_up_at: Option<usize>) {
        let cx = &mut Context::from_waker(Waker::noop());
        let now = self.world.now;
        if let Poll::Ready(key) = self.world.dialer.channels.poll_open(cx, now) {
            let data: Vec<u8> = (0..length).map(|_| self.chance.random()).collect();
            self.asks.push(Ask { key, awaited: data.iter().copied().collect(), unsent: data, given_up_at, begun: now });
        }
    }

    /// The dialer's users do what they can.
    fn dial_side(&mut self) {
        let (seed, now, channels) = (self.seed, self.world.now, &mut self.world.dialer.channels);
        self.asks.retain_mut(|ask| {
            assert!(now < ask.begun + PATIENCE, "seed {seed}: stream {} does not end", ask.key);
            let done = channels.with(ask.key, |channel| ask.act(&mut channel.stream, seed), now).expect("a stream").0;
            if done {
                channels.release(ask.key, now);
            }
            !done
        });
    }

    /// The listener's users do what they can.
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

    /// One millisecond. Users may come before or after the session looks at what has arrived.
    fn step(&mut self) {
        self.world.now += Duration::from_millis(1);
        let later = self.on_the_way.split_off(&(self.world.now + Duration::from_nanos(1), 0));
        let arrived = std::mem::replace(&mut self.on_the_way, later);
        let mut out = [Batch::default(), Batch::default()];
        for (to_listener, datagram) in arrived.into_values() {
            let World { dialer, listener, now, dialer_address, listener_address, .. } = &mut self.world;
            match to_listener {
                true => listener.receive(*dialer_address, &datagram, &mut out[0], *now),
                false => dialer.receive(*listener_address, &datagram, &mut out[1], *now),
            }
        }
        for users_first in [self.chance.random(), false] {
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
    /// Whether the stream's user is done with it.
    fn act(&mut self, stream: &mut Stream, seed: u64) -> bool {
        let key = self.key;
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Poll::Ready(Ok(length)) => drop(self.unsent.drain(..length)),
                Poll::Ready(Err(error)) => panic!("seed {seed}: writing to stream {key}: {error}"),
                Poll::Pending => break,
            }
        }
        if self.given_up_at.is_some_and(|at| self.unsent.len() <= at) {
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

/// Streams one after the other and several together; in the end neither side holds any.
fn live_through(seed: u64, weather: Weather) {
    let mut storm = Storm::new(seed, weather);
    let mut left = STREAMS;
    while left > 0 || !storm.asks.is_empty() {
        if left > 0 && storm.asks.len() < 8 && storm.hit(100) {
            // Several of one length end together.
            let length = storm.chance.random_range(0..40_000);
            for _ in 0..storm.chance.random_range(1..8).min(left) {
                left -= 1;
                let given_up_at = if storm.hit(250) { Some(storm.chance.random_range(0..=length)) } else { None };
                storm.ask(length, given_up_at);
            }
        }
        storm.step();
    }
    let deadline = storm.world.now + PATIENCE;
    let held = |world: &World| (world.dialer.channels.len(), world.listener.channels.len());
    while held(&storm.world) != (0, 0) {
        assert!(storm.world.now < deadline, "seed {seed}: streams left: {:?}", held(&storm.world));
        storm.step();
    }
}

/// `STORM_SEED` says with which chance, `STORMS` how many.
#[test]
fn in_any_weather_every_stream_is_answered_and_none_is_left() {
    let setting = |name, default| std::env::var(name).map_or(default, |text: String| text.parse().unwrap());
    let (seed, storms): (u64, u64) = (setting("STORM_SEED", rand::random()), setting("STORMS", 20));
    println!("STORM_SEED={seed}");
    for seed in (0..storms).map(|storm| seed.wrapping_add(storm)) {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut part = || chance.random_range(0..50);
        let way = Duration::from_millis(1);
        live_through(seed, Weather { way, lost: part(), doubled: part(), late: part() });
    }
}

/// Bytes that are under way to the listener at a time, at most, while four streams of a mebibyte go there and back.
fn most_under_way(way: Duration) -> usize {
    let mut storm = Storm::new(1, Weather { way, lost: 0, doubled: 0, late: 0 });
    (0..4).for_each(|_| storm.ask(1 << 20, None));
    let mut most = 0;
    while !storm.asks.is_empty() {
        storm.step();
        let under_way = storm.on_the_way.values().filter(|(to_listener, _)| *to_listener);
        most = most.max(under_way.map(|(_, datagram)| datagram.len()).sum());
    }
    most
}

#[test]
fn as_much_is_under_way_as_the_path_holds() {
    let near = most_under_way(Duration::from_millis(1));
    // Some for two or three milliseconds, for headers, and for acknowledgements of what comes back.
    assert!(near < SCTP_SEND_BYTES * 2, "{near} bytes to a peer nearby");
    let far = most_under_way(Duration::from_millis(50));
    assert!(far > SCTP_SEND_BYTES * 4, "{far} bytes to a peer far away");
}
