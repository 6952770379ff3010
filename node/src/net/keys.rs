//! Conversion between a peer's key and its libp2p id, which encode the same 32 bytes.
//!
//! The id of an Ed25519 peer is the identity multihash of its key's protobuf (libp2p specs, peer-ids.md).

use libp2p::PeerId;
use libp2p::multihash::Multihash;
use webmesh_protocol::PeerKey;

/// Multihash code "identity": the digest is the content.
const IDENTITY: u64 = 0;
/// The protobuf in front of the 32 bytes: field 1 (type) = 1 (Ed25519), field 2 (data) of 32 bytes.
const PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// The libp2p id of a key.
pub fn peer_id_of(key: &PeerKey) -> PeerId {
    let mut digest = [0; 36];
    digest[..4].copy_from_slice(&PREFIX);
    digest[4..].copy_from_slice(key.as_bytes());
    let multihash = Multihash::wrap(IDENTITY, &digest).expect("36 bytes fit a multihash of 64");
    PeerId::from_multihash(multihash).expect("36 bytes are short enough for an identity multihash")
}

/// The key of a libp2p id; `None` if it is not an Ed25519 key.
pub fn peer_key_of(peer: &PeerId) -> Option<PeerKey> {
    let multihash: &Multihash<64> = peer.as_ref();
    let key = multihash.digest().strip_prefix(&PREFIX)?;
    if multihash.code() != IDENTITY {
        return None;
    }
    Some(PeerKey(key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn key_and_peer_id_name_the_same_peer() {
        let keypair = Keypair::generate_ed25519();
        let bytes = keypair.public().try_into_ed25519().unwrap().to_bytes();
        let peer = keypair.public().to_peer_id();
        assert_eq!(peer_id_of(&PeerKey(bytes)), peer);
        assert_eq!(peer_key_of(&peer), Some(PeerKey(bytes)));
    }

    #[test]
    fn an_id_without_an_ed25519_key_has_no_peer_key() {
        // The hashed id of an RSA peer (code 0x12, sha2-256).
        let rsa = PeerId::from_multihash(Multihash::wrap(0x12, &[7; 32]).unwrap()).unwrap();
        assert_eq!(peer_key_of(&rsa), None);
    }
}
