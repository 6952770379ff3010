//! Multiaddresses of WebRTC-direct: `/ip4|ip6/…/udp/…/webrtc-direct[/certhash/…][/p2p/…]`.

use std::net::{IpAddr, SocketAddr};

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;

use crate::fingerprint::{Fingerprint, InvalidFingerprint};

/// The target of a dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialAddress {
    /// The server's UDP address.
    pub socket: SocketAddr,
    /// SHA-256 of the server's certificate, from `/certhash`.
    pub fingerprint: Fingerprint,
    /// The expected peer, from `/p2p`. None accepts any peer.
    pub peer: Option<PeerId>,
}

/// Why an address cannot be dialled, or listened on, by this transport.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAddress {
    /// Another transport's address.
    #[error("not a WebRTC-direct address (/ip4|ip6/…/udp/…/webrtc-direct)")]
    NotWebrtcDirect,
    /// A dial needs the server's certificate hash.
    #[error("the address has no /certhash/…, which is needed to verify the server's certificate")]
    NoCerthash,
    /// The `/certhash` is not a SHA-256 hash.
    #[error(transparent)]
    Certhash(#[from] InvalidFingerprint),
    /// Port 0 or an unspecified address (0.0.0.0, ::): valid for listening only.
    #[error("{0} cannot be dialled: it needs the address of a host and a port other than 0")]
    Unspecified(SocketAddr),
}

impl InvalidAddress {
    /// Whether the address belongs to another transport.
    pub fn is_unsupported(&self) -> bool {
        *self == Self::NotWebrtcDirect
    }
}

/// Parses an address to dial. If it has several `/certhash`, the first SHA-256 one is used.
///
/// # Errors
/// [`InvalidAddress`] if it is not a webrtc-direct address, or lacks a usable host, port or certificate hash.
pub fn parse_dial(address: &Multiaddr) -> Result<DialAddress, InvalidAddress> {
    let parts = parse(address)?;
    if parts.socket.port() == 0 || parts.socket.ip().is_unspecified() {
        return Err(InvalidAddress::Unspecified(parts.socket));
    }
    let fingerprint = parts.fingerprint.ok_or(InvalidAddress::NoCerthash)??;
    Ok(DialAddress { socket: parts.socket, fingerprint, peer: parts.peer })
}

/// Parses an address to listen on. A certificate hash is allowed and ignored.
///
/// # Errors
/// [`InvalidAddress::NotWebrtcDirect`].
pub fn parse_listen(address: &Multiaddr) -> Result<SocketAddr, InvalidAddress> {
    parse(address).map(|parts| parts.socket)
}

/// Builds the address of a listener, or of one end of a connection (which has no fingerprint).
pub fn build(socket: SocketAddr, fingerprint: Option<Fingerprint>) -> Multiaddr {
    let address = Multiaddr::empty()
        .with(Protocol::from(socket.ip()))
        .with(Protocol::Udp(socket.port()))
        .with(Protocol::WebRTCDirect);
    match fingerprint {
        Some(fingerprint) => address.with(Protocol::Certhash(fingerprint.to_multihash())),
        None => address,
    }
}

struct Parts {
    socket: SocketAddr,
    fingerprint: Option<Result<Fingerprint, InvalidFingerprint>>,
    peer: Option<PeerId>,
}

