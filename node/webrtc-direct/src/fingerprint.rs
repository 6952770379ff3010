//! Fingerprints of DTLS certificates: SHA-256, as a multihash in addresses and in the Noise prologue, and as
//! colon-separated hexadecimal in SDP.

use std::fmt::{self, Write};

use libp2p_core::multihash::Multihash;
use sha2::{Digest, Sha256};

/// Code of SHA-256 in the multihash table.
const SHA2_256: u64 = 0x12;

/// SHA-256 of a DER-encoded certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Why a fingerprint could not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidFingerprint {
    /// A hash function other than SHA-256, the only one that the specification requires.
    #[error("certificate hash uses multihash code {0:#x}; only sha-256 (0x12) is supported")]
    UnsupportedHash(u64),
    /// Not 32 bytes.
    #[error("a SHA-256 fingerprint must be 32 bytes long, not {0}")]
    Length(usize),
    /// Not pairs of hexadecimal digits separated by colons.
    #[error("a SHA-256 fingerprint must be 32 pairs of hexadecimal digits separated by ':'")]
    NotHex,
}

impl Fingerprint {
    /// Hashes a DER-encoded certificate.
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Wraps a SHA-256 digest.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The SHA-256 digest.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the multihash of a `/certhash`.
    ///
    /// # Errors
    /// [`InvalidFingerprint`] if it is not SHA-256 or not 32 bytes long.
    pub fn from_multihash(hash: &Multihash<64>) -> Result<Self, InvalidFingerprint> {
        if hash.code() != SHA2_256 {
            return Err(InvalidFingerprint::UnsupportedHash(hash.code()));
        }
        let digest = hash.digest().try_into().map_err(|_| InvalidFingerprint::Length(hash.digest().len()))?;
        Ok(Self(digest))
    }

    /// The multihash for a `/certhash` and, in its byte encoding, for the Noise prologue.
    pub fn to_multihash(self) -> Multihash<64> {
        Multihash::wrap(SHA2_256, &self.0).expect("32 bytes fit into 64")
    }

    /// Parses the value of an SDP line `a=fingerprint:sha-256 …`.
    ///
    /// # Errors
    /// [`InvalidFingerprint::NotHex`].
    pub fn from_sdp(text: &str) -> Result<Self, InvalidFingerprint> {
        let mut digest = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut digest {
            let pair = pairs.next().ok_or(InvalidFingerprint::NotHex)?;
            if pair.len() != 2 || !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(InvalidFingerprint::NotHex);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidFingerprint::NotHex)?;
        }
        if pairs.next().is_some() { Err(InvalidFingerprint::NotHex) } else { Ok(Self(digest)) }
    }

    /// The SDP form: upper-case hexadecimal pairs separated by colons.
    pub fn to_sdp(self) -> String {
        let mut text = String::with_capacity(95);
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(text, "{colon}{byte:02X}").expect("writing to a string cannot fail");
        }
        text
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.to_sdp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_hash_functions_and_lengths_are_refused() {
        let sha1 = Multihash::wrap(0x11, &[0; 20]).unwrap();
        assert_eq!(Fingerprint::from_multihash(&sha1), Err(InvalidFingerprint::UnsupportedHash(0x11)));
        let short = Multihash::wrap(SHA2_256, &[0; 31]).unwrap();
        assert_eq!(Fingerprint::from_multihash(&short), Err(InvalidFingerprint::Length(31)));
    }

    #[test]
    fn malformed_sdp_fingerprints_are_refused() {
        let good = Fingerprint::from_digest([7; 32]).to_sdp();
        for bad in ["", "07", &format!("{good}:07"), &good.replace("07", "+7"), &good.replacen(':', "", 1)] {
            assert_eq!(Fingerprint::from_sdp(bad), Err(InvalidFingerprint::NotHex), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn both_encodings_round_trip(digest in any::<[u8; 32]>()) {
            let fingerprint = Fingerprint::from_digest(digest);
            prop_assert_eq!(Fingerprint::from_sdp(&fingerprint.to_sdp()), Ok(fingerprint));
            prop_assert_eq!(Fingerprint::from_sdp(&fingerprint.to_sdp().to_lowercase()), Ok(fingerprint));
            prop_assert_eq!(Fingerprint::from_multihash(&fingerprint.to_multihash()), Ok(fingerprint));
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in ".{0,200}") {
            let _ = Fingerprint::from_sdp(&text);
        }
    }
}
