//! The parts of SCTP packets (RFC 9260, RFC 6525) that are read and written outside the SCTP library.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Common header: ports, verification tag and checksum.
const HEADER_BYTES: usize = 12;
/// Chunk type DATA.
const DATA: u16 = 0;
/// Chunk type SACK.
const SACK: u16 = 3;
/// Chunk type RE-CONFIG: requests to reset streams, and their responses.
const RECONFIG: u16 = 130;
/// Parameter type "Outgoing SSN Reset Request".
const RESET_REQUEST: u16 = 13;
/// Types of the other requests: incoming SSN reset, SSN/TSN reset, add outgoing streams, add incoming streams.
const OTHER_REQUESTS: [u16; 4] = [14, 15, 17, 18];
/// Parameter type "Re-configuration Response".
const RESPONSE: u16 = 16;

/// A chunk or parameter that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// INIT or INIT ACK, with the initial TSN of its sender.
    Init { first_tsn: u32 },
    /// SACK: everything up to the cumulative TSN has been received; the receiver window in bytes.
    Sack { cumulative_tsn: u32, window: u32 },
    /// Outgoing reset of streams, to be performed once everything up to `last_tsn` has been received.
    ResetRequest { sequence: u32, last_tsn: u32, streams: Vec<u16> },
    /// Another kind of request, which data channels do not use.
    OtherRequest { sequence: u32 },
    /// Response to a request.
    Response { sequence: u32, outcome: Outcome },
}

/// Result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Success.
    Performed,
    /// Refused for good.
    Denied,
    /// The request must be retransmitted later.
    InProgress,
}

/// Ports and verification tag: the same in all packets of one direction of an established association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header([u8; 8]);

/// The packet's header; none if it is too short.
pub(crate) fn header(packet: &[u8]) -> Option<Header> {
    packet.first_chunk().map(|bytes| Header(*bytes))
}

/// Reads the chunks and parameters that matter here. Skips others and malformed ones, which are left to the library.
pub(crate) fn read(packet: &[u8]) -> Vec<Chunk> {
    let mut found = Vec::new();
    for (kind, body) in chunks(packet) {
        match kind {
            1 | 2 => found.extend(read_init(body)),
            SACK => found.extend(read_sack(body)),
            RECONFIG => found.extend(Parts(body, 2).filter_map(|(kind, body)| read_parameter(kind, body))),
            _ => {}
        }
    }
    found
}

/// Whether the packet starts with a DATA chunk. The library does not bundle DATA with other chunks.
pub(crate) fn is_data(packet: &[u8]) -> bool {
    packet.get(HEADER_BYTES) == Some(&(DATA as u8))
}

/// First and last TSN of the DATA chunks in a packet.
pub(crate) fn data(packet: &[u8]) -> Option<(u32, u32)> {
    let mut tsns = chunks(packet).filter(|(kind, _)| *kind == DATA).filter_map(|(_, mut body)| body.try_get_u32().ok());
    let first = tsns.next()?;
    Some((first, tsns.last().unwrap_or(first)))
}

/// The cumulative TSN of the packet's SACK, if it has one.
pub(crate) fn cumulative_tsn(packet: &[u8]) -> Option<u32> {
    chunks(packet).find_map(|(kind, mut body)| (kind == SACK).then(|| body.try_get_u32().ok())?)
}

/// The packet without its RE-CONFIG chunks; none if it has no others.
pub(crate) fn without_reconfig(packet: Bytes) -> Option<Bytes> {
    if chunks(&packet).all(|(kind, _)| kind != RECONFIG) {
        return Some(packet);
    }
    let mut rest = start(header(&packet)?);
    let mut at = HEADER_BYTES;
    for (kind, body) in chunks(&packet) {
        let end = packet.len().min(at + (4 + body.len()).next_multiple_of(4));
        if kind != RECONFIG {
            rest.put_slice(&packet[at..end]);
        }
        at = end;
    }
    (rest.len() > HEADER_BYTES).then(|| finish(rest))
}

/// A packet with an Outgoing SSN Reset Request. `answered`: the last request of the peer that was performed.
pub(crate) fn reset_request(to: Header, sequence: u32, answered: u32, last_tsn: u32, streams: &[u16]) -> Bytes {
    let length = 16 + 2 * streams.len() as u16;
    let mut packet = reconfig(to, RESET_REQUEST, length);
    packet.put_u32(sequence);
    packet.put_u32(answered);
    packet.put_u32(last_tsn);
    streams.iter().for_each(|&id| packet.put_u16(id));
    finish(packet)
}

/// A packet with a Re-configuration Response.
pub(crate) fn response(to: Header, sequence: u32, outcome: Outcome) -> Bytes {
    let mut packet = reconfig(to, RESPONSE, 12);
    packet.put_u32(sequence);
    packet.put_u32(match outcome {
        Outcome::Performed => 1,
        Outcome::Denied => 2,
        Outcome::InProgress => 6,
    });
    finish(packet)
}

fn start(Header(header): Header) -> BytesMut {
    let mut packet = BytesMut::from(&header[..]);
    packet.put_u32(0); // checksum, set by `finish`
    packet
}

