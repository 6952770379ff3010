//! The Data Channel Establishment Protocol (RFC 8832): what opens a channel, and its confirmation.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Type of DATA_CHANNEL_ACK.
const ACK: u8 = 0x02;
/// Type of DATA_CHANNEL_OPEN.
const OPEN: u8 = 0x03;

/// A message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Opens the channel on whose stream it comes. Reliability and label are of no interest here: streams of libp2p
    /// are reliable and ordered, and the label may be anything.
    Open {
        /// Name of what the channel carries.
        protocol: Bytes,
    },
    /// The other side has taken note.
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
                message.put_u32(0); // no bound on repetitions
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
    fn what_chromium_sends_is_understood() {
        let open = [&[3, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 2][..], b"labelxy"].concat();
        assert_eq!(Message::decode(open.into()), Some(Message::Open { protocol: Bytes::from_static(b"xy") }));
        assert_eq!(Message::decode(Bytes::from_static(&[2])), Some(Message::Ack));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        for length in [0, 1, 5, 11, 13] {
            let open = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..length].to_vec();
            assert_eq!(Message::decode(open.into()), None, "{length}");
        }
        assert_eq!(Message::decode(Bytes::from_static(&[3, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(protocol in "[a-z/0-9]{0,40}") {
            let open = Message::Open { protocol: protocol.into() };
            prop_assert_eq!(Message::decode(open.encode()), Some(open));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in any::<Vec<u8>>()) {
            let _ = Message::decode(bytes.into());
        }
    }
}
