//! Peers that cannot be dialled.

use libp2p::Multiaddr;
use webmesh_protocol::limits::PUSH_BYTES;

use super::gossip::claim;
use super::*;
use crate::net::is_public;

/// A relay on loopback, and its address.
async fn relay() -> (Peer, Multiaddr) {
    let relay = Peer::with(NetConfig { relay_server: true, ..quiet() }).await;
    let address = relay.net.addresses().into_iter().find(|a| a.to_string().contains("tcp")).unwrap();
    (relay, address)
}

/// A peer that nobody can dial.
async fn hidden(relay: &Multiaddr) -> Peer {
    Peer::with(NetConfig { listen: vec![], bootstrap: vec![relay.clone()], ..quiet() }).await
}

/// Waits until `peer` is reached through a relay, and returns that address.
async fn circuit(peer: &mut Peer) -> Multiaddr {
    peer.wait(|event| match event {
        NetEvent::Listening { address } if address.to_string().contains("p2p-circuit") => Some(address),
        _ => None,
    })
    .await
}

/// Waits until identify has run with one of the peers that `peer` is connected to.
async fn identified(peer: &Peer) {
    let agent = async {
        while peer.net.peers().iter().all(|link| link.agent.is_none()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, agent).await.expect("a neighbour says what it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_listen_is_reached_through_its_bootstrap_peer() {
    let (relay, address) = relay().await;
    let mut hidden = hidden(&address).await;
    let at = circuit(&mut hidden).await;
    assert!(hidden.net.told_addresses().contains(&at), "its adverts say where it is");
    let mut client = Peer::start().await;
    client.net.add_address(hidden.key(), vec![at]).await;
    let key = hidden.key();
    let server = tokio::spawn(async move {
        while let Some(event) = hidden.events.recv().await {
            if let NetEvent::Request { token, request, body, .. } = event {
                let answer = match request {
                    Request::Pull { .. } => Response::Ok,
                    _ => Response::Body,
                };
                hidden.net.respond(token, answer, vec![body]);
            }
        }
    });
    assert_eq!(client.ask(key, compile("x"), vec![]).await.unwrap().0, Response::Body);
    // What a task pushes at a time, on every bulk stream; then the maximum output of a task.
    for (id, len) in (0..16).map(|id| (id, PUSH_BYTES)).chain([(16, 64 * PUSH_BYTES)]) {
        client.net.request(RequestId(id), key, pull(), vec![body(len)]);
    }
    let mut answered = 0;
    while answered < 17 {
        let (outcome, len) = client
            .wait(|event| match event {
                NetEvent::Response { id, outcome } => {
                    Some((outcome, if id.0 == 16 { 64 * PUSH_BYTES } else { PUSH_BYTES }))
                }
                _ => None,
            })
            .await;
        let (response, received) = outcome.unwrap();
        assert_eq!(response, Response::Ok);
        assert!(received == body(len), "what was pushed comes back as it was");
        answered += 1;
    }
    let link = client.net.peers().into_iter().find(|link| link.peer == key).unwrap();
    assert!(link.address.to_string().contains("p2p-circuit"), "{link:?}");
    drop((relay, server));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hidden_peers_gossip_and_ask_each_other() {
    let (relay, address) = relay().await;
    let (mut one, mut two) = (hidden(&address).await, hidden(&address).await);
    let at = circuit(&mut one).await;
    circuit(&mut two).await;
    two.net.add_address(one.key(), vec![at]).await;
    let (topic, word) = claim(7);
    one.net.subscribe(topic, true).await;
    let key = one.key();
    two.net.request(RequestId(1), key, Request::Peers, vec![]);
    let token = one.wait(|e| if let NetEvent::Request { token, .. } = e { Some(token) } else { None }).await;
    one.net.respond(token, Response::Ok, vec![]);
    assert_eq!(two.answer(RequestId(1)).await.unwrap().0, Response::Ok);
    two.net.publish(topic, &word).await;
    let received = one.wait(|e| if let NetEvent::Gossip { message, .. } = e { Some(message) } else { None }).await;
    assert_eq!(received, word);
    drop(relay);
}

#[tokio::test]
async fn a_relayed_connection_is_followed_by_a_direct_one() {
    let (relay, address) = relay().await;
    let mut relayed = Peer::with(NetConfig { relayed: true, bootstrap: vec![address], ..quiet() }).await;
    let at = circuit(&mut relayed).await;
    let direct = relayed.net.addresses().into_iter().filter(|a| !a.to_string().contains("p2p-circuit"));
    let mut client = Peer::start().await;
    client.net.add_address(relayed.key(), vec![at]).await;
    let (key, direct) = (relayed.key(), direct.collect::<Vec<_>>());
    let relayed = relayed.echo();
    client.ask(key, compile("x"), vec![]).await.unwrap();
    client.net.add_address(key, direct).await;
    // Shut down the relay: a relayed connection would end with it.
    let direct = async {
        while client.net.peers().iter().any(|link| link.peer == key && link.address.to_string().contains("p2p-circuit"))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, direct).await.expect("it is dialled where it listens");
    relay.net.shutdown().await;
    assert_eq!(client.ask(key, compile("x"), vec![body(100)]).await.unwrap().1, body(100));
    drop(relayed);
}

#[tokio::test]
async fn a_relay_that_comes_back_is_used_again() {
    let (relay, address) = relay().await;
    let mut hidden = hidden(&address).await;
    let at = circuit(&mut hidden).await;
    relay.net.disconnect(hidden.key()).await;
    hidden
        .wait(|e| if let NetEvent::NotListening { address } = e { (address == at).then_some(()) } else { None })
        .await;
    // It is a bootstrap peer: dialled again, and asked again to relay.
    assert_eq!(circuit(&mut hidden).await, at);
}

#[tokio::test]
async fn a_peer_without_nat_uses_a_relay_only_if_configured() {
    let (relay, address) = relay().await;
    let mut relayed = Peer::with(NetConfig { relayed: true, bootstrap: vec![address.clone()], ..quiet() }).await;
    circuit(&mut relayed).await;
    let mut open = Peer::with(NetConfig { bootstrap: vec![address], ..quiet() }).await;
    // A relay would have been asked by now: identify runs before anything else on a new connection.
    let (key, relay) = (relay.key(), relay.echo());
    open.wait(|e| if let NetEvent::Connected { peer, .. } = e { (peer == key).then_some(()) } else { None }).await;
    identified(&open).await;
    assert_eq!(open.ask(relay.peer(), Request::Peers, vec![]).await.unwrap().0, Response::Ok);
    assert!(!open.net.addresses().iter().any(|a| a.to_string().contains("p2p-circuit")));
}

#[tokio::test]
async fn a_peer_with_a_forwarded_port_publishes_it_and_uses_no_relay() {
    let (relay, address) = relay().await;
    let external: Multiaddr = "/ip4/127.0.0.9/tcp/4001".parse().unwrap();
    let config = NetConfig { listen: vec![], external: vec![external.clone()], bootstrap: vec![address], ..quiet() };
    let mut peer = Peer::with(config).await;
    let full = external.with_p2p(crate::net::peer_id_of(&peer.key())).unwrap();
    let (key, relay) = (relay.key(), relay.echo());
    peer.wait(|e| if let NetEvent::Connected { peer, .. } = e { (peer == key).then_some(()) } else { None }).await;
    identified(&peer).await;
    assert_eq!(peer.ask(relay.peer(), Request::Peers, vec![]).await.unwrap().0, Response::Ok);
    assert_eq!(peer.net.told_addresses(), [full]);
}

#[tokio::test]
async fn an_external_address_that_nobody_can_dial_is_refused() {
    for (address, why) in [
        ("/ip4/0.0.0.0/tcp/4001", "not begin with the address of a machine"),
        ("/ip4/203.0.113.5", "no port"),
        ("/ip4/203.0.113.5/tcp/0", "no port"),
        ("/ip4/203.0.113.5/tcp/1/p2p/12D3KooWAtkZQBtPvmRSTUe1kXnPGV4tHA4ZhjBVtaHHuXcM4H5p", "another peer"),
    ] {
        let config = NetConfig { external: vec![address.parse().unwrap()], ..quiet() };
        let error = Net::start(config).await.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(address), "{error}");
    }
}

#[tokio::test]
async fn local_addresses_are_published_only_in_a_local_mesh() {
    let home = Peer::start().await;
    assert!(!home.net.told_addresses().is_empty(), "a mesh of one home has no other addresses");
    // Public, and without a transport: nothing leaves this machine.
    let bootstrap = vec!["/ip4/203.0.113.9/udp/4001".parse().unwrap()];
    let mut member = Peer::with(NetConfig { bootstrap, ..quiet() }).await;
    assert!(member.net.told_addresses().is_empty(), "{:?}", member.net.told_addresses());
    // Identify does not send it either: the other side has no address to dial.
    let (key, mut home) = (member.key(), home);
    member.dial(&home, "tcp").await;
    identified(&home).await;
    assert!(!member.net.addresses().iter().any(is_public));
    member.net.disconnect(home.key()).await;
    home.wait(|e| if let NetEvent::Disconnected { .. } = e { Some(()) } else { None }).await;
    assert_eq!(home.ask(key, Request::Peers, vec![]).await.unwrap_err(), RequestError::Unreachable);
}
