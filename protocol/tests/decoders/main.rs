//! Decoders of what a stranger sends: none panics or allocates without bound, and valid values survive a round trip.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod alloc;
mod growth;
mod older;
mod strategies;

use std::fmt::Debug;

use alloc::peak_of;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use webmesh_protocol::codec::{DecodeError, Wire, decode, encode};
use webmesh_protocol::epoch::Epoch;
use webmesh_protocol::limits;
use webmesh_protocol::manifest::{BlobRef, Manifest};
use webmesh_protocol::message::{
    Accept, AttemptId, Attempts, Claim, End, Gossip, Hold, Outcome, Push, PushEntry, Request, Response,
};
use webmesh_protocol::pack::{Index, Pack, PackRef};
use webmesh_protocol::ranges::Run;
use webmesh_protocol::segment;
use webmesh_protocol::sign::{Document, Keypair, Signed, SignedError};
use webmesh_protocol::{Hash, JobId, PartitionId, PeerKey, ShardId, StageId, TaskId};

/// The memory that decoding may hold at a time, in bytes: sixteen for each byte that was sent (a list of small numbers
/// that grows by doubling takes twelve), and the mebibyte that serde preallocates for each of up to four nested lists.
fn allowed(len: usize) -> usize {
    16 * len + (4 << 20)
}

/// Decodes bytes that may be invalid, and asserts that this does not panic, keeps to the allowed memory, and gives a
/// value that survives a round trip.
fn decode_safely<T: Wire + PartialEq + Debug>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (result, peak) = peak_of(|| decode::<T>(bytes));
    assert!(peak <= allowed(bytes.len()), "{peak} bytes held for {} sent", bytes.len());
    match &result {
        Ok(value) => assert_eq!(decode::<T>(&encode(value)).as_ref(), Ok(value)),
        Err(e) => assert!(e.to_string().len() < 400, "an error that repeats what was sent: {e}"),
    }
    result
}

/// Where the items of definite CBOR begin, and how long their heads are.
fn items(cbor: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut items) = (0, Vec::new());
    while let Some(&first) = cbor.get(at) {
        let extra = match first & 0x1f {
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => 0,
        };
        let argument = &cbor[at + 1..at + 1 + extra];
        let number = argument.iter().fold(0usize, |n, &b| n << 8 | usize::from(b));
        let number = if extra == 0 { usize::from(first & 0x1f) } else { number };
        items.push((at, 1 + extra));
        let content = if matches!(first >> 5, 2 | 3) { number } else { 0 };
        at += 1 + extra + content;
    }
    items
}

/// The head of `major` (2 bytes, 3 text, 4 array, 5 map) with a length of 2⁶⁰.
fn giant(major: u8) -> [u8; 9] {
    let mut head = [0; 9];
    head[0] = major << 5 | 27;
    head[1..].copy_from_slice(&(1u64 << 60).to_be_bytes());
    head
}

/// A few values of a strategy, the same in every run.
fn samples<T: Debug>(strategy: impl Strategy<Value = T>, n: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..n).map(|_| strategy.new_tree(&mut runner).expect("a strategy that rejects nothing").current()).collect()
}

/// Runs `f` on a quarter of the stack that a browser gives a worker.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(f);
    thread.expect("a thread").join().expect("the thread does not panic");
}

