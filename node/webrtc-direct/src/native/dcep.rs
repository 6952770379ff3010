//! Messages of the Data Channel Establishment Protocol (DCEP, RFC 8832).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Type of DATA_CHANNEL_ACK.
const ACK: u8 = 0x02;
/// Type of DATA_CHANNEL_OPEN.
const OPEN: u8 = 0x03;

/// A message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// DATA_CHANNEL_OPEN. Reliability and label are ignored: libp2p's streams are reliable and ordered, and the label
    /// has no meaning.
    Open {
        /// The channel's subprotocol.
        protocol: Bytes,
    },
    /// DATA_CHANNEL_ACK.
    Ack,
}

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Ack => Bytes::from_static(&[ACK]),
            Self::Open { protocol } => {
                let mut message = BytesMut::with_capacity(12 + protocol.len());
                message.put_u8(OPEN);
                message.put_u8(0); // reliable and ordered
                message.put_u16(0); // priority
                message.put_u32(0); // unlimited retransmissions
                message.put_u16(0); // no label
                message.put_u16(protocol.len() as u16);
                message.put_slice(protocol);
                message.freeze()
            }
        }
    }

    /// None if it is malformed.
    pub(crate) fn decode(mut message: Bytes) -> Option<Self> {
        match message.try_get_u8().ok()? {
            ACK => Some(Self::Ack),
            OPEN if message.remaining() >= 11 => {
                message.advance(7); // channel type, priority, reliability
                let label = usize::from(message.get_u16());
                let protocol = usize::from(message.get_u16());
                if message.remaining() != label + protocol {
                    return None;
                }
                message.advance(label);
                Some(Self::Open { protocol: message })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_of_chromium_are_decoded() {
        let open = [&[3, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 2][..], b"labelxy"].concat();
        assert_eq!(Message::decode(open.into()), Some(Message::Open { protocol: Bytes::from_static(b"xy") }));
        assert_eq!(Message::decode(Bytes::from_static(&[2])), Some(Message::Ack));
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for length in [0, 1, 5, 11, 13] {
            let open = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..length].to_vec();
            assert_eq!(Message::decode(open.into()), None, "{length}");
        }
        assert_eq!(Message::decode(Bytes::from_static(&[3, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])), None);
    }

    proptest! {
        #[test]
        fn an_open_message_round_trips(protocol in "[a-z/0-9]{0,40}") {
            let open = Message::Open { protocol: protocol.into() };
            prop_assert_eq!(Message::decode(open.encode()), Some(open));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in any::<Vec<u8>>()) {
            let _ = Message::decode(bytes.into());
        }
    }
}
