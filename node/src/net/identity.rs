//! Who this peer is: a key that is made once and kept.

use std::path::Path;

use libp2p::identity::Keypair;
use webmesh_protocol::{PeerKey, sign};

use super::error::NetError;
use crate::platform::files;

/// A key file is 64 hex digits, with some room for white space.
const KEY_FILE_BYTES: usize = 256;

/// The key in `identity.key` of the data folder; made, and kept with permissions 0600, where there is none.
///
/// # Errors
/// [`NetError::File`] if the file cannot be read or written, or holds something else.
pub fn load_or_create(data_dir: &Path) -> Result<sign::Keypair, NetError> {
    let path = data_dir.join("identity.key");
    let file = |why: String| NetError::File { path: path.clone(), why };
    if let Some(text) = files::read(&path, KEY_FILE_BYTES).map_err(|e| file(e.to_string()))? {
        let mut secret = [0; 32];
        hex::decode_to_slice(text.trim_ascii(), &mut secret).map_err(|_| {
            file("it does not hold a key, which is 64 hexadecimal digits; delete it to get a new one".to_owned())
        })?;
        return Ok(sign::Keypair::from_secret(secret));
    }
    let keypair = generate();
    let text = format!("{}\n", hex::encode(keypair.secret()));
    files::write_private(&path, text.as_bytes()).map_err(|e| file(e.to_string()))?;
    Ok(keypair)
}

/// A new key.
pub fn generate() -> sign::Keypair {
    sign::Keypair::from_secret(crate::platform::random_bytes())
}

/// The same key as libp2p has it.
pub fn to_libp2p(keypair: &sign::Keypair) -> Keypair {
    Keypair::ed25519_from_bytes(keypair.secret()).expect("any 32 bytes are an Ed25519 secret")
}

/// The public half of a libp2p key.
pub(super) fn key_of(keypair: &Keypair) -> Result<PeerKey, NetError> {
    super::peer_key_of(&keypair.public().to_peer_id()).ok_or(NetError::Identity)
}
