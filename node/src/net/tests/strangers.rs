//! Peers that violate the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{Stream, StreamProtocol, Swarm, SwarmBuilder, identify, noise, tcp, yamux};
use webmesh_protocol::codec;
use webmesh_protocol::limits::{BODY_BYTES, COMPILE_TIMEOUT, HEAD_BYTES};

use super::*;
use crate::net::behaviour::PROTOCOL_VERSION;
use crate::net::limits;
use crate::net::requests::{PIECE_BYTES, PLAIN};
use crate::net::streams::PROTOCOL;

#[derive(libp2p::swarm::NetworkBehaviour)]
struct Stranger {
    identify: identify::Behaviour,
    streams: libp2p_stream::Behaviour,
}

/// A libp2p peer outside the mesh, which behaves as the test says.
fn stranger(version: &str) -> Swarm<Stranger> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Stranger {
            identify: identify::Behaviour::new(identify::Config::new(version.to_owned(), key.public())),
            streams: libp2p_stream::Behaviour::new(),
        })
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(PATIENCE))
        .build()
}

/// A stream from a stranger to `peer`, with the stranger running.
async fn raw_stream(peer: &Net) -> Stream {
    raw_streams(peer, 1).await.remove(0)
}

/// Several streams of one stranger.
async fn raw_streams(peer: &Net, n: usize) -> Vec<Stream> {
    let mut swarm = stranger(PROTOCOL_VERSION);
    let address = peer.addresses().into_iter().find(|a| a.to_string().contains("tcp")).unwrap();
    let mut control = swarm.behaviour().streams.new_control();
    swarm.dial(address).unwrap();
    let connected =
        async { while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {} };
    tokio::time::timeout(PATIENCE, connected).await.unwrap();
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let id = crate::net::peer_id_of(&peer.peer());
    let mut streams = Vec::new();
    for _ in 0..n {
        streams.push(control.open_stream(id, PROTOCOL).await.unwrap());
    }
    streams
}

fn frame(head_len: u32, body_len: u64, rest: &[u8]) -> Vec<u8> {
    [&head_len.to_le_bytes()[..], &body_len.to_le_bytes(), rest].concat()
}

async fn answer(stream: &mut Stream) -> Response {
    let mut header = [0; 12];
    let read = async {
        stream.read_exact(&mut header).await.unwrap();
        let mut head = vec![0; u32::from_le_bytes(header[..4].try_into().unwrap()) as usize];
        stream.read_exact(&mut head).await.unwrap();
        codec::decode(&head).unwrap()
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer within a minute")
}

/// Checks that others are still served after the violation.
async fn still_serves(peer: &Net) {
    let mut friend = Peer::start().await;
    friend.net.add_address(peer.peer(), peer.addresses()).await;
    assert_eq!(friend.ask(peer.peer(), Request::Peers, vec![]).await.unwrap().0, Response::Ok);
}

#[tokio::test]
async fn a_frame_that_claims_an_impossible_length_is_refused_and_the_peer_lives_on() {
    let peer = Peer::start().await.echo();
    for lie in [
        frame(HEAD_BYTES as u32 + 1, 0, &[]),
        frame(u32::MAX, u64::MAX, &[1; 100]),
        frame(5, BODY_BYTES as u64 + 1, &[]),
        frame(5, limits::REQUEST_BODY_BYTES as u64 + 1, &[]),
    ] {
        let mut stream = raw_stream(&peer).await;
        stream.write_all(&lie).await.unwrap();
        stream.flush().await.unwrap();
        let Response::Refused(why) = answer(&mut stream).await else { panic!("it must be refused") };
        assert!(why.contains("bytes; at most"), "{why}");
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "nothing more is read from this stream");
    }
    still_serves(&peer).await;
}

#[tokio::test]
async fn a_frame_that_ends_before_its_length_costs_no_memory_and_no_service() {
    let peer = Peer::start().await.echo();
    let mut stream = raw_stream(&peer).await;
    let head = codec::encode(&compile("x"));
    stream.write_all(&frame(head.len() as u32, limits::REQUEST_BODY_BYTES as u64, &head)).await.unwrap();
    stream.write_all(&(PIECE_BYTES as u32 | PLAIN).to_le_bytes()).await.unwrap();
    stream.write_all(&[0; 1000]).await.unwrap();
    stream.close().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    still_serves(&peer).await;
    assert_eq!(peer.counters().budget_held, 0);
}

#[tokio::test]
async fn a_head_that_does_not_decode_is_refused_and_the_stream_goes_on() {
    let peer = Peer::start().await.echo();
    let mut stream = raw_stream(&peer).await;
    stream
        .write_all(&frame(5, 3, &[b"\x01\xff\xff\xff\xff", &(3 | PLAIN).to_le_bytes()[..], b"abc"].concat()))
        .await
        .unwrap();
    let Response::Refused(why) = answer(&mut stream).await else { panic!("it must be refused") };
    assert!(why.contains("malformed"), "{why}");
    let head = codec::encode(&Request::Jobs);
    stream.write_all(&frame(head.len() as u32, 0, &head)).await.unwrap();
    assert_eq!(answer(&mut stream).await, Response::Ok);
}

#[tokio::test]
async fn a_peer_whose_requests_have_another_version_is_disconnected() {
    let mut peer = Peer::start().await;
    let mut stream = raw_stream(&peer.net).await;
    let mut head = codec::encode(&Request::Jobs);
    head[0] = 9;
    stream.write_all(&frame(head.len() as u32, 0, &head)).await.unwrap();
    let why = peer.wait(|e| if let NetEvent::Incompatible { why, .. } = e { Some(why) } else { None }).await;
    assert!(why.contains("version 9") && why.contains("speaks 1"), "{why}");
    peer.wait(|e| if let NetEvent::Disconnected { .. } = e { Some(()) } else { None }).await;
}

