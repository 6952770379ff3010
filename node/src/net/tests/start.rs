//! Starting, restarting, and discovery.

use std::collections::BTreeSet;

use super::*;
use crate::net::NetError;

#[tokio::test]
async fn a_port_in_use_is_named_with_its_remedy() {
    for kind in ["tcp", "quic"] {
        let first = Peer::start().await;
        let mut address = first.net.addresses().into_iter().find(|a| a.to_string().contains(kind)).unwrap();
        address.pop();
        let error = Net::start(NetConfig { listen: vec![address.clone()], ..quiet() }).await.unwrap_err();
        assert!(matches!(&error, NetError::PortInUse { address: named } if *named == address), "{error:?}");
        assert!(error.to_string().contains("--listen"));
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_named() {
    // 192.0.2.0/24 is reserved for documentation: no machine has it. The others are not addresses to listen on.
    for address in ["/ip4/192.0.2.1/tcp/0", "/dns4/example.org/tcp/1", "/memory/1"] {
        let address: libp2p::Multiaddr = address.parse().unwrap();
        let error = Net::start(NetConfig { listen: vec![address.clone()], ..quiet() }).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(matches!(error, NetError::Listen { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named() {
    let peer = Peer::start().await;
    let gone = Peer::start().await;
    let address = gone.net.addresses().into_iter().find(|a| a.to_string().contains("tcp")).unwrap();
    gone.net.shutdown().await;
    let error = peer.net.dial(address.clone()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()) && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn dialling_a_bootstrap_peer_waits_for_its_pending_dial() {
    let hub = Peer::start().await;
    let address = hub.net.addresses().into_iter().find(|a| a.to_string().contains("tcp")).unwrap();
    let mut peer = Peer::with(NetConfig { bootstrap: vec![address.clone()], ..quiet() }).await;
    assert_eq!(peer.net.dial(address).await.unwrap(), hub.key());
    assert_eq!(peer.net.peers()[0].peer, hub.key(), "the status is updated before waiters are notified");
    peer.wait(|e| if let NetEvent::Connected { peer, .. } = e { Some(peer) } else { None }).await;
    assert_eq!(peer.net.peers().len(), 1);
}

#[tokio::test]
async fn a_dial_answered_by_another_peer_names_it() {
    let (one, two) = (Peer::start().await, Peer::start().await);
    let mut address = two.net.addresses().into_iter().find(|a| a.to_string().contains("tcp")).unwrap();
    address.pop();
    let wrong = address.with_p2p(crate::net::peer_id_of(&identity::generate().public())).unwrap();
    let error = one.net.dial(wrong).await.unwrap_err().to_string();
    assert!(error.contains(&crate::net::peer_id_of(&two.key()).to_string()), "{error}");
}

#[tokio::test]
async fn webrtc_addresses_stay_the_same_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let key = identity::load_or_create(folder.path()).unwrap();
    let hashes = async |key| {
        let config = NetConfig {
            listen: vec!["/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap()],
            data_dir: Some(folder.path().to_owned()),
            identity: identity::to_libp2p(&key),
            ..quiet()
        };
        let peer = Peer::with(config).await;
        let ends = |a: String| a[a.find("/certhash/").unwrap()..].to_owned();
        let ends: BTreeSet<_> = peer.net.addresses().iter().map(|a| ends(a.to_string())).collect();
        peer.net.shutdown().await;
        assert_eq!(ends.len(), 1);
        ends
    };
    let first = hashes(key).await;
    // The peer's id is part of the comparison: the identity stays too.
    assert_eq!(hashes(identity::load_or_create(folder.path()).unwrap()).await, first);
}

#[tokio::test]
async fn a_node_with_the_default_addresses_listens_on_every_transport() {
    let config = NetConfig { mdns: false, ..NetConfig::new(identity::to_libp2p(&identity::generate())) };
    let peer = Peer::with(config).await;
    let addresses: Vec<_> = peer.net.addresses().iter().map(ToString::to_string).collect();
    for kind in ["/tcp/", "/quic-v1/p2p/", "/webrtc-direct/certhash/"] {
        assert!(addresses.iter().any(|a| a.starts_with("/ip4/127.0.0.1/") && a.contains(kind)), "{addresses:?}");
    }
}

#[tokio::test]
async fn a_damaged_identity_is_named_and_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("identity.key"), "nonsense").unwrap();
    let error = identity::load_or_create(folder.path()).unwrap_err().to_string();
    assert!(error.contains("identity.key") && error.contains("delete"), "{error}");
    assert_eq!(std::fs::read(folder.path().join("identity.key")).unwrap(), b"nonsense");
}

#[tokio::test]
async fn a_restarted_peer_finds_its_mesh_without_a_bootstrap_node() {
    let folder = tempfile::tempdir().unwrap();
    let mut stays = Peer::start().await;
    let config = NetConfig { data_dir: Some(folder.path().to_owned()), wanted_peers: 8, ..quiet() };
    let mut first = Peer::with(config.clone()).await;
    first.dial(&stays, "tcp").await;
    first.net.shutdown().await;
    while first.events.recv().await.is_some() {}
    let saved = std::fs::read_to_string(folder.path().join("peers.json")).unwrap();
    assert!(saved.contains(&crate::net::peer_id_of(&stays.key()).to_string()));
    stays.wait(|e| if let NetEvent::Disconnected { .. } = e { Some(()) } else { None }).await;
    let mut again = Peer::with(config).await;
    let found = again.wait(|e| if let NetEvent::Connected { peer, .. } = e { Some(peer) } else { None }).await;
    assert_eq!(found, stays.key());
}

#[tokio::test]
async fn a_bootstrap_peer_is_dialled_until_it_is_there() {
    let key = identity::to_libp2p(&identity::generate());
    let late = Peer::with(NetConfig { identity: key.clone(), ..quiet() }).await;
    let address = late.net.addresses().into_iter().find(|a| a.to_string().contains("tcp")).unwrap();
    late.net.shutdown().await;
    let mut early = Peer::with(NetConfig { bootstrap: vec![address.clone()], ..quiet() }).await;
    let mut listen = address;
    listen.pop();
    let late = Peer::with(NetConfig { identity: key, listen: vec![listen], ..quiet() }).await;
    let found = early.wait(|e| if let NetEvent::Connected { peer, .. } = e { Some(peer) } else { None }).await;
    assert_eq!(found, late.key());
    assert_eq!(early.net.peers().len(), 1);
}

#[tokio::test]
async fn peers_of_one_bootstrap_node_find_each_other() {
    let hub = Peer::start().await;
    let hub_address = hub.net.addresses();
    let mut peers = Vec::new();
    for _ in 0..4 {
        let config = NetConfig { bootstrap: hub_address[..1].to_vec(), wanted_peers: 8, ..quiet() };
        peers.push(Peer::with(config).await);
    }
    for peer in &mut peers {
        let mut met = BTreeSet::new();
        peer.wait(|e| match e {
            NetEvent::Connected { peer, .. } => {
                met.insert(peer);
                (met.len() == 4).then_some(())
            }
            _ => None,
        })
        .await;
    }
}
