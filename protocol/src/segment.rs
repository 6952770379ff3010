//! Segments: what one attempt wrote for one partition, and the digest that identifies the whole attempt.
//!
//! A segment is a directory of its buckets, then their bytes: `varint n`, then *n* times `varint bucket` (counted from
//! the partition's first, ascending) and `varint length`, then the buckets' bytes in that order. A bucket holds shuffle
//! records as the guest wrote them; their layout is part of the guest interface (`docs/guest-abi.md`).

use std::mem;
use std::ops::Range;

use bytes::Bytes;

use crate::id::Hash;
use crate::part::PartitionId;

/// The most bytes that a segment's directory adds to those of its buckets: for the segment, and for each bucket.
pub const DIRECTORY_BYTES: (u64, u64) = (3, 8);

/// Why bytes are not a segment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed segment: {0}")]
pub struct SegmentError(&'static str);

/// What one attempt produced for the shuffle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The hash over its segments' hashes (rule 9).
    pub digest: Hash,
    /// The partitions with any output, ascending, with their segments.
    pub segments: Vec<(PartitionId, Bytes)>,
}

impl Attempt {
    /// Cuts a guest's output into segments. `offsets` has one entry more than there are buckets;
    /// bucket *b* is `data[offsets[b]..offsets[b + 1]]`.
    pub fn cut(data: &[u8], offsets: &[u32], partitions: u16) -> Result<Self, SegmentError> {
        let buckets = offsets.len().checked_sub(1).ok_or(SegmentError("no offsets"))?;
        if partitions == 0 || buckets == 0 || !buckets.is_multiple_of(usize::from(partitions)) {
            return Err(SegmentError("buckets that do not divide into partitions"));
        }
        if !ascends(offsets) || offsets.last().is_some_and(|&end| end as usize > data.len()) {
            return Err(SegmentError("offsets that run backwards or past the data"));
        }
        let per = buckets / usize::from(partitions);
        let filled = filled_buckets(offsets);
        let mut out = Vec::with_capacity(data.len() + filled.len() * 4 + 2 * usize::from(partitions));
        let mut cuts = Vec::new();
        for filled in filled.chunk_by(|a, b| a / per == b / per) {
            put_varint(&mut out, filled.len() as u64);
            for &bucket in filled {
                put_varint(&mut out, (bucket % per) as u64);
                put_varint(&mut out, u64::from(offsets[bucket + 1] - offsets[bucket]));
            }
            let partition = filled[0] / per;
            out.extend_from_slice(&data[offsets[partition * per] as usize..offsets[(partition + 1) * per] as usize]);
            cuts.push((PartitionId::of_index(partition), out.len()));
        }
        let whole = Bytes::from(out);
        let mut start = 0;
        let segments: Vec<(PartitionId, Bytes)> = cuts
            .into_iter()
            .map(|(partition, end)| (partition, whole.slice(mem::replace(&mut start, end)..end)))
            .collect();
        Ok(Self { digest: digest(&segments), segments })
    }

    /// The total length of its segments, in bytes.
    pub fn len(&self) -> usize {
        self.segments.iter().map(|(_, s)| s.len()).sum()
    }

