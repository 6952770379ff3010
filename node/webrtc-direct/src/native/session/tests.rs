//! Two sessions face to face, on hand-driven time.

use super::*;
use crate::credentials::Version;

const TICK: Duration = Duration::from_millis(10);

struct World {
    now: Instant,
    dialer: Session,
    listener: Session,
    /// Where the listener sees the dialer.
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
        let dialer = Session::new(Role::Dialer, pair.clone(), listener_address, &own, expected, now).unwrap();
        let listener = Session::new(Role::Listener, pair, dialer_address, &certificate, None, now).unwrap();
        Self { now, dialer, listener, dialer_address, listener_address, cut: false }
    }

    /// Lets both act now, until neither has anything to say.
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
fn a_quiet_connection_stays_for_an_hour() {
    let mut world = World::connected(Version::V2);
    for _ in 0..3600 {
        world.now += Duration::from_secs(1);
        world.settle();
    }
    assert!(world.dialer.over().is_none() && world.listener.over().is_none());
}

#[test]
fn silence_ends_both_sides_within_ten_seconds_and_not_sooner_than_it_says() {
    let mut world = World::connected(Version::V2);
    world.cut = true;
    world.pass(DEAD_AFTER - PROBE_INTERVAL - TICK);
    assert!(world.dialer.over().is_none() && world.listener.over().is_none());
    world.pass(Duration::from_secs(10) + PROBE_INTERVAL - DEAD_AFTER);
    assert!(matches!(world.dialer.over(), Some(Error::Silent)));
    assert!(matches!(world.listener.over(), Some(Error::Silent)));
}

#[test]
fn a_process_that_slept_listens_before_it_judges() {
    let mut world = World::connected(Version::V2);
    world.now += Duration::from_secs(60);
    world.settle();
    world.pass(Duration::from_secs(10));
    assert!(world.dialer.over().is_none() && world.listener.over().is_none());
}

#[test]
fn a_client_that_moves_is_followed_once_it_nominates_its_new_address() {
    let mut world = World::connected(Version::V2);
    world.dialer_address = "192.0.2.9:9".parse().unwrap();
    world.pass(PROBE_INTERVAL * 2);
    assert_eq!(world.listener.remote(), world.dialer_address);
    assert!(world.dialer.over().is_none());
}

#[test]
fn goodbye_is_heard_at_once() {
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
fn strangers_datagrams_change_nothing() {
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
