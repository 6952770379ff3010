//! Messages on a data channel: protobuf with a length in front, and an extension for credits.
//!
//! The specification's message has a flag and data. We add one number that others skip: how far the writer may go
//! (see [`crate::stream`]). Length, flag and data are written by hand rather than through a protobuf library: three
//! fields, on the path of every byte, and the data is to be sliced, not copied.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{DATA_BYTES, MESSAGE_BYTES};

/// Field of the flag, a varint.
const FLAG: u64 = 1 << 3;
/// Field of the data, length-delimited.
const DATA: u64 = (2 << 3) | 2;
/// Field of the credit, a varint. Its number is far from what the specification may use next.
const CREDIT: u64 = 100 << 3;

/// What a message says beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// The sender will send no more data.
    Fin = 0,
    /// The sender will read no more data.
    StopSending = 1,
    /// The sender gives up the data that it has not sent.
    Reset = 2,
    /// The sender has received a [`Flag::Fin`] and all before it.
    FinAck = 3,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Flag, if any. Acts after the data.
    pub flag: Option<Flag>,
    /// Data, perhaps none.
    pub data: Bytes,
    /// Bytes of data, counted from the start of the stream, that the receiver of this message may send in all.
    pub credit: Option<u64>,
}

/// Why bytes on a data channel are no messages. The stream cannot go on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMessage {
    /// Longer than the specification allows.
    #[error("a message of {0} bytes is over the limit of {MESSAGE_BYTES}")]
    TooLong(u64),
    /// Not protobuf, or a field of the wrong type.
    #[error("a message is not valid protobuf")]
    Malformed,
    /// A flag that this version does not know.
    #[error("unknown flag {0}")]
    UnknownFlag(u64),
}

impl Message {
    /// A message of nothing but a flag.
    pub fn flag(flag: Flag) -> Self {
        Self { flag: Some(flag), ..Self::default() }
    }

    /// Encodes with the length in front. `data` is at most [`DATA_BYTES`] long, less 12 bytes if there is a credit.
    pub fn encode(&self) -> Bytes {
        debug_assert!(self.data.len() + if self.credit.is_some() { 12 } else { 0 } <= DATA_BYTES);
        let mut body = BytesMut::with_capacity(self.data.len() + 24);
        if let Some(flag) = self.flag {
            put_varint(&mut body, FLAG);
            put_varint(&mut body, flag as u64);
        }
        if !self.data.is_empty() {
            put_varint(&mut body, DATA);
            put_varint(&mut body, self.data.len() as u64);
            body.put_slice(&self.data);
        }
        if let Some(credit) = self.credit {
            put_varint(&mut body, CREDIT);
            put_varint(&mut body, credit);
        }
        let mut message = BytesMut::with_capacity(body.len() + 3);
        put_varint(&mut message, body.len() as u64);
        message.put_slice(&body);
        message.freeze()
    }

    fn decode(mut body: Bytes) -> Result<Self, InvalidMessage> {
        let mut message = Self::default();
        while body.has_remaining() {
            match take_varint(&mut body)? {
                FLAG => {
                    message.flag = Some(match take_varint(&mut body)? {
                        0 => Flag::Fin,
                        1 => Flag::StopSending,
                        2 => Flag::Reset,
                        3 => Flag::FinAck,
                        other => return Err(InvalidMessage::UnknownFlag(other)),
                    });
                }
                DATA => message.data = take_bytes(&mut body)?,
                CREDIT => message.credit = Some(take_varint(&mut body)?),
                // Fields of later versions are skipped by their wire type.
                key => match key & 7 {
                    0 => drop(take_varint(&mut body)?),
                    1 => drop(take(&mut body, 8)?),
                    2 => drop(take_bytes(&mut body)?),
                    5 => drop(take(&mut body, 4)?),
                    _ => return Err(InvalidMessage::Malformed),
                },
            }
        }
        Ok(message)
    }
}

/// A data message of one part of a buffer, encoded without a copy in between. Empties the part that it takes.
pub(crate) fn encode_data(buffer: &mut BytesMut) -> Bytes {
    let length = buffer.len().min(DATA_BYTES);
    let body = 1 + varint_len(length as u64) + length;
    let mut message = BytesMut::with_capacity(varint_len(body as u64) + body);
    put_varint(&mut message, body as u64);
    put_varint(&mut message, DATA);
    put_varint(&mut message, length as u64);
    message.put_slice(&buffer[..length]);
    buffer.advance(length);
    message.freeze()
}

/// Cuts messages out of what a data channel delivers.
///
/// The specification puts one message into each delivery; some implementations put several, or cut one in two, so
/// deliveries are treated as one stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Less than one message, unless [`Decoder::next`] has not been called to the end.
    rest: Bytes,
}

impl Decoder {
    /// Takes one delivery.
    pub fn push(&mut self, delivery: Bytes) {
        if self.rest.is_empty() {
            self.rest = delivery;
        } else {
            let mut joined = BytesMut::with_capacity(self.rest.len() + delivery.len());
            joined.put_slice(&self.rest);
            joined.put_slice(&delivery);
            self.rest = joined.freeze();
        }
    }

