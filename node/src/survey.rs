//! What a peer finds out about its mesh by asking.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use webmesh_protocol::PeerKey;
use webmesh_protocol::message::{PeerStatus, Request, Response};

use crate::driver::Node;
use crate::platform;

/// A neighbour is given so long to tell whom it knows.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(5);

/// The connected peers that have introduced themselves.
pub async fn connected(node: &Node) -> Vec<PeerKey> {
    node.members().await.into_iter().filter(|(_, _, on)| *on).map(|(peer, _, _)| peer).collect()
}

/// The peers that this one knows, then those that its neighbours know. Afterwards, each can be asked something.
pub async fn known_peers(node: &Node) -> Vec<PeerStatus> {
    let mut peers: Vec<_> = node.members().await;
    peers.sort_by_key(|(_, _, connected)| !connected);
    let mut peers: Vec<_> =
        peers.into_iter().map(|(peer, advert, connected)| PeerStatus { peer, advert, connected }).collect();
    let mut seen: BTreeSet<PeerKey> = peers.iter().map(|p| p.peer).collect();
    seen.insert(node.net().peer());
    let ask = |neighbour| platform::timeout(NEIGHBOUR_PATIENCE, node.ask(neighbour, Request::Peers, Bytes::new()));
    // All at once: one that is silent keeps nobody waiting for the others.
    for answer in join_all(connected(node).await.into_iter().map(ask)).await {
        let Some(Ok((Response::Peers(more), _))) = answer else { continue };
        for status in more {
            if seen.insert(status.peer) {
                let addresses = status.advert.addresses.iter().filter_map(|a| a.parse().ok()).collect();
                node.net().add_address(status.peer, addresses).await;
                peers.push(PeerStatus { connected: false, ..status });
            }
        }
    }
    peers
}

/// The peers with a compiler that this one knows, the connected ones first.
pub async fn near_compilers(node: &Node) -> Vec<PeerKey> {
    let mut near = node.members().await;
    near.sort_by_key(|(_, _, connected)| !connected);
    near.into_iter().filter(|(_, advert, _)| advert.roles.compiler).map(|(peer, ..)| peer).collect()
}

/// The same, and behind them those that the neighbours know.
pub async fn compilers(node: &Node) -> Vec<PeerKey> {
    let known = known_peers(node).await.into_iter();
    known.filter(|p| p.advert.roles.compiler).map(|p| p.peer).collect()
}

/// How many peers that work on jobs are known, this one not counted.
pub async fn workers(node: &Node) -> u32 {
    node.members().await.iter().filter(|(_, advert, _)| advert.roles.worker).count() as u32
}
