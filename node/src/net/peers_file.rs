//! `peers.json`: peers that were connected, so that a restarted node finds its mesh without a bootstrap node.

use std::path::{Path, PathBuf};

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use super::limits::{ADDRESSES_OF_PEER, REMEMBERED_BYTES, REMEMBERED_PEERS};
use crate::platform::files;

/// One entry of the file. Ids and addresses are in their text form.
#[derive(Serialize, Deserialize)]
struct Remembered {
    peer: String,
    addresses: Vec<String>,
}

/// Path of the file.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("peers.json")
}

/// Reads the file. No error keeps the node from starting: there are other ways to find the mesh.
pub(super) fn load(path: &Path) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let text = match files::read(path, REMEMBERED_BYTES) {
        Ok(Some(text)) => text,
        Ok(None) => return Vec::new(),
        Err(e) => {
            tracing::warn!("cannot read {}: {e}", path.display());
            return Vec::new();
        }
    };
    let lines: Vec<Remembered> = serde_json::from_slice(&text).unwrap_or_else(|e| {
        tracing::warn!("{} is not a valid list of peers: {e}", path.display());
        Vec::new()
    });
    let parsed = lines.into_iter().take(REMEMBERED_PEERS).filter_map(|line| {
        let addresses = line.addresses.iter().take(ADDRESSES_OF_PEER).filter_map(|a| a.parse().ok());
        Some((line.peer.parse().ok()?, addresses.collect()))
    });
    parsed.collect()
}

/// Writes the file atomically: a reader, or a crash, sees the old content or the new one.
pub(super) fn save(path: &Path, peers: &[(PeerId, Vec<Multiaddr>)]) {
    let line = |(peer, addresses): &(PeerId, Vec<Multiaddr>)| Remembered {
        peer: peer.to_string(),
        addresses: addresses.iter().map(Multiaddr::to_string).collect(),
    };
    let lines: Vec<_> = peers.iter().map(line).collect();
    let text = serde_json::to_vec_pretty(&lines).expect("strings can always be written as JSON");
    if let Err(e) = files::write(path, &text) {
        tracing::warn!("cannot write {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peers() -> impl Strategy<Value = Vec<(PeerId, Vec<Multiaddr>)>> {
        let peer = any::<[u8; 32]>().prop_map(|seed| {
            let secret = libp2p::identity::ed25519::SecretKey::try_from_bytes(seed).expect("any 32 bytes are a secret");
            libp2p::identity::Keypair::from(libp2p::identity::ed25519::Keypair::from(secret)).public().to_peer_id()
        });
        let address = (any::<[u8; 4]>(), any::<u16>(), any::<bool>()).prop_map(|(ip, port, quic)| {
            let [a, b, c, d] = ip;
            let way = if quic { format!("udp/{port}/quic-v1") } else { format!("tcp/{port}") };
            format!("/ip4/{a}.{b}.{c}.{d}/{way}").parse().expect("an address")
        });
        prop::collection::vec((peer, prop::collection::vec(address, 0..=ADDRESSES_OF_PEER)), 0..20)
    }

    fn loaded(bytes: &[u8]) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(path(dir.path()), bytes).unwrap();
        load(&path(dir.path()))
    }

    proptest! {
        #[test]
        fn peers_are_read_back_as_they_were_written(peers in peers()) {
            let dir = tempfile::tempdir().unwrap();
            save(&path(dir.path()), &peers);
            prop_assert_eq!(load(&path(dir.path())), peers);
        }

        #[test]
        fn any_bytes_are_read_as_a_list_within_its_bounds(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(loaded(&bytes).len() <= REMEMBERED_PEERS);
        }

        #[test]
        fn damaged_entries_are_left_out(peers in peers(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let dir = tempfile::tempdir().unwrap();
            save(&path(dir.path()), &peers);
            let mut bytes = std::fs::read(path(dir.path())).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let read = loaded(&bytes);
            // All, or all but the damaged one, or nothing where it is no longer JSON.
            let kept = read.iter().filter(|peer| peers.contains(peer)).count();
            prop_assert!(read.is_empty() || kept + 1 >= peers.len(), "{kept} of {}", peers.len());
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_cut() {
        let peer = PeerId::random().to_string();
        let line = Remembered { peer, addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned(); ADDRESSES_OF_PEER + 5] };
        let lines: Vec<&Remembered> = std::iter::repeat_n(&line, REMEMBERED_PEERS + 5).collect();
        let read = loaded(&serde_json::to_vec(&lines).unwrap());
        assert_eq!(read.len(), REMEMBERED_PEERS);
        assert!(read.iter().all(|(_, addresses)| addresses.len() == ADDRESSES_OF_PEER));
        assert!(loaded(&vec![b' '; REMEMBERED_BYTES + 1]).is_empty());
    }
}