    /// Whether it wrote nothing.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// Whether offsets never descend. A small task has a thousand offsets and a few words, so this looks at all of them
/// without a branch, which the compiler turns into vector instructions.
pub fn ascends(offsets: &[u32]) -> bool {
    offsets.iter().zip(offsets.iter().skip(1)).fold(true, |ascends, (a, b)| ascends & (a <= b))
}

/// The non-empty buckets of ascending offsets. Most buckets of a small task are empty, and are skipped many at a time.
fn filled_buckets(offsets: &[u32]) -> Vec<usize> {
    const AT_ONCE: usize = 16;
    let mut filled = Vec::new();
    let (mut previous, mut bucket) = (offsets[0], 0);
    for ends in offsets[1..].chunks(AT_ONCE) {
        if ends.last() != Some(&previous) {
            for (bucket, &end) in (bucket..).zip(ends) {
                if end != previous {
                    filled.push(bucket);
                }
                previous = end;
            }
        }
        bucket += AT_ONCE;
    }
    filled
}

/// The digest of an attempt: the hash over the numbers and hashes of the partitions with any output. Leaving out an
/// empty partition identifies it as well as a hash of nothing would.
pub fn digest(segments: &[(PartitionId, Bytes)]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("webmesh 1 attempt digest");
    for (partition, segment) in segments {
        hasher.update(&partition.0.to_le_bytes());
        hasher.update(blake3::hash(segment).as_bytes());
    }
    Hash(*hasher.finalize().as_bytes())
}

/// The root over the accepted digests of all tasks of a stage: a reduce names it as what it has read (rule 12).
pub fn root(digests: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("webmesh 1 root of accepted digests");
    digests.iter().for_each(|digest| {
        hasher.update(&digest.0);
    });
    Hash(*hasher.finalize().as_bytes())
}

/// The bytes of neighbouring buckets (counted from the partition's first) within a segment; empty if it has none.
pub fn buckets(segment: &[u8], wanted: Range<u32>) -> Result<&[u8], SegmentError> {
    let mut rest = segment;
    let n = take_varint(&mut rest)?;
    if n > rest.len() as u64 {
        return Err(SegmentError("a directory longer than the segment"));
    }
    let wanted = u64::from(wanted.start)..u64::from(wanted.end);
    let (mut before, mut found, mut next) = (0u64, None::<Range<u64>>, Some(0));
    for _ in 0..n {
        let number = take_varint(&mut rest)?;
        let len = take_varint(&mut rest)?;
        if next.is_none_or(|next| number < next) {
            return Err(SegmentError("buckets that repeat or are out of order"));
        }
        next = number.checked_add(1);
        let after = before.checked_add(len).ok_or(SegmentError("a length that overflows"))?;
        if wanted.contains(&number) {
            found = Some(found.map_or(before, |found| found.start)..after);
        }
        before = after;
    }
    if before != rest.len() as u64 {
        return Err(SegmentError("a directory that does not match its bytes"));
    }
    Ok(found.map_or(&[][..], |found| &rest[found.start as usize..found.end as usize]))
}

/// Appends `n` as unsigned LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes an unsigned LEB128 number from the front of `bytes`.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, SegmentError> {
    let mut n = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        if i == 9 && byte > 1 {
            return Err(SegmentError("a number over 64 bits"));
        }
        n |= part << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Ok(n);
        }
    }
    Err(SegmentError("an unterminated number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_run_of_buckets_is_found_in_its_segment(
            lens in prop::collection::vec(prop_oneof![3 => Just(0), 1 => 0usize..9], 48),
            partitions in prop::sample::select(vec![1u16, 2, 3, 4, 6, 12, 48]),
        ) {
            let mut data = Vec::new();
            let mut offsets = vec![0u32];
            for (b, len) in lens.iter().enumerate() {
                data.extend(std::iter::repeat_n(b as u8, *len));
                offsets.push(data.len() as u32);
            }
            let attempt = Attempt::cut(&data, &offsets, partitions).unwrap();
            let per = 48 / u32::from(partitions);
            for (start, end) in (0..per).flat_map(|start| (start + 1..=per).map(move |end| (start, end))) {
                for partition in 0..partitions {
                    let first = u32::from(partition) * per;
                    let of = |b: u32| vec![b as u8; lens[b as usize]];
                    let expected: Vec<u8> = (first + start..first + end).flat_map(of).collect();
                    let got = attempt.segments.iter().find(|(p, _)| p.0 == partition)
                        .map_or(&[][..], |(_, s)| buckets(s, start..end).unwrap());
                    prop_assert_eq!(got, expected.as_slice());
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), b in 0u32..4) {
            let _ = buckets(&bytes, b..b + 2);
        }

        #[test]
        fn varints_survive_a_round_trip(n: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, n);
            let mut rest = out.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Ok(n));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn equal_outputs_have_equal_digests_and_different_ones_do_not() {
        let one = Attempt::cut(b"aabb", &[0, 2, 4], 2).unwrap();
        let same = Attempt::cut(b"aabb", &[0, 2, 4], 2).unwrap();
        let other = Attempt::cut(b"aabc", &[0, 2, 4], 2).unwrap();
        let moved = Attempt::cut(b"aabb", &[0, 4, 4], 2).unwrap();
        assert_eq!(one.digest, same.digest);
        assert_ne!(one.digest, other.digest);
        assert_ne!(one.digest, moved.digest);
    }
}
