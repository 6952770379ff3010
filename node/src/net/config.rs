//! What a [`Net`](super::Net) is started with.

use std::path::PathBuf;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;

use super::limits;

/// What a [`Net`](super::Net) is started with. Every field may be changed after [`NetConfig::new`].
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Who this peer is: an Ed25519 key.
    pub identity: Keypair,
    /// Where to listen. Starting fails if one of them cannot be had.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach this peer though it does not listen on them (a forwarded port).
    pub external: Vec<Multiaddr>,
    /// Peers to stay connected to; dialled again and again for as long as they are not there. An address may
    /// end in `/p2p/PEER` or not.
    pub bootstrap: Vec<Multiaddr>,
    /// Where the WebRTC certificate and the addresses of peers are kept. `None` keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// Find peers of the same local network.
    pub mdns: bool,
    /// Carry circuits for peers that cannot be dialled.
    pub relay_server: bool,
    /// Be reached through relays in any case: for a peer behind a firewall. One behind an address translator is
    /// reached so without being told to, unless it has external addresses.
    pub relayed: bool,
    /// Answer others' queries to the DHT: for peers that can be dialled.
    pub dht_server: bool,
    /// Program and version, as told to peers.
    pub agent: String,
    /// With fewer connected peers than this, known ones are dialled. 0 dials only who is asked for.
    pub wanted_peers: usize,
    /// Bytes held by requests that are read or wait for their answer; further ones wait unread. Answers that are
    /// written to others hold as much again.
    pub body_budget: usize,
    /// Gossip messages a second that are taken from whoever signed them.
    pub gossip_of_source: f64,
}

impl NetConfig {
    /// Where a native node listens if nobody says otherwise: QUIC, TCP and WebRTC-direct on every interface, ports
    /// chosen by the system.
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
            gossip_of_source: limits::GOSSIP_OF_SOURCE,
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
