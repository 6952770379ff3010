//! Requests between two peers.

use webmesh_protocol::io::RequestError;

use super::*;
use crate::net::limits;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_size_arrive_unchanged_over_every_transport() {
    for kind in ["tcp", "quic"] {
        let server = Peer::start().await;
        let mut client = Peer::start().await;
        client.dial(&server, kind).await;
        let server = server.echo();
        for len in [0, 1, 20_000, 40 << 20] {
            let sent = body(len);
            let (response, received) = client.ask(server.peer(), pull(), vec![sent.clone()]).await.unwrap();
            assert_eq!(response, Response::Ok);
            assert!(received == sent, "{len} bytes over {kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_longer_than_its_request_allows_is_refused() {
    let server = Peer::start().await;
    let mut client = Peer::start().await;
    client.dial(&server, "tcp").await;
    let server = server.echo();
    for (question, most) in [(Request::Jobs, 0), (compile("x"), webmesh_protocol::limits::MODULE_BYTES)] {
        let refused = client.ask(server.peer(), question, vec![body(most + 1)]).await.unwrap_err();
        let RequestError::Protocol(why) = refused else { panic!("{refused:?}") };
        assert!(why.contains(&format!("at most {most} are accepted")), "{why}");
    }
    assert_eq!(client.ask(server.peer(), Request::Peers, vec![]).await.unwrap().0, Response::Ok, "and they go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_body_arrive_as_one_body() {
    let server = Peer::start().await;
    let mut client = Peer::start().await;
    client.dial(&server, "tcp").await;
    let server = server.echo();
    let parts = vec![body(3), Bytes::new(), body(100_000), body(1)];
    let (_, received) = client.ask(server.peer(), compile("x"), parts.clone()).await.unwrap();
    assert!(received == parts.concat());
}

#[tokio::test]
async fn a_request_comes_from_the_key_that_its_connection_proves() {
    let mut server = Peer::start().await;
    let mut client = Peer::start().await;
    client.dial(&server, "tcp").await;
    client.net.request(RequestId(7), server.key(), Request::Jobs, vec![]);
    let mut known = false;
    let (from, token) = server
        .wait(|event| match event {
            NetEvent::Connected { .. } => {
                known = true;
                None
            }
            NetEvent::Request { from, token, request: Request::Jobs, .. } => Some((from, token)),
            _ => None,
        })
        .await;
    assert_eq!(from, client.key());
    assert!(known, "the connection is told of before its first request");
    server.net.respond(token, Response::Jobs(vec![]), vec![]);
    assert_eq!(client.answer(RequestId(7)).await.unwrap().0, Response::Jobs(vec![]));
}

#[tokio::test]
async fn a_request_dials_a_peer_at_its_known_address() {
    let server = Peer::start().await;
    let mut client = Peer::start().await;
    client.net.add_address(server.key(), server.net.addresses()).await;
    let server = server.echo();
    assert_eq!(client.ask(server.peer(), Request::Peers, vec![]).await.unwrap().0, Response::Ok);
}

#[tokio::test]
async fn a_peer_without_known_addresses_is_unreachable() {
    let mut client = Peer::start().await;
    let nobody = identity::generate().public();
    assert_eq!(client.ask(nobody, Request::Peers, vec![]).await.unwrap_err(), RequestError::Unreachable);
}

#[tokio::test]
async fn an_address_is_learnt_from_a_third_peer_by_the_dht() {
    let hub = Peer::start().await;
    let (mut one, two) = (Peer::start().await, Peer::start().await);
    let mut two = two;
    two.dial(&hub, "tcp").await;
    one.dial(&hub, "tcp").await;
    let (wanted, hub) = (two.key(), hub);
    // The hub knows the address of `two` once identify has run, as its answer to a lookup shows.
    let two = two.echo();
    let outcome = tokio::time::timeout(PATIENCE, async {
        loop {
            match one.ask(wanted, Request::Peers, vec![]).await {
                Err(RequestError::Unreachable) => {}
                other => return other,
            }
        }
    });
    assert_eq!(outcome.await.unwrap().unwrap().0, Response::Ok);
    drop((hub, two));
}

#[tokio::test]
async fn a_request_to_oneself_comes_back_without_a_network() {
    let mut me = Peer::start().await;
    let key = me.key();
    me.net.request(RequestId(3), key, compile("self"), vec![body(2), body(3)]);
    let (from, token, received) = me
        .wait(|event| match event {
            NetEvent::Request { from, token, body, .. } => Some((from, token, body)),
            _ => None,
        })
        .await;
    assert_eq!((from, received), (key, Bytes::from([body(2), body(3)].concat())));
    me.net.respond(token, Response::Missing, vec![body(5)]);
    assert_eq!(me.answer(RequestId(3)).await.unwrap(), (Response::Missing, body(5)));
    assert_eq!(me.net.counters().bytes_out, 0);
}

#[tokio::test]
async fn a_blob_with_the_wrong_hash_is_refused() {
    let server = Peer::start().await;
    let mut client = Peer::start().await;
    client.dial(&server, "tcp").await;
    let (key, good) = (server.key(), body(300_000));
    let hash = Hash::of(&good);
    let mut server = server;
    tokio::spawn(async move {
        let mut bodies = [body(300_000), body(299_999)].into_iter();
        while let Some(event) = server.events.recv().await {
            if let NetEvent::Request { token, .. } = event {
                server.net.respond(token, Response::Body, vec![bodies.next().unwrap()]);
            }
        }
    });
    assert_eq!(client.ask(key, Request::Blob { hash }, vec![]).await.unwrap(), (Response::Body, good));
    assert_eq!(client.ask(key, Request::Blob { hash }, vec![]).await.unwrap_err(), RequestError::Corrupt);
}

#[tokio::test]
async fn many_exchanges_share_few_streams() {
    let server = Peer::start().await;
    let mut client = Peer::start().await;
    client.dial(&server, "tcp").await;
    let server = server.echo();
    for id in 0..500 {
        client.net.request(RequestId(id), server.peer(), Request::Peers, vec![]);
    }
    let mut left = 500;
    client
        .wait(|event| match event {
            NetEvent::Response { outcome, .. } => {
                outcome.unwrap();
                left -= 1;
                (left == 0).then_some(())
            }
            _ => None,
        })
        .await;
    assert!(client.net.counters().streams_opened <= limits::STREAMS_TO_PEER as u64);
}

#[tokio::test]
async fn a_dead_stream_in_the_pool_is_replaced_unnoticed() {
    let server = Peer::start().await;
    let mut client = Peer::start().await;
    client.dial(&server, "tcp").await;
    let address = server.net.addresses();
    let mut server = server;
    // The first exchange leaves a stream in the pool; the server closes it by leaving the second unanswered and
    // dropping its connection.
    client.net.request(RequestId(1), server.key(), Request::Peers, vec![]);
    let token = server.wait(|e| if let NetEvent::Request { token, .. } = e { Some(token) } else { None }).await;
    server.net.respond(token, Response::Ok, vec![]);
    client.answer(RequestId(1)).await.unwrap();
    client.net.add_address(server.key(), address).await;
    client.net.request(RequestId(2), server.key(), Request::Peers, vec![]);
    server.wait(|e| if let NetEvent::Request { .. } = e { Some(()) } else { None }).await;
    server.net.disconnect(client.key()).await;
    // Sent again over a new connection.
    let token = server.wait(|e| if let NetEvent::Request { token, .. } = e { Some(token) } else { None }).await;
    server.net.respond(token, Response::Missing, vec![]);
    assert_eq!(client.answer(RequestId(2)).await.unwrap().0, Response::Missing);
    assert_eq!(client.net.counters().streams_opened, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_does_not_read_slows_its_peers_within_its_memory_limit() {
    const BUDGET: usize = 16 << 20;
    const LEN: usize = 4 << 20;
    const EACH: u64 = 20;
    let mut server = Peer::with(NetConfig { body_budget: BUDGET, ..quiet() }).await;
    let mut clients = vec![Peer::start().await, Peer::start().await, Peer::start().await];
    for client in &mut clients {
        client.dial(&server, "tcp").await;
        (0..EACH).for_each(|id| client.net.request(RequestId(id), server.key(), compile("x"), vec![body(LEN)]));
    }
    // Receive without answering, until nothing more arrives: the budget is spent.
    let mut tokens = Vec::new();
    while tokens.len() < BUDGET / LEN - 1 {
        tokens.push(server.wait(|e| if let NetEvent::Request { token, .. } = e { Some(token) } else { None }).await);
    }
    let held = server.net.counters().budget_held as usize;
    assert!(held <= BUDGET + 64 * limits::SMALL_FRAME, "{held} bytes are held");
    // When they are answered one by one, everything gets through, and the bound holds all the while.
    let mut answered = 0;
    let all = EACH as usize * clients.len();
    while answered < all {
        match tokens.pop() {
            Some(token) => {
                server.net.respond(token, Response::Ok, vec![]);
                answered += 1;
            }
            None => tokens
                .push(server.wait(|e| if let NetEvent::Request { token, .. } = e { Some(token) } else { None }).await),
        }
        assert!(server.net.counters().budget_held as usize <= BUDGET + 64 * limits::SMALL_FRAME);
    }
    for client in &mut clients {
        let mut left = EACH;
        client
            .wait(|event| match event {
                NetEvent::Response { outcome, .. } => {
                    outcome.unwrap();
                    left -= 1;
                    (left == 0).then_some(())
                }
                _ => None,
            })
            .await;
    }
}

#[tokio::test]
async fn requests_beyond_the_bound_are_answered_busy() {
    let mut me = Peer::start().await;
    let (key, max) = (me.key(), webmesh_protocol::limits::REQUESTS_OF_PEER as u64);
    (0..=max).for_each(|id| me.net.request(RequestId(id), key, Request::Peers, vec![]));
    assert_eq!(me.answer(RequestId(max)).await.unwrap().0, Response::Busy);
}

#[tokio::test]
async fn a_goodbye_is_heard_before_the_connection_ends() {
    let mut stays = Peer::start().await;
    let mut leaves = Peer::start().await;
    leaves.dial(&stays, "quic").await;
    let key = leaves.key();
    let left = tokio::spawn(async move {
        leaves.net.shutdown().await;
        while leaves.events.recv().await.is_some() {}
    });
    let token = stays
        .wait(|e| match e {
            NetEvent::Request { from, token, request: Request::Goodbye, .. } if from == key => Some(token),
            NetEvent::Disconnected { .. } => panic!("it left without a goodbye"),
            _ => None,
        })
        .await;
    stays.net.respond(token, Response::Ok, vec![]);
    stays.wait(|e| if let NetEvent::Disconnected { peer } = e { Some(peer == key) } else { None }).await;
    left.await.unwrap();
}
