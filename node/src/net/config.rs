//! Configuration of a [`Net`](super::Net).

use std::path::PathBuf;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;

use super::limits;

/// Configuration of a [`Net`](super::Net). Every field may be changed after [`NetConfig::new`].
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The Ed25519 key that identifies this peer.
    pub identity: Keypair,
    /// Addresses to listen on. Starting fails if one of them is not available.
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach this peer although it does not listen on them (a forwarded port).
    pub external: Vec<Multiaddr>,
    /// Peers to stay connected to; dialled repeatedly while they are not connected. An address may end in `/p2p/PEER`.
    pub bootstrap: Vec<Multiaddr>,
    /// Directory for the WebRTC certificate and the addresses of peers. `None` keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// Discover peers on the local network by mDNS.
    pub mdns: bool,
    /// Act as a relay for peers that cannot be dialled.
    pub relay_server: bool,
    /// Always be reached through relays: for a peer behind a firewall. A peer behind NAT uses relays without this
    /// setting, unless it has external addresses.
    pub relayed: bool,
    /// Act as a DHT server: for peers that can be dialled.
    pub dht_server: bool,
    /// Program and version, as sent to peers.
    pub agent: String,
    /// Known peers are dialled while fewer than this are connected. With 0, peers are dialled only on request.
    pub wanted_peers: usize,
    /// Memory limit, in bytes, of requests that are being read or wait for their answer; further ones stay unread.
    /// Answers being written to others have a budget of the same size.
    pub body_budget: usize,
    /// Incoming connections. Beyond that, newcomers and others make room for each other.
    pub incoming_places: usize,
    /// Gossip messages a second accepted from each signer.
    pub gossip_of_source: f64,
}

impl NetConfig {
    /// Default listen addresses of a native node: QUIC, TCP and WebRTC-direct on every interface, ports chosen by the
    /// system.
    pub fn everywhere() -> Vec<Multiaddr> {
        let listen = ["/ip4/0.0.0.0", "/ip6/::"].iter().flat_map(|ip| {
            ["/udp/0/quic-v1", "/tcp/0", "/udp/0/webrtc-direct"]
                .iter()
                .map(move |rest| format!("{ip}{rest}").parse().expect("a valid multiaddress"))
        });
        listen.collect()
    }

    /// The configuration of a native node that listens [everywhere](Self::everywhere): mDNS on, no bootstrap,
    /// nothing kept on disk.
    pub fn new(identity: Keypair) -> Self {
        Self {
            identity,
            listen: Self::everywhere(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            data_dir: None,
            mdns: true,
            relay_server: false,
            relayed: false,
            dht_server: true,
            agent: concat!("webmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
            wanted_peers: limits::WANTED_PEERS,
            body_budget: limits::BODY_BUDGET,
            incoming_places: limits::INCOMING_PLACES,
            gossip_of_source: limits::GOSSIP_RATE_OF_SIGNER,
        }
    }

    /// A configuration for processes and tests that stay on this machine: TCP and QUIC on the loopback
    /// interface, no mDNS.
    pub fn loopback(identity: Keypair) -> Self {
        let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
        Self {
            listen: listen.iter().map(|a| a.parse().expect("a valid multiaddress")).collect(),
            mdns: false,
            ..Self::new(identity)
        }
    }
}
