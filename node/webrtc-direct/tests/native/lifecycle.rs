use std::time::{Duration, Instant};

use libp2p_core::multiaddr::Protocol;
use libp2p_core::{Multiaddr, StreamMuxer};
use libp2p_identity::Keypair;
use webmesh_webrtc_direct::address::parse_dial;
use webmesh_webrtc_direct::credentials::Version;
use webmesh_webrtc_direct::{Certificate, Config, Error};

use crate::proxy::{Impairments, Proxy};
use crate::support::*;

/// Below the liveness timeout, with room for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Above the 10 s that the sessions' tests check with simulated time, since a busy machine's timers fire late.
const NOTICED: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_free_sockets_tasks_and_memory() {
    let _quiet = alone().await;
    let mut server = Server::start(config()).await;
    for round in 0..2 {
        let (sockets_before, tasks_before, memory_before) = (sockets(), tasks(), memory());
        for i in 0..100 {
            let (mut dialled, accepted) = server.connect(if i % 2 == 0 { Version::V1 } else { Version::V2 }).await;
            let echo = echo(accepted);
            let mut stream = open(&mut dialled).await;
            assert_eq!(within(ask(&mut stream, b"hello")).await.unwrap(), b"hello");
            drop(dialled);
            within(echo).await.unwrap();
        }
        until("all sockets are closed", || sockets() <= sockets_before).await;
        until("all tasks have ended", || tasks() <= tasks_before).await;
        let growth = memory().saturating_sub(memory_before);
        assert!(round == 0 || growth < 4 << 20, "{growth} bytes more after 100 connections");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_or_dropping_a_connection_ends_the_other_side_at_once() {
    let _quiet = together().await;
    let mut server = Server::start(config()).await;
    for _ in 0..2 {
        let (dialled, mut accepted) = server.connect(Version::V2).await;
        let start = Instant::now();
        drop(dialled);
        assert!(matches!(ended(&mut accepted).await, Error::ClosedByPeer));
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
        let (mut dialled, mut accepted) = server.connect(Version::V2).await;
        within(std::future::poll_fn(|cx| std::pin::Pin::new(&mut accepted).poll_close(cx))).await.unwrap();
        assert!(matches!(ended(&mut dialled).await, Error::ClosedByPeer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_path_ends_both_sides_with_silent() {
    let _quiet = together().await;
    let mut server = Server::start(config()).await;
    let proxy = Proxy::start(&server.address, Impairments::none()).await;
    let (_, mut dialled) = within(dial(&proxy.address, Version::V2)).await.unwrap();
    let mut accepted = server.accept().await;
    proxy.cut();
    let start = Instant::now();
    let (dialled, accepted) = tokio::join!(ended(&mut dialled), ended(&mut accepted));
    assert!(matches!((&dialled, &accepted), (Error::Silent, Error::Silent)), "{dialled:?}, {accepted:?}");
    assert!(start.elapsed() < NOTICED, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_stays_open() {
    let _quiet = together().await;
    let mut server = Server::start(config()).await;
    let (mut dialled, mut accepted) = server.connect(Version::V2).await;
    let idle = Duration::from_secs(12);
    let over = async { tokio::join!(ended(&mut dialled), ended(&mut accepted)) };
    assert!(tokio::time::timeout(idle, over).await.is_err());
    let _echo = echo(accepted);
    assert_eq!(within(ask(&mut open(&mut dialled).await, b"there?")).await.unwrap(), b"there?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_certificate_keeps_the_address() {
    let _quiet = together().await;
    let pem = Certificate::generate().unwrap().to_pem();
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let server = Server::start(Config::default().with_certificate(Certificate::from_pem(&pem).unwrap())).await;
        hashes.extend(server.address.iter().find(|part| matches!(part, Protocol::Certhash(_))).map(Protocol::acquire));
    }
    assert_eq!(hashes[0], hashes[1]);
    let known = Certificate::from_pem(&pem).unwrap().fingerprint().to_multihash();
    assert_eq!(hashes[0], Protocol::Certhash(known));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_each_transport_generates_its_own() {
    let _quiet = together().await;
    let config = Config::default();
    let mut server = Server::start(config.clone()).await;
    let other = Server::start(config).await;
    let certhash = |server: &Server| parse_dial(&server.address).unwrap().fingerprint;
    assert_ne!(certhash(&server), certhash(&other));
    server.connect(Version::V2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_without_versions_fails_with_no_version() {
    let _quiet = together().await;
    let server = Server::start(config()).await;
    let result = within(dial_as(Keypair::generate_ed25519(), &server.address, &[])).await;
    assert!(matches!(result, Err(Error::NoVersion)), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certhash_or_peer_id_in_the_address_fails_the_dial() {
    let _quiet = together().await;
    let server = Server::start(config()).await;
    let elsewhere = Server::start(config()).await;
    let mixed = server.address.iter().take(3).chain(elsewhere.address.iter().skip(3)).collect();
    let result = within(dial(&mixed, Version::V2)).await;
    assert!(matches!(result, Err(Error::Fingerprint)), "{result:?}");
    let result = within(dial(&server.address.clone().with(Protocol::P2p(elsewhere.peer)), Version::V2)).await;
    assert!(matches!(result, Err(Error::WrongPeer(_))), "{result:?}");
    let (peer, _) = within(dial(&server.address.clone().with(Protocol::P2p(server.peer)), Version::V2)).await.unwrap();
    assert_eq!(peer, server.peer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_supports_only_v1_is_reached_after_v2_timed_out() {
    let _quiet = together().await;
    let mut server = Server::start(config()).await;
    let proxy = Proxy::start(&server.address, Impairments { no_v2: true, ..Impairments::none() }).await;
    let keys = Keypair::generate_ed25519();
    let (peer, _dialled) = within(dial_as(keys, &proxy.address, &[Version::V2, Version::V1])).await.unwrap();
    assert_eq!(peer, server.peer);
    server.accept().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_dial_fails_with_no_answer_and_frees_its_socket() {
    let _quiet = alone().await;
    let (_server, address) = unresponsive();
    let before = (sockets(), tasks());
    assert!(before.0 > 0, "the unresponsive server's socket is counted");
    let result = within(dial(&address, Version::V2)).await;
    assert!(matches!(result, Err(Error::NoAnswer)), "{result:?}");
    until_freed(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_dial_frees_its_socket() {
    let _quiet = alone().await;
    let (server, address) = unresponsive();
    let server = tokio::net::UdpSocket::from_std(server).unwrap();
    let before = (sockets(), tasks());
    let mut datagram = [0; 2048];
    // It is dropped when its first datagram has arrived.
    tokio::select! {
        ended = dial(&address, Version::V2) => panic!("it ended without an answer: {:?}", ended.err()),
        first = within(server.recv_from(&mut datagram)) => drop(first.unwrap()),
    }
    until_freed(before).await;
}

/// A socket that receives but never answers, and its address as a server's.
fn unresponsive() -> (std::net::UdpSocket, Multiaddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let certificate = Certificate::generate().unwrap();
    let address = webmesh_webrtc_direct::address::build(socket.local_addr().unwrap(), Some(certificate.fingerprint()));
    (socket, address)
}

/// Waits until no more sockets and tasks are left than before a dial.
async fn until_freed(before: (usize, usize)) {
    until("the dial's socket is closed", || sockets() <= before.0 && tasks() <= before.1).await;
}
