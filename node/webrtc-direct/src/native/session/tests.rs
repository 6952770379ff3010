//! Two sessions connected to each other, with simulated time.

use std::task::{Context, Poll, Waker};

use super::*;
use crate::credentials::Version;
use crate::native::channels::Channel;
use crate::stream::{Stream, StreamError};

mod impaired;

const TICK: Duration = Duration::from_millis(10);

struct World {
    now: Instant,
    dialer: Session,
    listener: Session,
    /// The dialer's address as the listener sees it.
    dialer_address: SocketAddr,
    listener_address: SocketAddr,
    cut: bool,
}

impl World {
    fn new(version: Version) -> Self {
        let now = Instant::now();
        let (dialer_address, listener_address) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        let (own, certificate) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let pair = Pair::generate(version);
        let expected = Some(certificate.fingerprint());
        let dialer = Session::new(Endpoint::Dialer, pair.clone(), listener_address, &own, expected, now).unwrap();
        let listener = Session::new(Endpoint::Listener, pair, dialer_address, &certificate, None, now).unwrap();
        Self { now, dialer, listener, dialer_address, listener_address, cut: false }
    }

    /// Exchanges datagrams at the current time, until neither side sends any.
    fn settle(&mut self) {
        let mut out = Batch::default();
        loop {
            self.dialer.advance(&mut out, self.now);
            let to_listener = out.take();
            self.listener.advance(&mut out, self.now);
            let to_dialer = out.take();
            if self.cut || to_listener.is_empty() && to_dialer.is_empty() {
                return;
            }
            for (_, datagram) in to_listener {
                self.listener.receive(self.dialer_address, &datagram, &mut out, self.now);
            }
            let mut answers = out.take();
            answers.extend(to_dialer);
            for (to, datagram) in answers {
                if to == self.dialer_address {
                    self.dialer.receive(self.listener_address, &datagram, &mut out, self.now);
                }
            }
            for (_, datagram) in out.take() {
                self.listener.receive(self.dialer_address, &datagram, &mut out, self.now);
            }
            for (_, datagram) in out.take() {
                self.dialer.receive(self.listener_address, &datagram, &mut out, self.now);
            }
        }
    }

    /// Advances the time in ticks, exchanging datagrams at each.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            self.settle();
        }
    }

    fn connected(version: Version) -> Self {
        let mut world = Self::new(version);
        world.pass(Duration::from_secs(1));
        assert!(world.dialer.is_connected() && world.listener.is_connected());
        world
    }
}

#[test]
fn both_versions_connect_and_each_side_learns_the_others_certificate() {
    for version in [Version::V1, Version::V2] {
        let world = World::connected(version);
        let expected = world.dialer.expected_fingerprint;
        assert_eq!(world.dialer.remote_fingerprint(), expected);
        assert!(world.listener.remote_fingerprint().is_some_and(|print| Some(print) != expected));
    }
}

#[test]
fn a_certificate_that_was_not_expected_ends_the_dial() {
    let mut world = World::new(Version::V2);
    world.dialer.expected_fingerprint = Some(Fingerprint::from_digest([0; 32]));
    world.pass(Duration::from_secs(1));
    assert!(matches!(world.dialer.over(), Some(Error::Fingerprint)), "{:?}", world.dialer.over());
    assert!(!world.listener.is_connected());
}

#[test]
fn an_idle_connection_stays_open_for_an_hour() {
    let mut world = World::connected(Version::V2);
    for _ in 0..3600 {
        world.now += Duration::from_secs(1);
        world.settle();
    }
    assert!(world.dialer.over().is_none() && world.listener.over().is_none());
}

