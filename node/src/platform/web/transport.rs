//! WebRTC-direct, and WebSocket for networks that drop UDP, both for dialling only; circuits over relays.

use std::convert::Infallible;
use std::time::Duration;

use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, Swarm, dummy};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, Transport, noise, relay, websocket_websys, yamux};
use webmesh_webrtc_direct as webrtc;

use crate::net::dial_permits::DialPermits;

/// Timeout for connecting, handshakes included.
const CONNECT: Duration = Duration::from_secs(15);

/// Why the transports could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(String);

/// A tab does not listen.
pub fn needs_certificate(_: &[Multiaddr]) -> bool {
    false
}

/// The browser generates a certificate for each connection.
///
/// # Errors
/// Always.
pub fn new_certificate() -> Result<String, TransportError> {
    Err(TransportError("a tab has no certificate of its own".to_owned()))
}

/// No server accepts connections for a tab.
#[derive(Clone, Debug)]
pub struct Acceptor;

/// A swarm over the transports that a tab can dial.
///
/// # Errors
/// [`TransportError`] if a transport cannot be set up.
pub(crate) fn swarm<B: NetworkBehaviour>(
    identity: &Keypair,
    _: Option<&str>,
    idle: Duration,
    _: &DialPermits,
    protocols: impl FnOnce(relay::client::Behaviour) -> Result<B, String>,
) -> Result<(Swarm<B>, Acceptor), TransportError> {
    let other = |e: &dyn std::fmt::Display| TransportError(e.to_string());
    let swarm = SwarmBuilder::with_existing_identity(identity.clone())
        .with_wasm_bindgen()
        .with_other_transport(|identity| webrtc::Transport::new(identity.clone(), webrtc::Config::default()))
        .map_err(|e| other(&e))?
        .with_other_transport(|identity| {
            let secured = websocket_websys::Transport::default()
                .upgrade(Version::V1Lazy)
                .authenticate(noise::Config::new(identity)?);
            Ok(secured.multiplex(yamux::Config::default()))
        })
        .map_err(|e| other(&e))?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(|e| other(&e))?
        .with_behaviour(|_, relay_client| Ok(protocols(relay_client)?))
        .map_err(|e| other(&e))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(idle))
        .with_connection_timeout(CONNECT)
        .build();
    Ok((swarm, Acceptor))
}

/// A tab has no ports.
///
/// # Errors
/// None.
pub fn check_port(_: &Multiaddr) -> std::io::Result<()> {
    Ok(())
}

/// A tab cannot discover peers on the local network.
pub type LocalDiscovery = dummy::Behaviour;

/// A discovered peer and its address.
pub type Discovered = (PeerId, Multiaddr);

/// Always `None`.
pub fn local_discovery(_: PeerId) -> Option<LocalDiscovery> {
    None
}

/// Never called.
pub fn discovered(event: Infallible) -> Vec<Discovered> {
    match event {}
}
