use std::io;

use crate::address::InvalidAddress;
use crate::noise;

/// Why a connection was not made, or ended. All are fatal to the connection and to nothing else.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is none that this transport can use.
    #[error(transparent)]
    Address(#[from] std::sync::Arc<InvalidAddress>),
    /// The socket failed.
    #[error("UDP socket: {0}")]
    Socket(std::sync::Arc<io::Error>),
    /// The peer did not answer any STUN request.
    #[error("no answer from the peer: it is not there, speaks no webrtc-direct, or UDP is blocked on the way")]
    NoAnswer,
    /// The peer answered, and the handshake was not over in time.
    #[error("the handshake took longer than {} s", crate::limits::HANDSHAKE_DEADLINE.as_secs())]
    HandshakeDeadline,
    /// The server's certificate is another than its address says.
    #[error(
        "the server's certificate does not match the /certhash in its address: the address is out of date, or someone else answers"
    )]
    Fingerprint,
    /// DTLS failed.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// SCTP failed.
    #[error("SCTP: {0}")]
    Sctp(String),
    /// The peer could not prove who it is.
    #[error("Noise: {0}")]
    Noise(std::sync::Arc<noise::Error>),
    /// Someone else answered than the address names.
    #[error(transparent)]
    WrongPeer(Box<WrongPeer>),
    /// Nothing was heard from the peer for too long.
    #[error("nothing heard from the peer for {} s", crate::limits::DEAD_AFTER.as_secs())]
    Silent,
    /// The peer said goodbye.
    #[error("the peer closed the connection")]
    ClosedByPeer,
    /// This side closed the connection.
    #[error("the connection was closed on this side")]
    Closed,
    /// The peer broke a bound of the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(&'static str),
}

/// Someone else answered than the address names.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the peer is {actual}, not {expected} as the address says")]
pub struct WrongPeer {
    /// Named in the address.
    pub expected: libp2p_identity::PeerId,
    /// Who answered.
    pub actual: libp2p_identity::PeerId,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Socket(error.into())
    }
}

impl From<noise::Error> for Error {
    fn from(error: noise::Error) -> Self {
        Self::Noise(error.into())
    }
}