#[test]
fn a_cut_path_ends_both_sides_after_the_liveness_timeout_and_within_ten_seconds() {
    let mut world = World::connected(Version::V2);
    world.cut = true;
    world.pass(LIVENESS_TIMEOUT - PROBE_INTERVAL - TICK);
    assert!(world.dialer.over().is_none() && world.listener.over().is_none());
    world.pass(Duration::from_secs(10) + PROBE_INTERVAL - LIVENESS_TIMEOUT);
    assert!(matches!(world.dialer.over(), Some(Error::Silent)));
    assert!(matches!(world.listener.over(), Some(Error::Silent)));
}

#[test]
fn a_suspended_process_keeps_its_connections() {
    let mut world = World::connected(Version::V2);
    world.now += Duration::from_secs(60);
    world.settle();
    world.pass(Duration::from_secs(10));
    assert!(world.dialer.over().is_none() && world.listener.over().is_none());
}

#[test]
fn the_listener_follows_a_client_to_its_nominated_address() {
    let mut world = World::connected(Version::V2);
    world.dialer_address = "192.0.2.9:9".parse().unwrap();
    world.pass(PROBE_INTERVAL * 2);
    assert_eq!(world.listener.remote(), world.dialer_address);
    assert!(world.dialer.over().is_none());
}

#[test]
fn closing_ends_the_other_side_at_once() {
    let mut world = World::connected(Version::V2);
    let mut out = Batch::default();
    world.dialer.end(Error::Closed, &mut out, world.now);
    for (_, datagram) in out.take() {
        world.listener.receive(world.dialer_address, &datagram, &mut out, world.now);
    }
    world.listener.advance(&mut out, world.now);
    assert!(matches!(world.listener.over(), Some(Error::ClosedByPeer)), "{:?}", world.listener.over());
}

#[test]
fn invalid_datagrams_have_no_effect() {
    let mut world = World::connected(Version::V2);
    let mut out = Batch::default();
    for length in 0..300usize {
        for first in [0u8, 1, 20, 22, 23, 63, 128] {
            let mut datagram = vec![0x5a; length];
            datagram.iter_mut().take(1).for_each(|byte| *byte = first);
            world.listener.receive(world.dialer_address, &datagram, &mut out, world.now);
            world.dialer.receive(world.listener_address, &datagram, &mut out, world.now);
        }
    }
    assert!(out.take().is_empty());
    world.pass(Duration::from_secs(1));
    assert!(world.dialer.over().is_none() && world.listener.over().is_none());
}

#[test]
fn the_handshakes_stream_id_is_reusable_once_its_channel_is_closed() {
    let mut world = World::connected(Version::V2);
    for session in [&mut world.dialer, &mut world.listener] {
        let key = session.channels.handshake().unwrap();
        session.channels.with(key, |channel| channel.stream.close_write(), world.now);
        session.channels.release(key, world.now);
    }
    world.pass(Duration::from_secs(1));
    assert_eq!((world.dialer.channels.len(), world.listener.channels.len()), (0, 0));

    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..3 {
        world.dialer.channels.release_handshake_id();
        let Poll::Ready(ours) = world.dialer.channels.poll_open(cx, world.now) else { panic!("no free stream id") };
        let write = |stream: &mut Stream| assert_eq!(stream.write(b"hello"), Poll::Ready(Ok(5)));
        world.dialer.channels.with(ours, |channel| write(&mut channel.stream), world.now);
        world.pass(Duration::from_millis(100));
        let Poll::Ready(theirs) = world.listener.channels.poll_accept(cx) else { panic!("no stream to accept") };
        let mut seen = [0; 5];
        let read = world.listener.channels.with(theirs, |channel| channel.stream.read(&mut seen), world.now);
        assert_eq!((read.unwrap().0, &seen), (Poll::Ready(Ok(5)), b"hello"));
        world.dialer.channels.release(ours, world.now);
        world.listener.channels.release(theirs, world.now);
        world.pass(Duration::from_secs(1));
        assert_eq!((world.dialer.channels.len(), world.listener.channels.len()), (0, 0));
    }
}

