//! Identifiers: content hashes, peers' keys, job ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! name_of_32_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "bytes32")] pub [u8; 32]);

        impl $name {
            /// The raw 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight hex digits: enough to tell names apart in a log, not to look them up.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError(text.to_owned()))?;
                Ok(Self(bytes))
            }
        }
    };
}

name_of_32_bytes!(
    /// A blake3 hash, which identifies a blob, a segment or an attempt.
    Hash
);
name_of_32_bytes!(
    /// A peer's or an owner's Ed25519 public key. A libp2p peer id is this key in another encoding.
    PeerKey
);
name_of_32_bytes!(
    /// The blake3 hash of a job's encoded manifest.
    JobId
);

/// A text that should have been 64 hex digits and is not.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an id: an id is 64 hexadecimal digits, as `webmesh jobs` prints them")]
pub struct ParseIdError(String);

/// Writes 32 bytes as one CBOR byte string instead of an array of 32 numbers.
mod bytes32 {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        struct Bytes32;
        impl Visitor<'_> for Bytes32 {
            type Value = [u8; 32];

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("32 bytes")
            }

            fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<[u8; 32], E> {
                v.try_into().map_err(|_| E::invalid_length(v.len(), &self))
            }
        }
        d.deserialize_bytes(Bytes32)
    }
}

impl Hash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash of several parts under a domain, so that equal bytes in two roles have two hashes. Each part is
    /// preceded by its length, so that different lists of parts do not hash the same bytes.
    pub fn of_parts(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(domain);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The first eight bytes as a pseudo-random number, which every peer computes alike.
    pub fn draw(&self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().expect("32 bytes hold eight"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_being_printed_and_parsed() {
        let id = JobId(Hash::of(b"job").0);
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        assert!("abc".parse::<JobId>().unwrap_err().to_string().contains("64"));
    }

    #[test]
    fn parts_with_other_boundaries_have_another_hash() {
        assert_ne!(Hash::of_parts("d", &[b"ab", b"c"]), Hash::of_parts("d", &[b"a", b"bc"]));
    }
}
