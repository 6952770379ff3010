//! What a peer of a later minor version may send: it is ignored, or refused with advice on what to update.

use cbor4ii::core::Value;
use cbor4ii::core::dec::Decode;
use cbor4ii::core::enc::Encode;
use cbor4ii::core::utils::{BufWriter, SliceReader};
use proptest::prelude::*;
use serde::Serialize;
use webmesh_protocol::codec::{DecodeError, Wire, decode, encode};
use webmesh_protocol::manifest::Manifest;
use webmesh_protocol::message::{Cause, Failure, Gossip, Request, Response};
use webmesh_protocol::{JobId, StageId, TaskId, version};

use super::{samples, strategies};

/// An encoded value with the fields of all its structs, and what its variants hold, put through `change`.
fn changed<T: Wire>(value: &T, change: impl Fn(&str, Value) -> Value) -> Vec<u8> {
    fn walk(value: Value, change: &impl Fn(&str, Value) -> Value) -> Value {
        match value {
            Value::Array(all) => Value::Array(all.into_iter().map(|value| walk(value, change)).collect()),
            Value::Map(entries) => {
                let changed = entries.into_iter().map(|(name, value)| {
                    let value = walk(value, change);
                    let value = if let Value::Text(name) = &name { change(name, value) } else { value };
                    (name, value)
                });
                Value::Map(changed.collect())
            }
            other => other,
        }
    }
    let bytes = encode(value);
    let parsed = Value::decode(&mut SliceReader::new(&bytes[1..])).unwrap();
    encoded(bytes[0], &walk(parsed, &change))
}

fn encoded(version: u8, value: &Value) -> Vec<u8> {
    let mut writer = BufWriter::new(vec![version]);
    value.encode(&mut writer).unwrap();
    writer.into_inner()
}

/// Adds a field that no version has yet to every struct in `value`. Maps with one key are left alone: they may be
/// variants.
fn with_new_fields(value: Value) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    match value {
        Value::Array(all) => Value::Array(all.into_iter().map(with_new_fields).collect()),
        Value::Map(entries) => {
            let is_struct = entries.len() > 1;
            let mut entries: Vec<_> = entries.into_iter().map(|(name, value)| (name, with_new_fields(value))).collect();
            if is_struct {
                let new = Value::Map(vec![(text("of"), Value::Array(vec![text("later"), Value::Null]))]);
                entries.insert(entries.len() / 2, (text("yet_unheard_of"), new));
            }
            Value::Map(entries)
        }
        other => other,
    }
}

fn assert_new_fields_are_ignored<T: Wire + PartialEq + std::fmt::Debug>(value: T) {
    let bytes = encode(&value);
    let parsed = Value::decode(&mut SliceReader::new(&bytes[1..])).unwrap();
    match decode::<T>(&encoded(bytes[0], &with_new_fields(parsed))) {
        Ok(decoded) => assert_eq!(decoded, value),
        // With one more field in each struct, it exceeds its size limit.
        Err(DecodeError::TooLarge { .. }) => {}
        Err(why) => panic!("{why}: {value:?}"),
    }
}

proptest! {
    #[test]
    fn fields_of_a_later_version_are_ignored(
        request in strategies::request(), response in strategies::response(), gossip in strategies::gossip(),
        manifest in strategies::manifest(),
    ) {
        assert_new_fields_are_ignored(request);
        assert_new_fields_are_ignored(response);
        assert_new_fields_are_ignored(gossip);
        assert_new_fields_are_ignored(manifest);
    }
}

/// Kinds of messages that no version has yet.
#[derive(Serialize)]
enum Later {
    Wave,
    Sing { verses: Vec<u32>, key: &'static str },
}

fn later(message: &Later) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(cbor4ii::serde::to_vec(Vec::new(), message).unwrap());
    bytes
}

#[test]
fn a_message_of_a_later_version_is_not_taken_for_damaged_and_its_error_names_the_outdated_peer() {
    let sing = later(&Later::Sing { verses: vec![1, 2, 3], key: "C" });
    for (bytes, of) in [(later(&Later::Wave), "Wave"), (sing, "Sing")] {
        for error in [decode::<Request>(&bytes).err(), decode::<Response>(&bytes).err(), decode::<Gossip>(&bytes).err()]
        {
            let error = error.unwrap();
            assert!(matches!(&error, DecodeError::Unknown { kind, .. } if kind == of), "{error}");
            let text = error.to_string();
            assert!(text.contains(&version::full()) && text.contains("update this peer"), "{text}");
        }
        // A truncated message is damaged, whatever its version.
        let cut = decode::<Request>(&bytes[..bytes.len() - 1]);
        assert!(matches!(cut, Err(DecodeError::Malformed { .. })), "{cut:?}");
    }
}

#[test]
fn a_manifest_that_needs_a_later_version_says_so_even_if_it_cannot_be_decoded() {
    let manifest = samples(strategies::manifest(), 1).remove(0);
    let later = Manifest { minor: version::MINOR + 3, ..manifest };
    let unreadable = changed(&later, |name, value| {
        if name == "stages" { Value::Text("of a kind that is not thought of yet".to_owned()) } else { value }
    });
    for bytes in [encode(&later), unreadable] {
        let error = decode::<Manifest>(&bytes).unwrap_err();
        assert!(matches!(error, DecodeError::Newer { minor, .. } if minor == version::MINOR + 3), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{}.{}", version::MAJOR, version::MINOR + 3)), "{text}");
        assert!(text.contains(&version::full()) && text.contains("update it"), "{text}");
    }
}

#[test]
fn an_unknown_cause_of_failure_counts_as_the_jobs() {
    let failure = Failure {
        job: JobId([7; 32]),
        stage: StageId(0),
        task: TaskId(1),
        document: None,
        why: String::new(),
        cause: Cause::Worker,
    };
    let bytes = changed(&Request::Failed(failure.clone()), |name, value| {
        if name == "cause" { Value::Text("Moon".to_owned()) } else { value }
    });
    assert_eq!(decode(&bytes), Ok(Request::Failed(Failure { cause: Cause::Job, ..failure })));
}
