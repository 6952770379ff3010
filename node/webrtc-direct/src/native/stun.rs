//! The STUN messages (RFC 8489) that ICE uses here: Binding requests and their responses.

use std::net::SocketAddr;

use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};

use crate::credentials::{Credentials, InvalidCredentials, Pair};

/// Maximum size of a message: two username fragments of up to 256 characters, and some 80 bytes.
const MESSAGE_BYTES: usize = 700;
/// Priority of a host candidate (RFC 8445). It has no effect, as there is only one candidate pair.
const PRIORITY: u32 = 0x7eff_ffff;

/// A parsed STUN message.
pub(crate) struct Message<'a>(StunMessage<'a>);

/// Why a request opens no connection.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refused {
    #[error("not a STUN Binding request")]
    NoRequest,
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
    #[error("MESSAGE-INTEGRITY does not match the credentials")]
    Integrity,
}

/// Whether a datagram is STUN rather than DTLS (RFC 7983).
pub(crate) fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= 20 && datagram[0] < 4 && datagram[4..8] == [0x21, 0x12, 0xa4, 0x42]
}

impl<'a> Message<'a> {
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        // The parser does not check that the first two bits are zero, nor limit the length.
        if !is_stun(datagram) || datagram.len() > 2 * MESSAGE_BYTES {
            return None;
        }
        StunMessage::parse(datagram).ok().map(Self)
    }

    pub(crate) fn is_request(&self) -> bool {
        self.0.is_binding_request()
    }

    pub(crate) fn is_response(&self) -> bool {
        self.0.is_successful_binding_response()
    }

    pub(crate) fn username(&self) -> Option<&'a str> {
        self.0.username()
    }

    pub(crate) fn nominates(&self) -> bool {
        self.0.use_candidate()
    }

    pub(crate) fn transaction(&self) -> TransId {
        self.0.trans_id()
    }

    /// Whether MESSAGE-INTEGRITY was computed with `password`.
    pub(crate) fn verify(&self, password: &str) -> bool {
        self.0.verify(password.as_bytes(), hmac)
    }

    /// Checks all of a request from a possibly new client, and returns its credentials.
    pub(crate) fn open(&self) -> Result<Pair, Refused> {
        let username = self.username().filter(|_| self.is_request()).ok_or(Refused::NoRequest)?;
        let pair = Pair::from_username(username)?;
        if self.verify(pair.server.password()) { Ok(pair) } else { Err(Refused::Integrity) }
    }
}

/// A request to the side with the credentials `to`. None if the username is longer than the 128 characters that the
/// library can write; those of browsers and published implementations are shorter, and responses have none.
pub(crate) fn request(username: &str, to: &Credentials, controlling: bool, transaction: TransId) -> Option<Vec<u8>> {
    // The tie-breaker has no effect: an ICE-lite server never claims the controlling role.
    encode(StunMessage::binding_request(username, transaction, controlling, 1, PRIORITY, controlling), to)
}

/// The response to a request from `source` to the side with the credentials `own`.
pub(crate) fn response(transaction: TransId, source: SocketAddr, own: &Credentials) -> Option<Vec<u8>> {
    encode(StunMessage::binding_reply(transaction, source), own)
}

fn encode(message: StunMessage<'_>, credentials: &Credentials) -> Option<Vec<u8>> {
    let mut buffer = vec![0; MESSAGE_BYTES];
    let length = message.to_bytes(Some(credentials.password().as_bytes()), &mut buffer, hmac).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    DefaultSha1HmacProvider.sha1_hmac(key, parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{PREFIX_V2, Version};
    use proptest::prelude::*;

    fn request_of(pair: &Pair) -> Vec<u8> {
        request(&pair.username_to_server(), &pair.server, true, TransId::new()).unwrap()
    }

    #[test]
    fn a_clients_request_is_accepted_in_both_versions() {
        for version in [Version::V1, Version::V2] {
            let pair = Pair::generate(version);
            assert_eq!(Message::parse(&request_of(&pair)).unwrap().open(), Ok(pair));
        }
    }

    #[test]
    fn a_request_with_an_overlong_username_is_not_sent() {
        let pair = Pair::v2(Credentials::new(&"u".repeat(251), &"p".repeat(256 - PREFIX_V2.len())).unwrap());
        assert_eq!(request(&pair.username_to_server(), &pair.server, true, TransId::new()), None);
    }

    #[test]
    fn a_request_with_wrong_message_integrity_is_refused() {
        let pair = Pair::generate(Version::V2);
        let forged = request(&pair.username_to_server(), &pair.client, true, TransId::new()).unwrap();
        assert_eq!(Message::parse(&forged).unwrap().open(), Err(Refused::Integrity));
        let mut turned = request_of(&pair);
        turned[8] ^= 1;
        assert_eq!(Message::parse(&turned).unwrap().open(), Err(Refused::Integrity));
    }

    #[test]
    fn a_response_is_verified_with_the_responders_password() {
        let pair = Pair::generate(Version::V2);
        let transaction = TransId::new();
        let answer = response(transaction, "192.0.2.1:7".parse().unwrap(), &pair.server).unwrap();
        let answer = Message::parse(&answer).unwrap();
        assert!(answer.is_response() && answer.transaction() == transaction);
        assert!(answer.verify(pair.server.password()) && !answer.verify(pair.client.password()));
        assert_eq!(answer.open(), Err(Refused::NoRequest));
    }

    proptest! {
        #[test]
        fn arbitrary_datagrams_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 20..200)) {
            bytes[0] &= 3;
            bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            let length = (bytes.len() - 20) as u16;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            if let Some(message) = Message::parse(&bytes) {
                prop_assert!(message.open().is_err());
            }
        }

        #[test]
        fn a_damaged_request_is_refused(at in 0usize..1000, by in 1u8..) {
            let mut bytes = request_of(&Pair::generate(Version::V2));
            // The last 8 bytes are FINGERPRINT, which MESSAGE-INTEGRITY does not cover and which is not checked.
            let at = at % (bytes.len() - 8);
            bytes[at] ^= by;
            if let Some(message) = Message::parse(&bytes) {
                prop_assert!(message.open().is_err(), "byte {}", at);
            }
        }
    }
}
