//! This peer's identity: a key that is generated once and kept.

use std::path::Path;

use libp2p::identity::Keypair;
use webmesh_protocol::{PeerKey, sign};

use super::checked_file::{self, Content};
use super::error::NetError;

/// Size limit of a key file: 64 hex digits and a checksum, with some room for white space.
const KEY_FILE_BYTES: usize = 256;

/// Loads the key from `identity.key` in the data folder, or generates it and stores it with permissions 0600.
///
/// # Errors
/// [`NetError::File`] if the file cannot be read or written, or is damaged: one flipped digit would make a different
/// peer.
pub fn load_or_create(data_dir: &Path) -> Result<sign::Keypair, NetError> {
    let path = data_dir.join("identity.key");
    let file = |why: String| NetError::File { path: path.clone(), why };
    let damaged = |what: &str| {
        file(format!(
            "{what}; restore a copy of it, or delete it to get a new key: this peer then has a new identity, and its old \
             addresses no longer work"
        ))
    };
    let text = match checked_file::read(&path, KEY_FILE_BYTES).map_err(|e| file(e.to_string()))? {
        Some(Content::Whole(text)) => text,
        Some(Content::Unchecked(text)) => {
            if secret_of(&text).is_some() {
                checked_file::upgrade(&path, &text);
            }
            text
        }
        Some(Content::Damaged) => return Err(damaged("it is damaged: its checksum is wrong")),
        None => {
            let keypair = generate();
            let text = format!("{}\n", hex::encode(keypair.secret()));
            checked_file::write(&path, &text).map_err(|e| file(e.to_string()))?;
            return Ok(keypair);
        }
    };
    let secret = secret_of(&text).ok_or_else(|| damaged("it does not hold a key of 64 hexadecimal digits"))?;
    Ok(sign::Keypair::from_secret(secret))
}

fn secret_of(text: &str) -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    hex::decode_to_slice(text.trim_ascii(), &mut secret).ok().map(|()| secret)
}

/// Generates a key.
pub fn generate() -> sign::Keypair {
    sign::Keypair::from_secret(crate::platform::random_bytes())
}

/// The same key as a libp2p type.
pub fn to_libp2p(keypair: &sign::Keypair) -> Keypair {
    Keypair::ed25519_from_bytes(keypair.secret()).expect("any 32 bytes are an Ed25519 secret")
}

/// The public half of a libp2p key.
pub(super) fn key_of(keypair: &Keypair) -> Result<PeerKey, NetError> {
    super::peer_key_of(&keypair.public().to_peer_id()).ok_or(NetError::Identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_flipped_digit_is_refused_with_the_files_name() {
        let folder = tempfile::tempdir().unwrap();
        let key = load_or_create(folder.path()).unwrap();
        assert_eq!(load_or_create(folder.path()).unwrap().public(), key.public());
        let path = folder.path().join("identity.key");
        let whole = std::fs::read_to_string(&path).unwrap();
        for at in [0, 31, 63] {
            let mut text = whole.clone().into_bytes();
            text[at] = if text[at] == b'0' { b'1' } else { b'0' };
            std::fs::write(&path, text).unwrap();
            let why = load_or_create(folder.path()).map(|_| ()).unwrap_err().to_string();
            assert!(why.contains("identity.key") && why.contains("damaged") && why.contains("delete"), "{why}");
        }
        std::fs::write(&path, whole).unwrap();
        assert_eq!(load_or_create(folder.path()).unwrap().public(), key.public(), "nothing was lost");
    }

    #[test]
    fn a_key_of_an_earlier_version_gets_a_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("identity.key"), generate());
        std::fs::write(&path, format!("{}\n", hex::encode(key.secret()))).unwrap();
        assert_eq!(load_or_create(folder.path()).unwrap().public(), key.public());
        let mut text = std::fs::read(&path).unwrap();
        text[5] = if text[5] == b'0' { b'1' } else { b'0' };
        std::fs::write(&path, text).unwrap();
        assert!(load_or_create(folder.path()).is_err());
    }
}
