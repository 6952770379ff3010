//! Strangers that take places, or name addresses that are no peer's.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use libp2p::Multiaddr;
use tokio::net::{TcpListener, TcpStream};

use super::namespace::within;
use super::*;
use crate::net::limits::{DIALS_IN_ALL, DIALS_OF_PORT, PENDING_HANDSHAKES};

/// The port of the first TCP address.
fn tcp_port(net: &Net) -> u16 {
    let port = |address: &Multiaddr| {
        address
            .iter()
            .find_map(|part| if let libp2p::multiaddr::Protocol::Tcp(port) = part { Some(port) } else { None })
    };
    net.addresses().iter().find_map(port).expect("it listens on TCP")
}

#[tokio::test]
async fn a_port_that_is_no_peers_is_dialled_a_few_times_however_many_peers_name_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let named: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut peer = Peer::start().await;
    for _ in 0..30 {
        let invented = identity::generate().public();
        peer.net.add_address(invented, vec![named.clone()]).await;
        assert_eq!(peer.ask(invented, Request::Peers, vec![]).await.unwrap_err(), RequestError::Unreachable);
    }
    // One more may have come while the test ran.
    let accepted = accepted.load(Ordering::Relaxed);
    assert!((1..=DIALS_OF_PORT as usize + 1).contains(&accepted), "{accepted} connections");
}

#[tokio::test]
async fn silent_sockets_keep_no_newcomer_out() {
    let peer = Peer::start().await;
    let mut silent = Vec::new();
    for _ in 0..2 * PENDING_HANDSHAKES {
        silent.push(TcpStream::connect(("127.0.0.1", tcp_port(&peer.net))).await.unwrap());
    }
    let mut newcomer = Peer::start().await;
    newcomer.dial(&peer, "tcp").await;
}

#[tokio::test]
async fn idle_identities_make_room_for_a_newcomer() {
    let mut peer = Peer::with(NetConfig { incoming_places: 4, ..quiet() }).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut stranger = Peer::start().await;
        stranger.dial(&peer, "tcp").await;
        strangers.push(stranger);
    }
    let oldest = strangers[0].key();
    peer.wait(|e| if let NetEvent::Disconnected { peer } = e { (peer == oldest).then_some(()) } else { None }).await;
    let mut newcomer = Peer::start().await;
    newcomer.dial(&peer, "tcp").await;
    let newcomer = newcomer.key();
    peer.wait(|e| if let NetEvent::Connected { peer, .. } = e { (peer == newcomer).then_some(()) } else { None }).await;
}

#[tokio::test]
async fn fifty_identities_of_one_address_keep_no_peer_of_another_network_out() {
    const PLACES: usize = 8;
    const STRANGERS: usize = 50;
    let name = "net::tests::places::fifty_identities_of_one_address_keep_no_peer_of_another_network_out";
    if !within(name, &["10.77.1.1/24", "10.77.2.1/24"]) {
        return;
    }
    let listen = ["/ip4/10.77.1.1/tcp/0", "/ip4/10.77.2.1/tcp/0"].map(|address| address.parse().unwrap());
    let mut peer = Peer::with(NetConfig { listen: listen.into(), incoming_places: PLACES, ..quiet() }).await;
    let mut honest = Peer::start().await;
    honest.dial(&peer, "10.77.2.1").await;
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        let mut stranger = Peer::start().await;
        stranger.dial(&peer, "10.77.1.1").await;
        strangers.push(stranger);
    }
    let mut newcomer = Peer::start().await;
    newcomer.dial(&peer, "10.77.2.1").await;
    let (mut connected, mut gone) = (Vec::new(), Vec::new());
    // A quarter of the places is reserved.
    while connected.len() < STRANGERS + 2 || gone.len() < STRANGERS + 2 - PLACES * 3 / 4 {
        match peer.wait(Some).await {
            NetEvent::Connected { peer, .. } => connected.push(peer),
            NetEvent::Disconnected { peer } => gone.push(peer),
            _ => {}
        }
    }
    for friend in [&honest, &newcomer] {
        assert!(connected.contains(&friend.key()) && !gone.contains(&friend.key()));
    }
}

/// TCP connections that were opened within the network namespace.
fn opened() -> u32 {
    let counters = std::fs::read_to_string("/proc/self/net/snmp").unwrap();
    let mut tcp = counters.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let place = tcp.next().unwrap().position(|name| name == "ActiveOpens").unwrap();
    tcp.next().unwrap().nth(place).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_addresses_that_are_no_peers_no_more_are_dialled_than_allowed() {
    const NAMED: u64 = 1000;
    let name = "net::tests::places::of_a_thousand_addresses_that_are_no_peers_no_more_are_dialled_than_allowed";
    if !within(name, &["203.0.112.1/21"]) {
        return;
    }
    let begun = Instant::now();
    let mut peer = Peer::with(NetConfig { wanted_peers: 32, ..quiet() }).await;
    for n in 0..NAMED {
        let invented = identity::generate().public();
        let address = format!("/ip4/203.0.{}.{}/tcp/4001", 112 + n / 250, 1 + n % 250).parse().unwrap();
        peer.net.add_address(invented, vec![address]).await;
        peer.net.request(RequestId(n), invented, Request::Peers, vec![]);
    }
    for _ in 0..NAMED {
        let answer = |event| if let NetEvent::Response { outcome, .. } = event { Some(outcome) } else { None };
        peer.wait(answer).await.unwrap_err();
    }
    let (opened, minutes) = (opened(), begun.elapsed().as_secs_f64() / 60.0);
    let allowed = f64::from(DIALS_IN_ALL) * (1.0 + minutes);
    assert!(opened > 0 && f64::from(opened) <= allowed, "{opened} connections");
}

#[tokio::test]
async fn local_addresses_that_a_peer_outside_names_are_not_dialled() {
    let name = "net::tests::places::local_addresses_that_a_peer_outside_names_are_not_dialled";
    if !within(name, &["203.0.113.1/24", "192.168.7.1/24"]) {
        return;
    }
    let local = std::net::TcpListener::bind("192.168.7.1:0").unwrap();
    local.set_nonblocking(true).unwrap();
    let named: Multiaddr = format!("/ip4/192.168.7.1/tcp/{}", local.local_addr().unwrap().port()).parse().unwrap();
    let listen = vec!["/ip4/203.0.113.1/tcp/0".parse().unwrap()];
    let mut peer = Peer::with(NetConfig { listen, ..quiet() }).await;
    let mut stranger = Peer::with(NetConfig { external: vec![named.clone()], ..quiet() }).await;
    stranger.dial(&peer, "203.0.113.1").await;
    let outside = stranger.key();
    peer.wait(|e| if let NetEvent::Connected { peer, .. } = e { (peer == outside).then_some(()) } else { None }).await;
    // However it announces them, they get into the address book.
    let invented = identity::generate().public();
    for peer_named in [invented, outside] {
        peer.net.add_address(peer_named, vec![named.clone()]).await;
    }
    assert_eq!(peer.ask(invented, Request::Peers, vec![]).await.unwrap_err(), RequestError::Unreachable);
    peer.net.disconnect(outside).await;
    peer.wait(|e| if let NetEvent::Disconnected { peer } = e { (peer == outside).then_some(()) } else { None }).await;
    assert_eq!(peer.ask(outside, Request::Peers, vec![]).await.unwrap_err(), RequestError::Unreachable);
    assert_eq!(local.accept().map(|_| ()).unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came");
    std::net::TcpStream::connect(local.local_addr().unwrap()).expect("somebody could have come");
}