    /// The next whole message.
    pub fn next_message(&mut self) -> Result<Option<Message>, InvalidMessage> {
        let mut ahead = &self.rest[..];
        let length = match try_varint(&mut ahead)? {
            Some(length) if length > MESSAGE_BYTES as u64 => return Err(InvalidMessage::TooLong(length)),
            Some(length) if length as usize <= ahead.len() => length as usize,
            _ => return Ok(None),
        };
        self.rest.advance(self.rest.len() - ahead.len());
        Message::decode(self.rest.split_to(length)).map(Some)
    }
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// A varint, or none if the bytes end within it.
fn try_varint(bytes: &mut &[u8]) -> Result<Option<u64>, InvalidMessage> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate() {
        // The tenth byte has room for one bit of the 64.
        if i == 9 && byte > 1 {
            return Err(InvalidMessage::Malformed);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn take_varint(bytes: &mut Bytes) -> Result<u64, InvalidMessage> {
    let mut ahead = &bytes[..];
    let value = try_varint(&mut ahead)?.ok_or(InvalidMessage::Malformed)?;
    bytes.advance(bytes.len() - ahead.len());
    Ok(value)
}

fn take(bytes: &mut Bytes, length: u64) -> Result<Bytes, InvalidMessage> {
    match usize::try_from(length) {
        Ok(length) if length <= bytes.len() => Ok(bytes.split_to(length)),
        _ => Err(InvalidMessage::Malformed),
    }
}

fn take_bytes(bytes: &mut Bytes) -> Result<Bytes, InvalidMessage> {
    let length = take_varint(bytes)?;
    take(bytes, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(deliveries: &[&[u8]]) -> Result<Vec<Message>, InvalidMessage> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for delivery in deliveries {
            decoder.push(Bytes::copy_from_slice(delivery));
            while let Some(message) = decoder.next_message()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let flag = prop_oneof![Just(Flag::Fin), Just(Flag::StopSending), Just(Flag::Reset), Just(Flag::FinAck)];
        let data = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        (proptest::option::of(flag), data, proptest::option::of(any::<u64>()))
            .prop_map(|(flag, data, credit)| Message { flag, data, credit })
    }

    #[test]
    fn messages_look_as_others_expect_them() {
        assert_eq!(Message::flag(Flag::FinAck).encode()[..], [2, 0x08, 3]);
        let data = Message { data: Bytes::from_static(b"hi"), ..Message::default() };
        assert_eq!(data.encode()[..], [4, 0x12, 2, b'h', b'i']);
        let credit = Message { credit: Some(1), ..Message::default() };
        assert_eq!(credit.encode()[..], [3, 0xa0, 0x06, 1]);
    }

    #[test]
    fn the_largest_message_is_at_most_16_kib() {
        let mut buffer = BytesMut::from(&vec![7; 3 * DATA_BYTES][..]);
        let first = encode_data(&mut buffer);
        assert!(first.len() <= MESSAGE_BYTES, "{}", first.len());
        assert_eq!(buffer.len(), 2 * DATA_BYTES);
        assert_eq!(decode_all(&[&first]).unwrap()[0].data.len(), DATA_BYTES);
        let all = Message { flag: Some(Flag::Fin), data: vec![7; DATA_BYTES].into(), credit: None };
        assert!(all.encode().len() <= MESSAGE_BYTES);
    }

    #[test]
    fn fields_of_later_versions_are_skipped() {
        let body: &[u8] = &[0x18, 0x96, 0x01, 0x22, 2, 9, 9, 0x2d, 1, 2, 3, 4, 0x31, 1, 2, 3, 4, 5, 6, 7, 8, 0x08, 0];
        let delivery = [&[body.len() as u8], body].concat();
        assert_eq!(decode_all(&[&delivery]), Ok(vec![Message::flag(Flag::Fin)]));
    }

    #[test]
    fn a_length_past_the_limit_is_refused_before_anything_is_kept() {
        assert_eq!(decode_all(&[&[0x81, 0x80, 0x01]]), Err(InvalidMessage::TooLong(16385)));
        assert_eq!(decode_all(&[&[0xff; 10]]), Err(InvalidMessage::Malformed));
    }

    #[test]
    fn broken_fields_are_refused() {
        for body in [&[0x12u8, 5, 1][..], &[0x08], &[0x0b], &[0x12]] {
            let delivery = [&[body.len() as u8], body].concat();
            assert_eq!(decode_all(&[&delivery]), Err(InvalidMessage::Malformed), "{body:?}");
        }
        assert_eq!(decode_all(&[&[2, 0x08, 4]]), Err(InvalidMessage::UnknownFlag(4)));
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(messages in proptest::collection::vec(any_message(), 1..6), cut in 1usize..400) {
            let bytes = messages.iter().flat_map(|m| m.encode()).collect::<Vec<u8>>();
            let deliveries = bytes.chunks(cut).collect::<Vec<_>>();
            prop_assert_eq!(decode_all(&deliveries).unwrap(), messages);
        }

        #[test]
        fn any_bytes_are_read_without_harm(deliveries in proptest::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let deliveries = deliveries.iter().map(|d| &d[..]).collect::<Vec<_>>();
            let _ = decode_all(&deliveries);
        }

        #[test]
        fn varints_have_the_length_that_is_reckoned(value in any::<u64>(), shift in 0u32..64) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value >> shift);
            prop_assert_eq!(out.len(), varint_len(value >> shift));
            prop_assert_eq!(take_varint(&mut out.freeze()), Ok(value >> shift));
        }
    }
}
