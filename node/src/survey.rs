//! Finds peers and their roles by asking neighbours.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use webmesh_protocol::PeerKey;
use webmesh_protocol::message::{PeerStatus, Request, Response};

use crate::driver::Node;
use crate::platform;

/// Timeout for a neighbour's answer.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(5);

/// The connected peers whose adverts are known.
pub async fn connected(node: &Node) -> Vec<PeerKey> {
    node.members().await.into_iter().filter(|(_, _, on)| *on).map(|(peer, _, _)| peer).collect()
}

/// The peers known here, then those known to the neighbours. Afterwards, all of them can be sent requests.
pub async fn known_peers(node: &Node) -> Vec<PeerStatus> {
    let mut peers: Vec<_> = node.members().await;
    peers.sort_by_key(|(_, _, connected)| !connected);
    let mut peers: Vec<_> =
        peers.into_iter().map(|(peer, advert, connected)| PeerStatus { peer, advert, connected }).collect();
    let mut seen: BTreeSet<PeerKey> = peers.iter().map(|p| p.peer).collect();
    seen.insert(node.net().peer());
    let ask = |neighbour| platform::timeout(NEIGHBOUR_PATIENCE, node.ask(neighbour, Request::Peers, Bytes::new()));
    // All at once: an unresponsive one does not delay the others.
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

/// The peers with a compiler that are known here, the connected ones first.
pub async fn near_compilers(node: &Node) -> Vec<PeerKey> {
    let mut near = node.members().await;
    near.sort_by_key(|(_, _, connected)| !connected);
    near.into_iter().filter(|(_, advert, _)| advert.roles.compiler).map(|(peer, ..)| peer).collect()
}

/// The same, followed by those known to the neighbours.
pub async fn compilers(node: &Node) -> Vec<PeerKey> {
    let known = known_peers(node).await.into_iter();
    known.filter(|p| p.advert.roles.compiler).map(|p| p.peer).collect()
}

/// The number of known peers that work on jobs, not counting this one.
pub async fn workers(node: &Node) -> u32 {
    node.members().await.iter().filter(|(_, advert, _)| advert.roles.worker).count() as u32
}