#[tokio::test]
async fn a_peer_of_another_protocol_version_is_reported_with_both_versions() {
    let mut peer = Peer::start().await;
    let mut swarm = stranger("webmesh/3");
    swarm.dial(peer.net.addresses().into_iter().find(|a| a.to_string().contains("tcp")).unwrap()).unwrap();
    let key = crate::net::peer_key_of(swarm.local_peer_id()).unwrap();
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let (who, why) =
        peer.wait(|e| if let NetEvent::Incompatible { peer, why } = e { Some((peer, why)) } else { None }).await;
    assert_eq!(who, key);
    assert!(why.contains("webmesh/3") && why.contains("webmesh/2"), "{why}");
    peer.wait(|e| if let NetEvent::Disconnected { peer } = e { Some(peer == key) } else { None }).await;
}

#[tokio::test]
async fn a_peer_without_our_protocol_gives_a_readable_error() {
    let mut swarm = stranger(PROTOCOL_VERSION);
    let mut control = swarm.behaviour().streams.new_control();
    let _other = control.accept(StreamProtocol::new("/other/1")).unwrap();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let key = crate::net::peer_key_of(swarm.local_peer_id()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let mut peer = Peer::start().await;
    peer.net.dial(address).await.unwrap();
    let error = peer.ask(key, Request::Jobs, vec![]).await.unwrap_err();
    assert!(matches!(&error, RequestError::Protocol(why) if why.contains("/webmesh/2/request")), "{error:?}");
}

#[tokio::test]
async fn a_request_on_a_dropped_stream_is_sent_again_on_a_new_one() {
    let mut swarm = stranger(PROTOCOL_VERSION);
    let mut incoming = swarm.behaviour().streams.new_control().accept(PROTOCOL).unwrap();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let key = crate::net::peer_key_of(swarm.local_peer_id()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    // Answers the first request on each stream, then closes it.
    tokio::spawn(async move {
        while let Some((_, mut stream)) = incoming.next().await {
            let mut header = [0; 12];
            stream.read_exact(&mut header).await.unwrap();
            let mut head = vec![0; u32::from_le_bytes(header[..4].try_into().unwrap()) as usize];
            stream.read_exact(&mut head).await.unwrap();
            let head = codec::encode(&Response::Ok);
            stream.write_all(&frame(head.len() as u32, 0, &head)).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    let mut peer = Peer::start().await;
    peer.net.dial(address).await.unwrap();
    for _ in 0..5 {
        assert_eq!(peer.ask(key, Request::Jobs, vec![]).await.unwrap().0, Response::Ok);
    }
    assert_eq!(peer.net.counters().streams_opened, 5);
}

/// Sends `request` on each of `streams`.
async fn ask_on(streams: &mut [Stream], request: &Request) {
    let head = codec::encode(request);
    for stream in streams {
        stream.write_all(&frame(head.len() as u32, 0, &head)).await.unwrap();
        stream.flush().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_its_answers_gets_no_more_of_them() {
    const BUDGET: usize = 64 << 20;
    const LEN: usize = 4 << 20;
    const ASKED: usize = 24;
    let peer = Peer::with(NetConfig { body_budget: BUDGET, ..quiet() }).await;
    let (net, blob) = (peer.net.clone(), body(LEN));
    let made = Arc::new(AtomicUsize::new(0));
    let driver = tokio::spawn({
        let (mut peer, made, blob) = (peer, Arc::clone(&made), blob.clone());
        async move {
            while let Some(event) = peer.events.recv().await {
                if let NetEvent::Request { token, .. } = event {
                    made.fetch_add(1, Ordering::SeqCst);
                    peer.net.respond(token, Response::Body, vec![blob.clone()]);
                }
            }
        }
    });
    let mut streams = raw_streams(&net, ASKED).await;
    ask_on(&mut streams, &Request::Blob { hash: hash("pack") }).await;
    // The share fills; those that wait for it are answered "busy" in the end.
    let answers = futures::future::join_all(streams.iter_mut().map(answer)).await;
    let share = BUDGET / limits::REQUESTS_SHARE as usize;
    let bodies = answers.iter().filter(|r| **r == Response::Body).count();
    assert!((1..=share / LEN).contains(&bodies), "{bodies} answers of {LEN} bytes are under way");
    assert_eq!(answers.iter().filter(|r| **r == Response::Busy).count(), ASKED - bodies);
    assert!(net.counters().answers_held as usize <= share, "{} bytes are held", net.counters().answers_held);
    let made = made.load(Ordering::SeqCst);
    assert!(made < ASKED / 2, "{made} answers were made, {bodies} of them for somebody");
    // Others are served meanwhile.
    let mut friend = Peer::start().await;
    friend.net.add_address(net.peer(), net.addresses()).await;
    let blobs = Request::Blob { hash: Hash::of(&blob) };
    assert_eq!(friend.ask(net.peer(), blobs, vec![]).await.unwrap(), (Response::Body, blob));
    drop((streams, driver));
}

#[tokio::test]
async fn work_for_a_peer_that_disconnects_is_abandoned() {
    let mut peer = Peer::start().await;
    let mut streams = raw_streams(&peer.net, 1).await;
    ask_on(&mut streams, &compile("x")).await;
    let token = peer.wait(|e| if let NetEvent::Request { token, .. } = e { Some(token) } else { None }).await;
    let gone = peer.net.abandoned(token);
    drop(streams);
    // Long before it would have given up waiting.
    tokio::time::timeout(COMPILE_TIMEOUT / 2, gone).await.expect("it is noticed");
    still_serves(&peer.echo()).await;
}
