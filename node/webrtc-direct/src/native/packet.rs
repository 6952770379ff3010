//! As much of SCTP packets (RFC 9260, RFC 6525) as must be seen from outside the association.

use bytes::Buf;

/// What is worth knowing in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// INIT or INIT ACK: the first sequence number that its sender will use.
    Init { first_tsn: u32 },
    /// SACK: all up to here has come, and how much more is welcome.
    Sack { cumulative_tsn: u32, window: u32 },
    /// Outgoing reset of streams, to be carried out once all up to `last_tsn` has come.
    ResetRequest { sequence: u32, last_tsn: u32, streams: Vec<u16> },
    /// Answer to a reset.
    ResetResponse { sequence: u32, outcome: Outcome },
}

/// What became of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done, or never will be: in either case it need not be repeated.
    Final,
    /// To be repeated later.
    InProgress,
}

/// Reads what is of interest, and passes over the rest, also over what is malformed: the association judges that.
pub(crate) fn read(packet: &[u8]) -> Vec<Chunk> {
    let mut found = Vec::new();
    for (kind, body) in Parts(packet.get(12..).unwrap_or_default(), 1) {
        match kind {
            1 | 2 => found.extend(read_init(body)),
            3 => found.extend(read_sack(body)),
            130 => found.extend(Parts(body, 2).filter_map(|(kind, body)| read_parameter(kind, body))),
            _ => {}
        }
    }
    found
}

fn read_init(mut body: &[u8]) -> Option<Chunk> {
    if body.len() < 16 {
        return None;
    }
    body.advance(12);
    Some(Chunk::Init { first_tsn: body.get_u32() })
}

fn read_sack(mut body: &[u8]) -> Option<Chunk> {
    Some(Chunk::Sack { cumulative_tsn: body.try_get_u32().ok()?, window: body.try_get_u32().ok()? })
}

fn read_parameter(kind: u16, mut body: &[u8]) -> Option<Chunk> {
    match kind {
        13 if body.len() >= 12 => {
            let sequence = body.get_u32();
            body.advance(4);
            let last_tsn = body.get_u32();
            let streams = body.chunks_exact(2).map(|id| u16::from_be_bytes([id[0], id[1]])).collect();
            Some(Chunk::ResetRequest { sequence, last_tsn, streams })
        }
        16 if body.len() >= 8 => {
            let sequence = body.get_u32();
            // 4: another request is in progress. 6: this one is.
            let outcome = if matches!(body.get_u32(), 4 | 6) { Outcome::InProgress } else { Outcome::Final };
            Some(Chunk::ResetResponse { sequence, outcome })
        }
        _ => None,
    }
}

/// Chunks of a packet (a type of one byte, then flags) or parameters of a chunk (a type of two bytes).
struct Parts<'a>(&'a [u8], usize);

impl<'a> Iterator for Parts<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let Self(rest, width) = self;
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let kind = if *width == 1 { u16::from(rest[0]) } else { u16::from_be_bytes([rest[0], rest[1]]) };
        let body = rest.get(4..length)?;
        *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    }
}

/// Whether `a` comes before `b` or is `b`, in the arithmetic of serial numbers (RFC 1982).
pub(crate) fn at_most(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 <= 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: [u8; 12] = [0; 12];

    #[test]
    fn bundled_chunks_are_all_seen() {
        let sack = [3, 0, 0, 16, 0, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0, 0];
        let reset = [130, 0, 0, 22, 0, 13, 0, 18, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 0, 0];
        let response = [130, 0, 0, 16, 0, 16, 0, 12, 0, 0, 0, 4, 0, 0, 0, 6];
        let packet = [&HEADER[..], &sack, &reset, &response].concat();
        assert_eq!(
            read(&packet),
            [
                Chunk::Sack { cumulative_tsn: 9, window: 65536 },
                Chunk::ResetRequest { sequence: 5, last_tsn: 8, streams: vec![2] },
                Chunk::ResetResponse { sequence: 4, outcome: Outcome::InProgress },
            ]
        );
    }

    #[test]
    fn serial_numbers_wrap() {
        assert!(at_most(u32::MAX, 0) && at_most(5, 5) && !at_most(0, u32::MAX));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[&HEADER[..], &[130, 0], &(bytes.len() as u16 + 4).to_be_bytes(), &bytes].concat());
        }
    }
}