fn parse(address: &Multiaddr) -> Result<Parts, InvalidAddress> {
    let mut protocols = address.iter();
    let ip = match protocols.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
        _ => return Err(InvalidAddress::NotWebrtcDirect),
    };
    let Some(Protocol::Udp(port)) = protocols.next() else { return Err(InvalidAddress::NotWebrtcDirect) };
    let Some(Protocol::WebRTCDirect) = protocols.next() else { return Err(InvalidAddress::NotWebrtcDirect) };
    let mut parts = Parts { socket: (ip, port).into(), fingerprint: None, peer: None };
    for protocol in protocols {
        match protocol {
            Protocol::Certhash(hash) if parts.peer.is_none() => {
                if !matches!(parts.fingerprint, Some(Ok(_))) {
                    parts.fingerprint = Some(Fingerprint::from_multihash(&hash));
                }
            }
            Protocol::P2p(peer) if parts.peer.is_none() => parts.peer = Some(peer),
            // A relay circuit through the peer, or an unknown protocol: left to other transports.
            _ => return Err(InvalidAddress::NotWebrtcDirect),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "uEiDikp5KVUgkLta1EjUN-IKbHk-dUBg8VzKgf5nXxLK46w";
    const PEER: &str = "12D3KooWNpDk9w6WrEEcdsEH1y47W71S36yFjw4sd3j7omzgCSMS";

    fn dial(text: &str) -> Result<DialAddress, InvalidAddress> {
        parse_dial(&text.parse().unwrap())
    }

    #[test]
    fn a_complete_address_is_parsed() {
        let address = dial(&format!("/ip4/192.0.2.1/udp/9090/webrtc-direct/certhash/{HASH}/p2p/{PEER}")).unwrap();
        assert_eq!(address.socket, "192.0.2.1:9090".parse().unwrap());
        assert_eq!(address.peer, Some(PEER.parse().unwrap()));
        let text = build(address.socket, Some(address.fingerprint)).to_string();
        assert_eq!(text, format!("/ip4/192.0.2.1/udp/9090/webrtc-direct/certhash/{HASH}"));
        let v6 = dial(&format!("/ip6/2001:db8::1/udp/9090/webrtc-direct/certhash/{HASH}")).unwrap();
        assert_eq!(v6.socket, "[2001:db8::1]:9090".parse().unwrap());
        assert_eq!(v6.peer, None);
    }

    #[test]
    fn an_address_that_cannot_be_dialled_is_refused_with_the_reason() {
        assert_eq!(dial("/ip4/192.0.2.1/udp/9090/webrtc-direct"), Err(InvalidAddress::NoCerthash));
        let zero = dial(&format!("/ip4/192.0.2.1/udp/0/webrtc-direct/certhash/{HASH}"));
        assert_eq!(zero, Err(InvalidAddress::Unspecified("192.0.2.1:0".parse().unwrap())));
        for other in [
            "/ip4/192.0.2.1/udp/9090/quic-v1".to_string(),
            "/ip4/192.0.2.1/tcp/9090".to_string(),
            format!("/dns4/example.org/udp/9090/webrtc-direct/certhash/{HASH}"),
            format!("/ip4/192.0.2.1/udp/9090/webrtc-direct/certhash/{HASH}/p2p/{PEER}/p2p-circuit"),
        ] {
            assert_eq!(dial(&other), Err(InvalidAddress::NotWebrtcDirect), "{other}");
        }
    }

    #[test]
    fn the_first_sha256_certhash_is_used() {
        let sha1 = Protocol::Certhash(libp2p_core::multihash::Multihash::wrap(0x11, &[1; 20]).unwrap());
        let only_sha1: Multiaddr = "/ip4/192.0.2.1/udp/9090/webrtc-direct".parse().unwrap();
        let only_sha1 = only_sha1.with(sha1);
        assert!(matches!(parse_dial(&only_sha1), Err(InvalidAddress::Certhash(_))));
        let ours = Fingerprint::from_digest([3; 32]);
        let both = only_sha1.with(Protocol::Certhash(ours.to_multihash()));
        assert_eq!(parse_dial(&both).unwrap().fingerprint, ours);
    }

    #[test]
    fn a_listen_address_needs_no_certhash_and_allows_port_0() {
        let address = "/ip4/0.0.0.0/udp/0/webrtc-direct".parse().unwrap();
        assert_eq!(parse_listen(&address), Ok("0.0.0.0:0".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_built_address_round_trips(v4 in any::<[u8; 4]>(), port in 1..=u16::MAX, digest in any::<[u8; 32]>()) {
            let socket = SocketAddr::from((v4, port));
            prop_assume!(!socket.ip().is_unspecified());
            let fingerprint = Fingerprint::from_digest(digest);
            let expected = DialAddress { socket, fingerprint, peer: None };
            prop_assert_eq!(parse_dial(&build(socket, Some(fingerprint))), Ok(expected));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(address) = Multiaddr::try_from(bytes) {
                let _ = parse_dial(&address);
                let _ = parse_listen(&address);
            }
        }
    }
}
