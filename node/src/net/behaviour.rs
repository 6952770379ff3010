//! The protocols that run on every connection.

use std::sync::Arc;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{StreamProtocol, identify, kad, ping, relay};

use super::config::NetConfig;
use super::counters::Meters;
use super::gossip::{self, Gossipsub};
use super::{limits, streams};
use crate::platform;

/// The protocol version sent by identify; peers that send another one are disconnected.
pub(crate) const PROTOCOL_VERSION: &str = webmesh_protocol::version::NAME;
/// The mesh's own DHT.
pub(super) const KAD: StreamProtocol = StreamProtocol::new("/webmesh/2/kad");

/// All protocols. Limits come first, so that no other behaviour sees a connection that they refuse.
#[derive(NetworkBehaviour)]
pub(super) struct Protocols {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) streams: streams::Behaviour,
    pub(super) gossip: Gossipsub,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) relay_client: relay::client::Behaviour,
    pub(super) relay: Toggle<relay::Behaviour>,
    pub(super) local: Toggle<platform::LocalDiscovery>,
}

impl Protocols {
    pub(super) fn new(
        config: &NetConfig,
        meters: Arc<Meters>,
        relay_client: relay::client::Behaviour,
    ) -> Result<Self, String> {
        let public = config.identity.public();
        let me = public.to_peer_id();
        let connections = ConnectionLimits::default()
            .with_max_established(Some(limits::CONNECTIONS))
            .with_max_established_incoming(Some(limits::INCOMING_CONNECTIONS))
            .with_max_established_per_peer(Some(limits::CONNECTIONS_OF_PEER))
            .with_max_pending_incoming(Some(limits::PENDING_INCOMING))
            .with_max_pending_outgoing(Some(limits::PENDING_OUTGOING));
        let identify = identify::Config::new(PROTOCOL_VERSION.to_owned(), public)
            .with_agent_version(config.agent.clone())
            .with_push_listen_addr_updates(true)
            // The swarm's task decides which listen addresses to publish; those then count as external.
            .with_hide_listen_addrs(true)
            // Addresses are kept in our own address book.
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(limits::PING_INTERVAL).with_timeout(limits::PING_TIMEOUT);
        let local = if config.mdns { platform::local_discovery(me) } else { None };
        Ok(Self {
            limits: connection_limits::Behaviour::new(connections),
            streams: streams::Behaviour::default(),
            gossip: gossip::gossipsub(&config.identity, meters)?,
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            kad: dht(config),
            relay_client,
            relay: config.relay_server.then(|| relay::Behaviour::new(me, relay_limits())).into(),
            local: local.into(),
        })
    }
}

fn dht(config: &NetConfig) -> kad::Behaviour<MemoryStore> {
    let me = config.identity.public().to_peer_id();
    let store = MemoryStoreConfig {
        max_records: limits::DHT_RECORDS,
        max_value_bytes: limits::DHT_RECORD_BYTES,
        max_provided_keys: limits::DHT_PROVIDED_KEYS,
        ..MemoryStoreConfig::default()
    };
    let mut settings = kad::Config::new(KAD);
    settings.set_query_timeout(limits::DHT_LOOKUP_TIMEOUT);
    let mut kad = kad::Behaviour::with_config(me, MemoryStore::with_config(me, store), settings);
    // Set explicitly: by default, kad stays a client until somebody confirms an address, which nobody does in a mesh
    // within one local network.
    kad.set_mode(Some(if config.dht_server { kad::Mode::Server } else { kad::Mode::Client }));
    kad
}

fn relay_limits() -> relay::Config {
    relay::Config {
        max_reservations: limits::RELAY_RESERVATIONS,
        max_circuits: limits::RELAY_CIRCUITS,
        max_circuits_per_peer: limits::RELAY_CIRCUITS_OF_PEER,
        max_circuit_duration: limits::RELAY_CIRCUIT_DURATION,
        max_circuit_bytes: limits::RELAY_CIRCUIT_BYTES,
        ..relay::Config::default()
    }
}
