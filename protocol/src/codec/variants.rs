//! The names of encoded enum variants, to tell a message of a newer protocol from a damaged one.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// The longest name of a variant that an error repeats, in bytes: none of ours is as long.
const NAME_BYTES: usize = 64;

/// The name of the variant in these bytes, if `T` is an enum without a variant of that name.
pub(super) fn unknown<T: DeserializeOwned>(body: &[u8]) -> Option<String> {
    let known = known::<T>()?;
    let Encoded(name) = cbor4ii::serde::from_slice(body).ok()?;
    (name.len() <= NAME_BYTES && !known.contains(&&*name)).then_some(name)
}

/// The names of the variants of `T`, if it is an enum.
fn known<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut variants = None;
    // Always fails: it only records which variants are asked for.
    let _ = T::deserialize(Look(&mut variants));
    variants
}

/// A deserializer without a value, which records the variants of the enum that it is asked for.
struct Look<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Look<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Some(variants);
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::invalid_type(Unexpected::Other("nothing"), &visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The name of an encoded variant: a text if it is a unit variant, otherwise the only key of a map.
struct Encoded(String);

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl<'de> Visitor<'de> for Name {
            type Value = Encoded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a variant")
            }

            fn visit_str<E>(self, name: &str) -> Result<Encoded, E> {
                Ok(Encoded(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Encoded, A::Error> {
                let Some((name, IgnoredAny)) = map.next_entry()? else {
                    return Err(serde::de::Error::invalid_length(0, &self));
                };
                Ok(Encoded(name))
            }
        }

        deserializer.deserialize_any(Name)
    }
}