/// Starts a packet with one RE-CONFIG chunk that has one parameter of the given length.
fn reconfig(to: Header, parameter: u16, length: u16) -> BytesMut {
    let mut packet = start(to);
    packet.put_u8(RECONFIG as u8);
    packet.put_u8(0);
    packet.put_u16(4 + length);
    packet.put_u16(parameter);
    packet.put_u16(length);
    packet
}

fn finish(mut packet: BytesMut) -> Bytes {
    packet.put_bytes(0, packet.len().next_multiple_of(4) - packet.len());
    let checksum = crc32c::crc32c(&packet);
    packet[8..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    packet.freeze()
}

fn chunks(packet: &[u8]) -> Parts<'_> {
    Parts(packet.get(HEADER_BYTES..).unwrap_or_default(), 1)
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
        RESET_REQUEST if body.len() >= 12 => {
            let sequence = body.get_u32();
            body.advance(4);
            let last_tsn = body.get_u32();
            let streams = body.chunks_exact(2).map(|id| u16::from_be_bytes([id[0], id[1]])).collect();
            Some(Chunk::ResetRequest { sequence, last_tsn, streams })
        }
        RESPONSE if body.len() >= 8 => {
            let sequence = body.get_u32();
            // 0: nothing to do. 4: another request in progress. 6: this request in progress.
            let outcome = match body.get_u32() {
                0 | 1 => Outcome::Performed,
                4 | 6 => Outcome::InProgress,
                _ => Outcome::Denied,
            };
            Some(Chunk::Response { sequence, outcome })
        }
        _ if OTHER_REQUESTS.contains(&kind) => Some(Chunk::OtherRequest { sequence: body.try_get_u32().ok()? }),
        _ => None,
    }
}

/// The chunks of a packet (type width 1 byte, then flags) or the parameters of a chunk (type width 2 bytes).
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

/// Whether `a <= b` in serial number arithmetic (RFC 1982).
pub(crate) fn at_most(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 <= 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: [u8; 12] = [0; 12];

    #[test]
    fn all_bundled_chunks_are_read() {
        let sack = [3, 0, 0, 16, 0, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0, 0];
        let reset = [130, 0, 0, 22, 0, 13, 0, 18, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 0, 0];
        let response = [130, 0, 0, 16, 0, 16, 0, 12, 0, 0, 0, 4, 0, 0, 0, 6];
        let packet = [&HEADER[..], &sack, &reset, &response].concat();
        assert_eq!(
            read(&packet),
            [
                Chunk::Sack { cumulative_tsn: 9, window: 65536 },
                Chunk::ResetRequest { sequence: 5, last_tsn: 8, streams: vec![2] },
                Chunk::Response { sequence: 4, outcome: Outcome::InProgress },
            ]
        );
    }

    #[test]
    fn written_packets_are_well_formed_and_read_back() {
        let to = header(&[7; 12]).unwrap();
        let request = reset_request(to, 5, 4, 9, &[2, 4, 6]);
        assert_eq!(read(&request), [Chunk::ResetRequest { sequence: 5, last_tsn: 9, streams: vec![2, 4, 6] }]);
        for outcome in [Outcome::Performed, Outcome::Denied, Outcome::InProgress] {
            assert_eq!(read(&response(to, 5, outcome)), [Chunk::Response { sequence: 5, outcome }]);
        }
        assert_eq!(request.len() % 4, 0);
        assert_eq!(header(&request), Some(to));
    }

    #[test]
    fn removing_reconfig_chunks_keeps_the_others() {
        let sack = [3, 0, 0, 16, 0, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0, 0];
        let data = [0, 3, 0, 17, 0, 0, 0, 8, 0, 2, 0, 0, 0, 0, 0, 53, 1, 0, 0, 0];
        let reset = [130, 0, 0, 22, 0, 13, 0, 18, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 0, 0];
        let packet = |parts: &[&[u8]]| [&[&HEADER[..]], parts].concat().concat();
        let rest = without_reconfig(packet(&[&sack, &reset, &data]).into()).unwrap();
        assert_eq!(rest[12..], packet(&[&sack, &data])[12..]);
        assert_eq!(super::data(&rest), Some((8, 8)));
        assert_eq!(without_reconfig(packet(&[&reset]).into()), None);
        let other = Bytes::from(packet(&[&sack]));
        assert_eq!(without_reconfig(other.clone()), Some(other));
    }

    #[test]
    fn serial_numbers_wrap() {
        assert!(at_most(u32::MAX, 0) && at_most(5, 5) && !at_most(0, u32::MAX));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_lose_only_reconfig_chunks(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let reset = [&HEADER[..], &[130, 0], &(bytes.len() as u16 + 4).to_be_bytes(), &bytes].concat();
            let _ = read(&reset);
            for packet in [bytes, reset] {
                let _ = data(&packet);
                let rest = without_reconfig(packet.into());
                let others = |chunk: &Chunk| matches!(chunk, Chunk::Init { .. } | Chunk::Sack { .. });
                prop_assert!(rest.is_none_or(|rest| read(&rest).iter().all(others)));
            }
        }
    }
}
