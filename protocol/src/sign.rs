//! Signed documents: the encoded document, the key that signed it, and the signature, which covers the document's kind.

use std::marker::PhantomData;

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, Wire};
use crate::id::{Hash, PeerKey};

/// A key that signs documents. Ed25519 signatures are deterministic: signing needs no randomness.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key made from 32 secret bytes.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&secret))
    }

    /// The secret bytes, for storing the key.
    pub fn secret(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PeerKey {
        PeerKey(self.0.verifying_key().to_bytes())
    }

    /// Encodes and signs `document`.
    pub fn sign<T: Document>(&self, document: &T) -> Signed<T> {
        let payload = Bytes::from(codec::encode(document));
        let signature = Bytes::copy_from_slice(&self.0.sign(&to_be_signed::<T>(&payload)).to_bytes());
        Signed { payload, signer: self.public(), signature, of: PhantomData }
    }

    /// Signs a hash in a role, which separates it from hashes signed in any other. The signature has 64 bytes.
    pub fn sign_hash(&self, role: &str, hash: &Hash) -> Bytes {
        Bytes::copy_from_slice(&self.0.sign(&hash_to_be_signed(role, hash)).to_bytes())
    }
}

/// Whether `signature` is the one that `signer` made for a hash in a role ([`Keypair::sign_hash`]).
pub fn hash_is_signed(signer: &PeerKey, role: &str, hash: &Hash, signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(&signer.0), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify_strict(&hash_to_be_signed(role, hash), &signature).is_ok()
}

fn hash_to_be_signed(role: &str, hash: &Hash) -> Vec<u8> {
    [b"webmesh/1/hash of ", role.as_bytes(), b"\0", &hash.0[..]].concat()
}

impl std::fmt::Debug for Keypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keypair({})", self.public().short())
    }
}

/// A [`Wire`] type that is signed. Its `NAME` separates it from every other kind of document.
pub trait Document: Wire {}

/// An encoded document with its signature, passed on byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    payload: Bytes,
    signer: PeerKey,
    signature: Bytes,
    #[serde(skip)]
    of: PhantomData<T>,
}

/// Why a signed document was rejected.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// The signature does not match the bytes and the key.
    #[error("a {0} with an invalid signature")]
    Signature(&'static str),
    /// The signature is valid, but the bytes do not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl<T: Document> Signed<T> {
    /// Verifies the signature and decodes the document.
    pub fn open(&self) -> Result<T, SignedError> {
        let bad = || SignedError::Signature(T::NAME);
        if self.payload.len() > T::MAX_BYTES {
            let (name, len, max) = (T::NAME, self.payload.len(), T::MAX_BYTES);
            return Err(DecodeError::TooLarge { name, len, max }.into());
        }
        let key = VerifyingKey::from_bytes(&self.signer.0).map_err(|_| bad())?;
        let signature = Signature::from_slice(&self.signature).map_err(|_| bad())?;
        key.verify_strict(&to_be_signed::<T>(&self.payload), &signature).map_err(|_| bad())?;
        Ok(codec::decode(&self.payload)?)
    }

    /// Looks into the document without verifying the signature, to see whether verifying is worthwhile.
    pub fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Result<R, DecodeError> {
        codec::decode(&self.payload).map(|document| look(&document))
    }

    /// The key that claims to have signed; only [`Signed::open`] proves it.
    pub fn signer(&self) -> PeerKey {
        self.signer
    }

    /// The hash of the encoded document.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.payload)
    }

    /// The length of the encoded document, in bytes.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }
}

/// The bytes that are signed. They name the kind of document, so that one kind cannot be passed off as another.
fn to_be_signed<T: Document>(payload: &[u8]) -> Vec<u8> {
    [b"webmesh/1/", T::NAME.as_bytes(), b"\0", payload].concat()
}
