//! `peers.json`: peers that were connected, so that a restarted node finds its mesh without a bootstrap node.

use std::path::{Path, PathBuf};

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use super::limits::{ADDRESSES_OF_PEER, REMEMBERED_BYTES, REMEMBERED_PEERS};
use crate::platform::files;

/// One line of the file. Ids and addresses are kept as people write them.
#[derive(Serialize, Deserialize)]
struct Remembered {
    peer: String,
    addresses: Vec<String>,
}

/// Where the file is.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("peers.json")
}

/// Reads the file. Whatever is wrong with it is no reason not to start: the mesh is found by other ways too.
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
        tracing::warn!("{} is not what this program wrote: {e}", path.display());
        Vec::new()
    });
    let parsed = lines.into_iter().take(REMEMBERED_PEERS).filter_map(|line| {
        let addresses = line.addresses.iter().take(ADDRESSES_OF_PEER).filter_map(|a| a.parse().ok());
        Some((line.peer.parse().ok()?, addresses.collect()))
    });
    parsed.collect()
}

/// Writes the file in one step: a reader, or a crash, sees the old one or the new one.
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
