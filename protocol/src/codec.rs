//! Bytes on the wire: a version, then CBOR. Sizes are checked before anything is decoded.
//!
//! Structs and enums are encoded with the names of their fields and variants, so that the protocol can grow: unknown
//! fields are ignored, fields that an older peer does not send have a default, and a message of an unknown kind gives
//! [`DecodeError::Unknown`], for which no peer is blamed. Rule 21 (`docs/rules.md`) says what a minor version may
//! change.

mod variants;

use std::fmt;
use std::marker::PhantomData;

use cbor4ii::core::dec::Read;
use cbor4ii::core::utils::SliceReader;
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::version;

/// How much of the decoder's message an error repeats, in bytes: it quotes what was sent, however long.
const REASON_BYTES: usize = 200;

/// A type that is sent between peers or contained in a signed document.
pub trait Wire: Serialize + DeserializeOwned {
    /// The type's name in errors.
    const NAME: &'static str;
    /// The version this build speaks, the first byte of every encoding.
    const VERSION: u8 = 1;
    /// Encodings over this many bytes are refused unread.
    const MAX_BYTES: usize;

    /// The minimum minor version of the protocol that understands the value, from its field `minor`: for additions that
    /// must not be ignored, such as a new kind of job.
    fn minor(&self) -> u16 {
        0
    }

    /// Refuses a value that decodes but violates a bound: too many entries, a range that runs backwards.
    fn check(&self) -> Result<(), &'static str>;
}

/// Why bytes from a peer were rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("an empty {0}")]
    Empty(&'static str),
    /// The encoding exceeds the type's limit.
    #[error("a {name} of {len} bytes; at most {max} are accepted")]
    TooLarge {
        /// The type's name.
        name: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
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
    /// Its kind was added in a later minor version of the protocol.
    #[error("a {name} of the kind `{kind}`, which version {ours} of the protocol does not have: update this peer", ours = version::full())]
    Unknown {
        /// The type's name.
        name: &'static str,
        /// The kind, as the sender calls it.
        kind: String,
    },
    /// It states that it needs a later minor version of the protocol.
    #[error(
        "a {name} that needs version {needed} of the protocol; this peer speaks {ours}: update it",
        needed = version::of_minor(*minor), ours = version::full()
    )]
    Newer {
        /// The type's name.
        name: &'static str,
        /// The minimum minor version that understands it.
        minor: u16,
    },
    /// Not CBOR of the type's shape.
    #[error("a malformed {name}: {why}")]
    Malformed {
        /// The type's name.
        name: &'static str,
        /// The decoder's message.
        why: String,
    },
    /// It has the right shape, but violates a bound.
    #[error("an invalid {name}: {why}")]
    Bound {
        /// The type's name.
        name: &'static str,
        /// The bound that it violates.
        why: &'static str,
    },
}

/// Encodes `value`: its version, then CBOR.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    cbor4ii::serde::to_vec(vec![T::VERSION], value).expect("writing to memory cannot fail")
}

/// Decodes what [`encode`] wrote, refusing what violates the type's bounds.
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
    // The reader limits nesting to 256 levels. False lengths do no harm: whatever a header claims, serde preallocates
    // at most 1 MiB.
    let mut decoder = cbor4ii::serde::Deserializer::new(SliceReader::new(body));
    let value = match T::deserialize(&mut decoder) {
        Ok(value) => value,
        Err(why) => {
            return Err(match (variants::unknown::<T>(body), minor_of(body)) {
                (Some(kind), _) => DecodeError::Unknown { name, kind },
                (None, minor) if minor > version::MINOR => DecodeError::Newer { name, minor },
                _ => malformed(shortened(why.to_string())),
            });
        }
    };
    if value.minor() > version::MINOR {
        return Err(DecodeError::Newer { name, minor: value.minor() });
    }
    let mut rest = decoder.into_inner();
    let Ok(next) = rest.fill(1);
    if !next.as_ref().is_empty() {
        return Err(malformed("trailing bytes".to_owned()));
    }
    value.check().map_err(|why| DecodeError::Bound { name, why })?;
    Ok(value)
}

/// The field `minor` of an encoded struct, whatever its other fields are; 0 if there is none.
fn minor_of(body: &[u8]) -> u16 {
    #[derive(Deserialize)]
    struct Needs {
        minor: u16,
    }
    cbor4ii::serde::from_slice(body).map_or(0, |Needs { minor }| minor)
}

/// Truncates a text to what an error repeats of it.
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
