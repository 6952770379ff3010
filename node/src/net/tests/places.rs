//! Strangers that take places, or name addresses that are no peer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libp2p::Multiaddr;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::limits::{DIALS_OF_PORT, PENDING_HANDSHAKES};

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
    peer.wait(|e| if let NetEvent::Connected { peer } = e { (peer == newcomer).then_some(()) } else { None }).await;
}