macro_rules! decoder_tests {
    ($module:ident, $type:ty, $valid:expr) => {
        mod $module {
            use super::*;

            proptest! {
                #[test]
                fn a_valid_value_survives_a_round_trip(value in $valid) {
                    prop_assert_eq!(decode_safely::<$type>(&encode(&value)), Ok(value));
                }

                #[test]
                fn arbitrary_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 1..300)) {
                    let _ = decode_safely::<$type>(&bytes);
                    bytes[0] = <$type>::VERSION;
                    let _ = decode_safely::<$type>(&bytes);
                }

                #[test]
                fn changed_bytes_do_no_harm(
                    value in $valid, changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..6),
                ) {
                    let mut bytes = encode(&value);
                    for (at, byte) in changes {
                        let at = at.index(bytes.len());
                        bytes[at] = byte;
                    }
                    let _ = decode_safely::<$type>(&bytes);
                }

                #[test]
                fn truncated_or_extended_bytes_are_refused(value in $valid, at: prop::sample::Index, more: u8) {
                    let mut bytes = encode(&value);
                    prop_assert!(decode_safely::<$type>(&bytes[..at.index(bytes.len())]).is_err());
                    bytes.push(more);
                    prop_assert!(decode_safely::<$type>(&bytes).is_err());
                }

                #[test]
                fn two_values_spliced_do_no_harm(
                    one in $valid, other in $valid, cut: prop::sample::Index, resume: prop::sample::Index,
                ) {
                    let (one, other) = (encode(&one), encode(&other));
                    let spliced = [&one[..cut.index(one.len())], &other[resume.index(other.len())..]].concat();
                    let _ = decode_safely::<$type>(&spliced);
                }

                #[test]
                fn another_version_is_refused_and_the_error_names_both(value in $valid, theirs: u8) {
                    prop_assume!(theirs != <$type>::VERSION);
                    let mut bytes = encode(&value);
                    bytes[0] = theirs;
                    let error = decode::<$type>(&bytes).unwrap_err();
                    prop_assert_eq!(&error, &DecodeError::Version {
                        name: <$type>::NAME, theirs, ours: <$type>::VERSION,
                    });
                    let text = error.to_string();
                    prop_assert!(text.contains(&theirs.to_string()) && text.contains(&<$type>::VERSION.to_string()));
                }
            }

            #[test]
            fn a_giant_length_is_refused_at_every_position() {
                for value in samples($valid, 32) {
                    let valid = encode(&value);
                    for (at, head) in items(&valid[1..]) {
                        for major in 2..=5 {
                            let (before, after) = (&valid[..1 + at], &valid[1 + at + head..]);
                            let bytes = [before, &giant(major), after].concat();
                            assert!(decode_safely::<$type>(&bytes).is_err());
                        }
                    }
                }
            }

            #[test]
            fn deep_nesting_does_not_overflow_the_stack() {
                on_a_small_stack(|| {
                    // An array of one, a map whose key and value nest, a tag, and everlasting arrays and bytes.
                    let bombs = [&[0x81][..], &[0xa1], &[0xa1, 0x00], &[0xc1], &[0x9f], &[0x5f], &[0xbf]];
                    let unknown = [0xa1, 0x61, b'?'];
                    for value in samples($valid, 4) {
                        let valid = encode(&value);
                        let starts = items(&valid[1..]);
                        for bomb in bombs {
                            let nested = bomb.repeat(100_000 / bomb.len());
                            for &(at, _) in &starts {
                                for prefix in [&[][..], &unknown] {
                                    let mut bytes = [&valid[..1 + at], prefix, &nested].concat();
                                    bytes.truncate(<$type>::MAX_BYTES);
                                    assert!(decode::<$type>(&bytes).is_err());
                                }
                            }
                        }
                    }
                });
            }

            #[test]
            fn an_oversized_encoding_is_refused_unread() {
                let bytes = vec![<$type>::VERSION; <$type>::MAX_BYTES + 1];
                let (result, peak) = peak_of(|| decode::<$type>(&bytes));
                let (name, len, max) = (<$type>::NAME, bytes.len(), <$type>::MAX_BYTES);
                assert_eq!(result.unwrap_err(), DecodeError::TooLarge { name, len, max });
                assert_eq!(peak, 0);
            }

            #[test]
            fn empty_bytes_are_refused() {
                assert_eq!(decode::<$type>(&[]).unwrap_err(), DecodeError::Empty(<$type>::NAME));
            }
        }
    };
}

decoder_tests!(manifest, Manifest, strategies::manifest());
decoder_tests!(epoch, Epoch, strategies::epoch());
decoder_tests!(gossip, Gossip, strategies::gossip());
decoder_tests!(request, Request, strategies::request());
decoder_tests!(response, Response, strategies::response());
decoder_tests!(end, End, strategies::end());
decoder_tests!(index, Index, strategies::index());

