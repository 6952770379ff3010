//! Errors of dials, listeners and connections. One type for native programs and browsers; a variant that only one of
//! them produces says so.

use std::io;
use std::sync::Arc;

use libp2p_core::Multiaddr;
use libp2p_core::transport::TransportError;
use libp2p_identity::PeerId;

use crate::address::InvalidAddress;
use crate::noise;
use crate::sdp::InvalidSdp;

/// Why a connection could not be made, or ended. Each is fatal to that connection (or, from `listen_on`, to that
/// listener) and to nothing else.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be dialled, or listened on, by this transport.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// [`Config::with_dial_versions`](crate::Config::with_dial_versions) was given no version.
    #[error("the configuration names no webrtc-direct version to dial with: give version 1, version 2 or both")]
    NoVersion,
    /// Native only: no certificate could be generated. The text is that of `CertificateError`.
    #[error("{0}")]
    Certificate(String),
    /// Native only: the UDP socket, or the async runtime that it needs, failed.
    #[error("UDP socket: {0}")]
    Socket(Arc<io::Error>),
    /// Browser only: WebRTC is unavailable here, or the browser refused a step. The text is the browser's exception.
    #[error("the browser refused: {0}")]
    Browser(String),
    /// Browser only: the browser's session description lacks something.
    #[error(transparent)]
    Sdp(#[from] InvalidSdp),
    /// The peer answered no STUN request.
    #[error(
        "no answer from the peer: nothing listens at the address, it does not speak webrtc-direct, or UDP is blocked on the path"
    )]
    NoAnswer,
    /// No authenticated peer within this time.
    #[error("no authenticated peer within {} s: the peer is unresponsive, or UDP is blocked on the path", .0.as_secs())]
    HandshakeTimeout(std::time::Duration),
    /// Native only: the server's certificate does not hash to the `/certhash` in its address. Browsers report
    /// [`Error::Lost`].
    #[error(
        "the server's certificate does not match the /certhash in its address: the address is out of date, or another server answers there"
    )]
    Fingerprint,
    /// Native only: DTLS failed.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// Native only: SCTP failed.
    #[error("SCTP: {0}")]
    Sctp(String),
    /// The Noise handshake failed: the peer could not prove its identity.
    #[error("Noise handshake: {0}")]
    Noise(Arc<noise::Error>),
    /// The peer's identity is not the `/p2p` in its address.
    #[error(transparent)]
    WrongPeer(Box<WrongPeer>),
    /// Nothing was received from the peer within the liveness timeout.
    #[error("nothing received from the peer within the liveness timeout of at most 10 s")]
    Silent,
    /// Browser only: the browser reports the connection as failed, without a reason.
    #[error(
        "the browser lost the connection: the peer became unreachable, or its certificate does not match the /certhash in its address"
    )]
    Lost,
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    ClosedByPeer,
    /// This side closed the connection.
    #[error("the connection was closed on this side")]
    Closed,
    /// Native only: the peer violated a limit of the protocol.
    #[error("the peer violated the protocol: {0}")]
    Violation(&'static str),
}

/// The peer that answered is not the one that the address names.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the peer is {actual}, but the address names {expected}")]
pub struct WrongPeer {
    /// The peer in the address.
    pub expected: PeerId,
    /// The peer that answered and proved its identity.
    pub actual: PeerId,
}

impl Error {
    /// The transport's error for an address that it refuses. The swarm tries other transports for addresses that are
    /// not webrtc-direct.
    pub(crate) fn refuse(address: Multiaddr, error: InvalidAddress) -> TransportError<Self> {
        if error.is_unsupported() {
            TransportError::MultiaddrNotSupported(address)
        } else {
            TransportError::Other(error.into())
        }
    }

    /// Fails if the address names a peer other than the one that answered.
    pub(crate) fn check_peer(expected: Option<PeerId>, actual: PeerId) -> Result<(), Self> {
        match expected {
            Some(expected) if expected != actual => Err(Self::WrongPeer(Box::new(WrongPeer { expected, actual }))),
            _ => Ok(()),
        }
    }
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
