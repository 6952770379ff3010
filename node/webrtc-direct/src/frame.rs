//! Messages on a data channel: length-prefixed protobuf, with an extension field for credits.
//!
//! The specification's message has a flag and data. This crate adds a field that other implementations skip: the total
//! number of bytes that the writer may send (see [`crate::stream`]). The encoding is hand-written rather than
//! generated: there are three fields, every byte passes here, and decoding slices the data instead of copying it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{DATA_BYTES, MESSAGE_BYTES};

/// Key of the flag field, a varint.
const FLAG: u64 = 1 << 3;
/// Key of the data field, length-delimited.
const DATA: u64 = (2 << 3) | 2;
/// Key of the credit field, a varint. The number is far from those that the specification may assign next.
const CREDIT: u64 = 100 << 3;

/// The flag of a message, with the specification's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// The sender will send no more data.
    Fin = 0,
    /// The sender will read no more data.
    StopSending = 1,
    /// The sender abandons its half of the stream: data not sent yet will not come.
    Reset = 2,
    /// The sender has received a [`Flag::Fin`] and everything before it.
    FinAck = 3,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Flag, if any. Takes effect after the data.
    pub flag: Option<Flag>,
    /// Data; may be empty.
    pub data: Bytes,
    /// Credit: the total number of data bytes, counted from the start of the stream, that the receiver of this message
    /// may send.
    pub credit: Option<u64>,
}

/// Why bytes on a data channel are not a message. Fatal to the stream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMessage {
    /// Longer than the specification allows.
    #[error("a message of {0} bytes exceeds the limit of {MESSAGE_BYTES}")]
    TooLong(u64),
    /// Not protobuf, or a field of the wrong type.
    #[error("a message is not valid protobuf")]
    Malformed,
    /// A flag that the specification does not define.
    #[error("unknown flag {0}")]
    UnknownFlag(u64),
}

impl Message {
    /// A message with only a flag.
    pub fn flag(flag: Flag) -> Self {
        Self { flag: Some(flag), ..Self::default() }
    }

    /// Encodes the message with its length prefix. `data` must be at most [`DATA_BYTES`] long, or 12 bytes less if
    /// there is a credit.
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
                // Unknown fields are skipped according to their wire type.
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

/// Encodes a data message from the first bytes of a buffer, at most `bound`, and removes them from it.
pub(crate) fn encode_data(buffer: &mut BytesMut, bound: usize) -> Bytes {
    let length = buffer.len().min(bound);
    let body = 1 + varint_len(length as u64) + length;
    let mut message = BytesMut::with_capacity(varint_len(body as u64) + body);
    put_varint(&mut message, body as u64);
    put_varint(&mut message, DATA);
    put_varint(&mut message, length as u64);
    message.put_slice(&buffer[..length]);
    buffer.advance(length);
    message.freeze()
}

/// Splits what a data channel delivers into messages.
///
/// The specification puts one message into each delivery. Some implementations put in several, or split one, so
/// deliveries are treated as one byte stream.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Less than one message, once [`Decoder::next_message`] has returned none.
    rest: Bytes,
}

impl Decoder {
    /// Appends a delivery.
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

    /// The next complete message; none if more bytes are needed.
    ///
    /// # Errors
    /// [`InvalidMessage`], after which the stream cannot continue.
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

/// Takes a varint; none if the bytes end within it.
fn try_varint(bytes: &mut &[u8]) -> Result<Option<u64>, InvalidMessage> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate() {
        // The tenth byte holds the last of the 64 bits.
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
    fn messages_have_the_specified_encoding() {
        assert_eq!(Message::flag(Flag::FinAck).encode()[..], [2, 0x08, 3]);
        let data = Message { data: Bytes::from_static(b"hi"), ..Message::default() };
        assert_eq!(data.encode()[..], [4, 0x12, 2, b'h', b'i']);
        let credit = Message { credit: Some(1), ..Message::default() };
        assert_eq!(credit.encode()[..], [3, 0xa0, 0x06, 1]);
    }

    #[test]
    fn the_largest_message_is_at_most_16_kib() {
        let mut buffer = BytesMut::from(&vec![7; 3 * DATA_BYTES][..]);
        let first = encode_data(&mut buffer, DATA_BYTES);
        assert!(first.len() <= MESSAGE_BYTES, "{}", first.len());
        assert_eq!(buffer.len(), 2 * DATA_BYTES);
        assert_eq!(decode_all(&[&first]).unwrap()[0].data.len(), DATA_BYTES);
        let all = Message { flag: Some(Flag::Fin), data: vec![7; DATA_BYTES].into(), credit: None };
        assert!(all.encode().len() <= MESSAGE_BYTES);
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let body: &[u8] = &[0x18, 0x96, 0x01, 0x22, 2, 9, 9, 0x2d, 1, 2, 3, 4, 0x31, 1, 2, 3, 4, 5, 6, 7, 8, 0x08, 0];
        let delivery = [&[body.len() as u8], body].concat();
        assert_eq!(decode_all(&[&delivery]), Ok(vec![Message::flag(Flag::Fin)]));
    }

    #[test]
    fn an_excessive_length_is_refused_before_the_message_is_buffered() {
        assert_eq!(decode_all(&[&[0x81, 0x80, 0x01]]), Err(InvalidMessage::TooLong(16385)));
        assert_eq!(decode_all(&[&[0xff; 10]]), Err(InvalidMessage::Malformed));
    }

    #[test]
    fn malformed_fields_are_refused() {
        for body in [&[0x12u8, 5, 1][..], &[0x08], &[0x0b], &[0x12]] {
            let delivery = [&[body.len() as u8], body].concat();
            assert_eq!(decode_all(&[&delivery]), Err(InvalidMessage::Malformed), "{body:?}");
        }
        assert_eq!(decode_all(&[&[2, 0x08, 4]]), Err(InvalidMessage::UnknownFlag(4)));
    }

    proptest! {
        #[test]
        fn messages_survive_any_split(messages in proptest::collection::vec(any_message(), 1..6), cut in 1usize..400) {
            let bytes = messages.iter().flat_map(|m| m.encode()).collect::<Vec<u8>>();
            let deliveries = bytes.chunks(cut).collect::<Vec<_>>();
            prop_assert_eq!(decode_all(&deliveries).unwrap(), messages);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(deliveries in proptest::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let deliveries = deliveries.iter().map(|d| &d[..]).collect::<Vec<_>>();
            let _ = decode_all(&deliveries);
        }

        #[test]
        fn varints_round_trip_and_have_the_computed_length(value in any::<u64>(), shift in 0u32..64) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value >> shift);
            prop_assert_eq!(out.len(), varint_len(value >> shift));
            prop_assert_eq!(take_varint(&mut out.freeze()), Ok(value >> shift));
        }
    }
}