/// The bound for which a request of the right shape was refused.
fn bound_broken(request: &Request) -> &'static str {
    match decode_safely::<Request>(&encode(request)) {
        Err(DecodeError::Bound { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn invalid_attempts_are_refused() {
    let (job, stage) = (JobId([1; 32]), StageId(0));
    let accept = |attempts| Request::Accept(Accept { job, stage, epoch: 0, attempts, width: None });
    let beyond = Attempts::pack([AttemptId { task: TaskId(limits::TASKS), digest: Hash([1; 32]) }]);
    assert!(bound_broken(&accept(beyond)).contains("tasks"));
    let nameless = Attempts::pack([AttemptId { task: TaskId(3), digest: Hash([0; 32]) }]);
    assert!(bound_broken(&accept(nameless)).contains("digest"));
    let entry =
        PushEntry { task: TaskId(3), digest: Hash([1; 32]), segments: vec![(PartitionId(limits::PARTITIONS), 8)] };
    let push =
        |entry| Request::Push(Push { job, stage, epoch: 0, replica: false, entries: vec![entry], authors: vec![] });
    assert!(bound_broken(&push(entry.clone())).contains("partitions"));
    let nameless = PushEntry { digest: Hash([0; 32]), segments: vec![(PartitionId(0), 8)], ..entry };
    assert!(bound_broken(&push(nameless)).contains("digest"));
}

#[test]
fn a_claim_on_four_billion_blocks_is_refused() {
    let everything = Run::new(0, u32::MAX);
    let hold = Hold { run: everything, term: 0, speculative: false, settled: false };
    for (holds, done) in [(vec![hold], vec![]), (vec![], vec![everything])] {
        let claim =
            Claim { job: JobId([1; 32]), stage: StageId(0), shard: ShardId(0), number: 1, holds, done, finished: 0 };
        let refused = decode_safely::<Gossip>(&encode(&Gossip::Claims(vec![claim])));
        assert!(matches!(refused, Err(DecodeError::Bound { .. })), "{refused:?}");
    }
}

#[test]
fn a_pack_cannot_claim_more_documents_than_it_has_room_for() {
    let blob = BlobRef { hash: Hash([1; 32]), len: 1000 };
    let index = |documents| Index { packs: vec![PackRef { blob, documents, docs_per_task: 1 << 31 }] };
    assert!(decode_safely::<Index>(&encode(&index(u32::MAX))).is_err());
    assert!(decode_safely::<Index>(&encode(&index(250))).is_err());
    assert!(decode_safely::<Index>(&encode(&index(249))).is_ok());
}

proptest! {
    #[test]
    fn blocks_and_shards_that_do_not_exist_do_no_harm(manifest in strategies::manifest(), shard: u16, block: u32) {
        for stage in &manifest.stages {
            let blocks = stage.shard_blocks(ShardId(shard));
            prop_assert!(blocks.start <= blocks.end && blocks.end <= stage.blocks());
            prop_assert_eq!(blocks.is_empty(), shard >= stage.shards);
            prop_assert!(blocks.clone().all(|b| stage.shard_of_block(b) == ShardId(shard)));
            prop_assert!(stage.shard_of_block(block).0 < stage.shards);
            let tasks = stage.tasks_of_blocks(block..block.saturating_add(1));
            prop_assert!(tasks.end().0 <= stage.tasks);
        }
    }
}

#[test]
fn an_error_repeats_only_the_beginning_of_what_was_sent() {
    let variant = "é".repeat(4000);
    let mut bytes = vec![Gossip::VERSION, 3 << 5 | 25];
    bytes.extend_from_slice(&(variant.len() as u16).to_be_bytes());
    bytes.extend_from_slice(variant.as_bytes());
    let error = decode_safely::<Gossip>(&bytes).unwrap_err();
    assert!(error.to_string().contains("ééé"), "{error}");
}

#[test]
fn a_long_list_of_empty_strings_is_refused_before_it_fills_the_memory() {
    // `Hello` with as many empty addresses as fit into a request, in a list of indefinite length and in one of a stated
    // length.
    let advert = samples(strategies::request(), 400).into_iter().find_map(|request| match request {
        Request::Hello(mut advert) => {
            advert.addresses.clear();
            Some(encode(&Request::Hello(advert)))
        }
        _ => None,
    });
    let valid = advert.expect("one in twenty requests is a hello");
    let name = b"addresses";
    let at = valid.windows(name.len()).position(|w| w == name).expect("the field's name") + name.len();
    for head in [&[0x9f][..], &[0x9a, 0x00, 0x1f, 0x00, 0x00]] {
        let mut bytes = [&valid[..at], head].concat();
        bytes.resize(Request::MAX_BYTES, 0x60);
        let (result, peak) = peak_of(|| decode::<Request>(&bytes));
        assert!(result.is_err());
        assert!(peak < 16 << 10, "{peak} bytes held");
    }
}

proptest! {
    #[test]
    fn changed_packs_do_no_harm(
        mut bytes in strategies::pack(), changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..6),
        end: prop::sample::Index, word in prop::option::of(any::<(prop::sample::Index, u32)>()),
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some((at, word)) = word {
            let at = at.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(end.index(bytes.len()) + 1);
        let (sent, bytes) = (bytes.len(), Bytes::from(bytes));
        let (parsed, peak) = peak_of(|| Pack::parse(bytes));
        prop_assert!(peak <= allowed(sent));
        if let Ok(pack) = parsed {
            let documents: usize = (0..pack.documents()).map(|i| pack.document(i).unwrap().len()).sum();
            prop_assert_eq!(4 + 4 * pack.documents() as usize + documents, sent);
        }
    }

    #[test]
    fn changed_segments_do_no_harm(
        segment in strategies::segment(), changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..6),
        end: prop::sample::Index, bucket in prop_oneof![0u32..12, any::<u32>()],
    ) {
        let mut bytes = segment.to_vec();
        for (at, byte) in changes.into_iter().filter(|_| !segment.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len() + 1));
        if let Ok(found) = segment::buckets(&bytes, bucket..bucket.saturating_add(1)) {
            prop_assert!(found.len() < bytes.len().max(1));
        }
    }

    #[test]
    fn a_changed_document_does_not_open_as_another(
        signed in strategies::signed(strategies::epoch()),
        changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ) {
        let mut bytes = encode(&Request::NewEpoch(signed.clone()));
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let Ok(Request::NewEpoch(changed)) = decode_safely(&bytes) else { return Ok(()) };
        if let Ok(opened) = changed.open() {
            prop_assert_eq!(opened, signed.open().unwrap());
            prop_assert_eq!(changed.signer(), signed.signer());
        }
    }

    #[test]
    fn a_valid_document_opens(signed in strategies::signed(strategies::manifest())) {
        let Response::Manifest(travelled) = decode_safely(&encode(&Response::Manifest(signed.clone()))).unwrap() else {
            return Err(TestCaseError::fail("another answer"));
        };
        prop_assert_eq!(travelled.hash(), signed.hash());
        prop_assert_eq!(travelled.open().unwrap(), signed.open().unwrap());
    }
}

/// A document with the name of an epoch that is not one.
#[derive(Debug, Serialize, Deserialize)]
struct NoEpoch(Vec<u8>);

impl Wire for NoEpoch {
    const NAME: &'static str = Epoch::NAME;
    const MAX_BYTES: usize = 1 << 20;

    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Document for NoEpoch {}

/// A request that carries another document where the real one carries an epoch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
enum Forged<T> {
    NewEpoch(Signed<T>),
}

impl<T: Document> Wire for Forged<T> {
    const NAME: &'static str = Request::NAME;
    const MAX_BYTES: usize = Request::MAX_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// The error for `document`, validly signed, in place of an epoch.
fn passed_off_as_an_epoch<T: Document>(document: &T) -> SignedError {
    let signed = Keypair::from_secret([7; 32]).sign(document);
    match decode::<Request>(&encode(&Forged::NewEpoch(signed))) {
        Ok(Request::NewEpoch(epoch)) => epoch.open().expect_err("it is no epoch"),
        other => panic!("the request around it is valid: {other:?}"),
    }
}

#[test]
fn a_malformed_document_is_refused_despite_a_valid_signature() {
    for payload in [vec![], vec![0x9f; 1000]] {
        let error = passed_off_as_an_epoch(&NoEpoch(payload));
        assert!(matches!(error, SignedError::Decode(DecodeError::Malformed { .. })), "{error}");
    }
    let error = passed_off_as_an_epoch(&NoEpoch(vec![0; Epoch::MAX_BYTES]));
    assert!(matches!(error, SignedError::Decode(DecodeError::TooLarge { .. })), "{error}");
}

#[test]
fn one_kind_of_document_is_not_taken_for_another() {
    let error = passed_off_as_an_epoch(&End { job: JobId([1; 32]), outcome: Outcome::Done });
    assert!(matches!(error, SignedError::Signature(_)), "{error}");
}

#[test]
fn a_weak_key_that_verifies_any_message_is_refused() {
    // The neutral point: with it as the key, one signature is valid for all bytes unless such keys are refused.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let valid = encode(&Request::NewEpoch(samples(strategies::signed(strategies::epoch()), 1).remove(0)));
    let Ok(Request::NewEpoch(signed)) = decode::<Request>(&valid) else { panic!("it was valid") };
    let signer = valid.windows(32).position(|w| w == signed.signer().as_bytes()).expect("the signer's key");
    let mut forged = valid.clone();
    forged[signer..signer + 32].copy_from_slice(&neutral);
    let signature = forged.len() - 64;
    forged[signature..].fill(0);
    forged[signature] = 1;
    let Ok(Request::NewEpoch(forged)) = decode::<Request>(&forged) else { panic!("only the key was changed") };
    assert_eq!(forged.signer(), PeerKey(neutral));
    assert!(forged.open().is_err());
}
