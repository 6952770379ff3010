//! Bytes on the wire: a version, then CBOR. Sizes are checked before anything is decoded.

use std::fmt;
use std::marker::PhantomData;

use cbor4ii::core::dec::Read;
use cbor4ii::core::utils::SliceReader;
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// How much of the decoder's own words an error repeats, in bytes. They quote what was sent, however long.
const REASON_BYTES: usize = 200;

/// A type that travels between peers or lies in a signed document.
pub trait Wire: Serialize + DeserializeOwned {
    /// What it is called in an error.
    const NAME: &'static str;
    /// The version this build speaks, the first byte of every encoding.
    const VERSION: u8 = 1;
    /// Encodings over this many bytes are refused unread.
    const MAX_BYTES: usize;

    /// Refuses a value that decodes but breaks a bound: too many entries, a range that runs backwards.
    fn check(&self) -> Result<(), &'static str>;
}

/// Why bytes from a peer were not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("an empty {0}")]
    Empty(&'static str),
    /// Over the type's cap.
    #[error("a {name} of {len} bytes; at most {max} are taken")]
    TooLarge {
        /// The type's name.
        name: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The cap in bytes.
        max: usize,
    },
    /// Another version of the protocol.
    #[error("a {name} of protocol version {theirs}; this build speaks {ours}: update the older of the two")]
    Version {
        /// The type's name.
        name: &'static str,
        /// The sender's version.
        theirs: u8,
        /// This build's version.
        ours: u8,
    },
    /// Not CBOR of the type's shape.
    #[error("a malformed {name}: {why}")]
    Malformed {
        /// The type's name.
        name: &'static str,
        /// What the decoder said.
        why: String,
    },
    /// Of the right shape, but breaking a bound.
    #[error("a {name} that breaks a bound: {why}")]
    Bound {
        /// The type's name.
        name: &'static str,
        /// Which bound.
        why: &'static str,
    },
}

/// Encodes `value`: its version, then CBOR.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    cbor4ii::serde::to_vec(vec![T::VERSION], value).expect("writing to memory cannot fail")
}

/// Decodes what [`encode`] wrote, refusing whatever breaks the type's bounds.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let name = T::NAME;
    if bytes.len() > T::MAX_BYTES {
        return Err(DecodeError::TooLarge { name, len: bytes.len(), max: T::MAX_BYTES });
    }
    let (&theirs, body) = bytes.split_first().ok_or(DecodeError::Empty(name))?;
    if theirs != T::VERSION {
        return Err(DecodeError::Version { name, theirs, ours: T::VERSION });
    }
    let malformed = |why| DecodeError::Malformed { name, why };
    // Nesting is the reader's own business: it stops at 256 levels. So are lengths that lie: whatever a header
    // claims, serde sets aside at most a mebibyte for it.
    let mut decoder = cbor4ii::serde::Deserializer::new(SliceReader::new(body));
    let value = T::deserialize(&mut decoder).map_err(|e| malformed(shortened(e.to_string())))?;
    let mut rest = decoder.into_inner();
    let Ok(next) = rest.fill(1);
    if !next.as_ref().is_empty() {
        return Err(malformed("bytes after its end".to_owned()));
    }
    value.check().map_err(|why| DecodeError::Bound { name, why })?;
    Ok(value)
}

/// The beginning of a text, as much as an error repeats of it.
fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES));
    text
}

/// For `#[serde(deserialize_with)]`: a list of at most `MAX` elements. Stops at the first one too many, where
/// [`Wire::check`] would come too late: a list of empty strings takes 24 times its encoding in memory.
pub(crate) fn at_most<'de, const MAX: usize, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<const MAX: usize, T>(PhantomData<T>);

    impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for AtMost<MAX, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element()? {
                if values.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                values.push(value);
            }
            Ok(values)
        }
    }

    deserializer.deserialize_seq(AtMost::<MAX, T>(PhantomData))
}