/// Two streams end at the same time: the listener drops one with a credit still to be sent, and closes the other.
#[test]
fn the_id_of_a_stream_that_ends_together_with_a_dropped_one_is_reusable() {
    let mut world = World::connected(Version::V2);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut open = |world: &mut World, data: &[u8]| {
        let Poll::Ready(ours) = world.dialer.channels.poll_open(cx, world.now) else { panic!("no free stream id") };
        let write = |stream: &mut Stream| assert_eq!(stream.write(data), Poll::Ready(Ok(data.len())));
        world.dialer.channels.with(ours, |channel| write(&mut channel.stream), world.now);
        world.pass(Duration::from_millis(100));
        let Poll::Ready(theirs) = world.listener.channels.poll_accept(cx) else { panic!("no stream to accept") };
        (ours, theirs)
    };
    let (dropped, theirs_dropped) = open(&mut world, &[1; 20_000]);
    let (ended, theirs_ended) = open(&mut world, b"hello");
    world.dialer.channels.with(ended, |channel| channel.stream.close_write(), world.now);
    world.pass(Duration::from_millis(100));

    let read = |channel: &mut Channel| channel.stream.read(&mut [0; 20_000]);
    let now = world.now;
    let listener = &mut world.listener.channels;
    assert_eq!(listener.with(theirs_dropped, read, now).unwrap().0, Poll::Ready(Ok(20_000)));
    listener.release(theirs_dropped, now);
    listener.with(theirs_ended, |channel| channel.stream.close_write(), now);
    listener.release(theirs_ended, now);
    world.dialer.channels.release(dropped, now);
    world.dialer.channels.release(ended, now);
    world.pass(Duration::from_secs(1));
    let held = (world.dialer.channels.len(), world.listener.channels.len());

    let (ours, theirs) = open(&mut world, b"next");
    world.pass(Duration::from_secs(5));
    let write = |channel: &mut Channel| channel.stream.write(b"back");
    assert_eq!(world.listener.channels.with(theirs, write, world.now).unwrap().0, Poll::Ready(Ok(4)));
    world.pass(Duration::from_secs(5));
    let read = |channel: &mut Channel| channel.stream.read(&mut [0; 9]);
    assert_eq!(world.dialer.channels.with(ours, read, world.now).unwrap().0, Poll::Ready(Ok(4)));
    assert_eq!(held, (1, 1), "only the handshake's channel is left");
}

#[test]
fn writing_to_a_channel_that_the_peer_has_closed_fails_at_once() {
    let mut world = World::connected(Version::V2);
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(ours) = world.dialer.channels.poll_open(cx, world.now) else { panic!("no free stream id") };
    world.pass(Duration::from_millis(100));
    let Poll::Ready(theirs) = world.listener.channels.poll_accept(cx) else { panic!("no stream to accept") };
    let write = |channel: &mut Channel| channel.stream.write(&[0; 1000]);
    assert_eq!(world.listener.channels.with(theirs, write, world.now).unwrap().0, Poll::Ready(Ok(1000)));
    let mut out = Batch::default();
    world.listener.advance(&mut out, world.now);
    assert!(!out.take().is_empty(), "discarded, so the dialer does not acknowledge it");

    world.dialer.channels.close(ours);
    world.dialer.channels.release(ours, world.now);
    world.dialer.advance(&mut out, world.now);
    for (_, datagram) in out.take() {
        world.listener.receive(world.dialer_address, &datagram, &mut out, world.now);
    }
    world.listener.advance(&mut out, world.now);
    let written = world.listener.channels.with(theirs, write, world.now).unwrap().0;
    assert_eq!(written, Poll::Ready(Err(StreamError::Gone)));
    world.listener.channels.release(theirs, world.now);
    assert_eq!(world.dialer.channels.len(), 2, "the listener closes it only once its data is acknowledged");
    world.pass(Duration::from_secs(2));
    assert_eq!(
        (world.dialer.channels.len(), world.listener.channels.len()),
        (1, 1),
        "only the handshake's channel is left"
    );
}
