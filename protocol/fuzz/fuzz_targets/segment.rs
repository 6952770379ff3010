//! Segments: looking for a bucket does no harm, and the buckets that a segment has do not overlap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webmesh_protocol::segment::{buckets, take_varint};

fuzz_target!(|input: &[u8]| {
    let Some((&number, segment)) = input.split_first() else { return };
    let number = u32::from(number);
    let Ok(found) = buckets(segment, number..number + 1) else { return };
    assert!(found.len() <= segment.len());
    // The segment is well formed: no bucket is refused, and together they are no longer than the segment.
    let sizes = (0..=255).map(|b| buckets(segment, b..b + 1).expect("one bucket was found, so is any").len());
    assert!(sizes.sum::<usize>() <= segment.len());
    assert!(take_varint(&mut &segment[..]).is_ok());
});
