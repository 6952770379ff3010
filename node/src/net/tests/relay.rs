//! Peers that cannot be dialled.

use libp2p::Multiaddr;

use super::*;

/// A relay on loopback, and its address.
async fn relay() -> (Peer, Multiaddr) {
    let relay = Peer::with(NetConfig { relay_server: true, ..quiet() }).await;
    let address = relay.net.addresses().into_iter().find(|a| a.to_string().contains("tcp")).unwrap();
    (relay, address)
}

/// Waits until `peer` is reached through a relay, and says where.
async fn circuit(peer: &mut Peer) -> Multiaddr {
    peer.wait(|event| match event {
        NetEvent::Listening { address } if address.to_string().contains("p2p-circuit") => Some(address),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_peer_that_does_not_listen_is_reached_through_its_bootstrap_peer() {
    let (relay, address) = relay().await;
    let mut hidden = Peer::with(NetConfig { listen: vec![], bootstrap: vec![address], ..quiet() }).await;
    let at = circuit(&mut hidden).await;
    assert!(hidden.net.addresses().contains(&at));
    let mut client = Peer::start().await;
    client.net.add_address(hidden.key(), vec![at]).await;
    let (hidden, sent) = (hidden.echo(), body(1 << 20));
    let (response, received) = client.ask(hidden.peer(), compile("x"), vec![sent.clone()]).await.unwrap();
    assert_eq!(response, Response::Ok);
    assert!(received == sent);
    drop(relay);
}

#[tokio::test]
async fn a_relay_that_comes_back_is_used_again() {
    let (relay, address) = relay().await;
    let mut hidden = Peer::with(NetConfig { listen: vec![], bootstrap: vec![address], ..quiet() }).await;
    let at = circuit(&mut hidden).await;
    relay.net.disconnect(hidden.key()).await;
    hidden
        .wait(|e| if let NetEvent::NotListening { address } = e { (address == at).then_some(()) } else { None })
        .await;
    // It is a bootstrap peer: dialled again, and asked again.
    assert_eq!(circuit(&mut hidden).await, at);
}

#[tokio::test]
async fn a_peer_that_listens_asks_no_relay_unless_it_is_told_to() {
    let (relay, address) = relay().await;
    let mut told = Peer::with(NetConfig { relayed: true, bootstrap: vec![address.clone()], ..quiet() }).await;
    circuit(&mut told).await;
    let mut open = Peer::with(NetConfig { bootstrap: vec![address], ..quiet() }).await;
    // Once it can be asked, it has had its chance: identify runs before anything else on a new connection.
    let (key, relay) = (relay.key(), relay.echo());
    open.wait(|e| if let NetEvent::Connected { peer } = e { (peer == key).then_some(()) } else { None }).await;
    let agent = async {
        while open.net.peers().iter().all(|link| link.agent.is_none()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, agent).await.expect("the relay says what it is");
    assert_eq!(open.ask(relay.peer(), Request::Peers, vec![]).await.unwrap().0, Response::Ok);
    assert!(!open.net.addresses().iter().any(|a| a.to_string().contains("p2p-circuit")));
}
