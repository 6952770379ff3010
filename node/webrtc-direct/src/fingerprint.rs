//! Fingerprints of DTLS certificates: SHA-256 as a multihash in addresses and in the Noise prologue, in colons in SDP.

use std::fmt::{self, Write};

use libp2p_core::multihash::Multihash;
use sha2::{Digest, Sha256};

/// Code of SHA-256 in the multihash table.
const SHA2_256: u64 = 0x12;

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Why a fingerprint could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidFingerprint {
    /// Another hash function than SHA-256, the only one that the specification asks for.
    #[error("certificate hash uses multihash code {0:#x}; only sha-256 (0x12) is supported")]
    UnsupportedHash(u64),
    /// Not 32 bytes.
    #[error("a SHA-256 fingerprint has 32 bytes, not {0}")]
    Length(usize),
    /// Not pairs of hexadecimal digits separated by colons.
    #[error("the fingerprint is not 32 pairs of hexadecimal digits with ':' between")]
    NotHex,
}

impl Fingerprint {
    /// Fingerprint of a certificate.
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Takes the digest itself.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the multihash of a `/certhash`.
    pub fn from_multihash(hash: &Multihash<64>) -> Result<Self, InvalidFingerprint> {
        if hash.code() != SHA2_256 {
            return Err(InvalidFingerprint::UnsupportedHash(hash.code()));
        }
        let digest = hash.digest().try_into().map_err(|_| InvalidFingerprint::Length(hash.digest().len()))?;
        Ok(Self(digest))
    }

    /// As in a `/certhash` and, as bytes, in the Noise prologue.
    pub fn to_multihash(self) -> Multihash<64> {
        Multihash::wrap(SHA2_256, &self.0).expect("32 bytes fit into 64")
    }

    /// Reads the value of `a=fingerprint:sha-256 `.
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

    /// As in SDP: upper-case hexadecimal pairs with colons between.
    pub fn to_sdp(self) -> String {
        let mut text = String::with_capacity(95);
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(text, "{colon}{byte:02X}").expect("a string takes all");
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
    fn other_hashes_are_refused_with_their_name() {
        let sha1 = Multihash::wrap(0x11, &[0; 20]).unwrap();
        assert_eq!(Fingerprint::from_multihash(&sha1), Err(InvalidFingerprint::UnsupportedHash(0x11)));
        let short = Multihash::wrap(SHA2_256, &[0; 31]).unwrap();
        assert_eq!(Fingerprint::from_multihash(&short), Err(InvalidFingerprint::Length(31)));
    }

    #[test]
    fn sdp_text_that_is_no_fingerprint_is_refused() {
        let good = Fingerprint::from_digest([7; 32]).to_sdp();
        for bad in ["", "07", &format!("{good}:07"), &good.replace("07", "+7"), &good.replacen(':', "", 1)] {
            assert_eq!(Fingerprint::from_sdp(bad), Err(InvalidFingerprint::NotHex), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn both_forms_come_back(digest in any::<[u8; 32]>()) {
            let fingerprint = Fingerprint::from_digest(digest);
            prop_assert_eq!(Fingerprint::from_sdp(&fingerprint.to_sdp()), Ok(fingerprint));
            prop_assert_eq!(Fingerprint::from_sdp(&fingerprint.to_sdp().to_lowercase()), Ok(fingerprint));
            prop_assert_eq!(Fingerprint::from_multihash(&fingerprint.to_multihash()), Ok(fingerprint));
        }

        #[test]
        fn any_text_is_read_without_harm(text in ".{0,200}") {
            let _ = Fingerprint::from_sdp(&text);
        }
    }
}
