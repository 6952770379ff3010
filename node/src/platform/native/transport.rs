//! TCP, QUIC and WebRTC-direct, circuits over relays, name resolution, and discovery on the local network.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;

use libp2p::core::transport::OptionalTransport;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, Transport, mdns, noise, quic, relay, tcp, yamux};
use webmesh_webrtc_direct as webrtc;

use super::accepted::{Acceptor, accepted};
use super::dial_last::DialLast;
use super::gated::Gated;
use super::handshakes::Handshakes;
use super::names;
use crate::net::dial_permits::DialPermits;

/// Timeout for connecting, handshakes included.
const CONNECT: Duration = Duration::from_secs(10);
/// Maximum number of streams of one connection.
const STREAMS: usize = 1024;

/// Why the transports could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The certificate cannot be read.
    #[error("the WebRTC certificate is damaged ({0}); delete webrtc.pem to get a new one")]
    Certificate(String),
    /// Any other error.
    #[error("{0}")]
    Other(String),
}

/// Whether one of the listen addresses needs the certificate of [`new_certificate`].
pub fn needs_certificate(listen: &[Multiaddr]) -> bool {
    listen.iter().any(|a| a.iter().any(|p| p == Protocol::WebRTCDirect))
}

/// Generates a WebRTC certificate with its key, as PEM. Its hash is part of the addresses, so it must be kept for them
/// to stay the same.
///
/// # Errors
/// [`TransportError::Certificate`] if it cannot be generated.
pub fn new_certificate() -> Result<String, TransportError> {
    let certificate = webrtc::Certificate::generate();
    Ok(certificate.map_err(|e| TransportError::Certificate(e.to_string()))?.to_pem())
}

/// A swarm over all native transports; WebRTC is included if there is a certificate. The acceptor passes it connections
/// accepted elsewhere.
///
/// TCP is secured by Noise only: measured against libp2p's TLS, it costs the same for bulk, a third less for small
/// exchanges (TLS seals every write separately), and connects one round trip sooner.
///
/// Every dial needs one of the permits.
///
/// # Errors
/// [`TransportError`] if the certificate is damaged or a transport cannot be set up.
pub(crate) fn swarm<B: NetworkBehaviour>(
    identity: &Keypair,
    certificate: Option<&str>,
    idle: Duration,
    permits: &DialPermits,
    protocols: impl FnOnce(relay::client::Behaviour) -> Result<B, String>,
) -> Result<(Swarm<B>, Acceptor), TransportError> {
    super::install_crypto();
    let certificate = certificate.map(webrtc::Certificate::from_pem).transpose();
    let certificate = certificate.map_err(|e| TransportError::Certificate(e.to_string()))?;
    let other = |e: &dyn std::fmt::Display| TransportError::Other(e.to_string());
    let handshakes = Handshakes::default();
    let tcp = |identity: &Keypair| {
        let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)).upgrade(Version::V1Lazy);
        let inner = tcp.authenticate(noise::Config::new(identity)?).multiplex(multiplexer());
        Ok(Gated { inner, permits: permits.clone(), handshakes: handshakes.clone() })
    };
    let quic = |identity: &Keypair| {
        let inner = quic::tokio::Transport::new(quic::Config::new(identity));
        Gated { inner, permits: permits.clone(), handshakes: handshakes.clone() }
    };
    let webrtc = |identity: &Keypair| match certificate {
        Some(certificate) => {
            let config = webrtc::Config::default().with_certificate(certificate);
            let inner = DialLast(webrtc::Transport::new(identity.clone(), config));
            OptionalTransport::some(Gated { inner, permits: permits.clone(), handshakes: handshakes.clone() })
        }
        None => OptionalTransport::none(),
    };
    let (acceptor, accepted) = accepted();
    let accepted = |identity: &Keypair| {
        let secured = accepted.upgrade(Version::V1Lazy).authenticate(noise::Config::new(identity)?);
        let inner = secured.multiplex(multiplexer());
        Ok(Gated { inner, permits: permits.clone(), handshakes: handshakes.clone() })
    };
    let (resolver, resolver_options) = names::configuration();
    let swarm = SwarmBuilder::with_existing_identity(identity.clone())
        .with_tokio()
        .with_other_transport(tcp)
        .map_err(|e| other(&e))?
        .with_other_transport(quic)
        .map_err(|e| other(&e))?
        .with_other_transport(webrtc)
        .map_err(|e| other(&e))?
        .with_other_transport(accepted)
        .map_err(|e| other(&e))?
        .with_dns_config(resolver, resolver_options)
        .with_relay_client(noise::Config::new, multiplexer)
        .map_err(|e| other(&e))?
        .with_behaviour(|_, relay_client| Ok(protocols(relay_client)?))
        .map_err(|e| other(&e))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(idle))
        .with_connection_timeout(CONNECT)
        .build();
    Ok((swarm, acceptor))
}

fn multiplexer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS);
    config
}

/// Checks whether a requested port is free. libp2p sets `SO_REUSEPORT` on its TCP listeners, so two nodes would
/// silently share a port, each getting half of the connections; and QUIC and WebRTC report errors as text only.
///
/// # Errors
/// The system's error when listening on that port.
pub fn check_port(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        Some(Protocol::Udp(port)) if port != 0 => UdpSocket::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// Discovers peers on the local network by multicast DNS.
pub type LocalDiscovery = mdns::tokio::Behaviour;

/// A discovered peer and its address.
pub type Discovered = (PeerId, Multiaddr);

/// Multicast DNS, if the system allows it.
pub fn local_discovery(me: PeerId) -> Option<LocalDiscovery> {
    LocalDiscovery::new(mdns::Config::default(), me)
        .inspect_err(|e| tracing::warn!("cannot discover peers on the local network: {e}"))
        .ok()
}

/// The peers in an event of [`LocalDiscovery`].
pub fn discovered(event: mdns::Event) -> Vec<Discovered> {
    match event {
        mdns::Event::Discovered(peers) => peers,
        mdns::Event::Expired(_) => Vec::new(),
    }
}
