//! A whole native peer: network, host and driver, started together.

use std::path::PathBuf;
use std::sync::Arc;

use libp2p::Multiaddr;
use webmesh_protocol::membership::{Advert, Kind, Roles};
use webmesh_protocol::sign::Keypair;

use crate::driver::Node;
use crate::host::{CompileService, HostConfig, HostError, HostHandle, NativeHost};
use crate::net::{Net, NetConfig, NetError, identity};

/// What a peer is started with.
pub struct PeerConfig {
    /// Its key on the network.
    pub identity: Keypair,
    /// What kind of program it is.
    pub kind: Kind,
    /// What it does for the mesh. Without the role of worker, it runs no tasks.
    pub roles: Roles,
    /// Threads that run tasks.
    pub threads: usize,
    /// Segments kept in memory before they go to disk, in bytes.
    pub memory: u64,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Peers to stay connected to.
    pub bootstrap: Vec<Multiaddr>,
    /// Where caches lie.
    pub data_dir: PathBuf,
    /// Remember peers and certificate there too; `false` for a peer that is gone with its job.
    pub lasting: bool,
    /// Find peers of the same local network.
    pub mdns: bool,
    /// The compiler, for the role.
    pub compiler: Option<Arc<dyn CompileService>>,
}

/// A running native peer.
#[derive(Clone)]
pub struct Peer {
    /// The driver.
    pub node: Node,
    /// What a submitter needs of the host.
    pub host: HostHandle,
}

/// Why a peer does not start.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Threads, folders, address space.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Peer {
    /// Starts a peer; returns once it listens.
    ///
    /// # Errors
    /// [`PeerError`], which says what is in the way.
    pub async fn start(config: PeerConfig) -> Result<Self, PeerError> {
        let PeerConfig { roles, .. } = config;
        let advert = Advert {
            kind: config.kind,
            roles: Roles { compiler: config.compiler.is_some(), ..roles },
            threads: u16::try_from(config.threads).unwrap_or(u16::MAX),
            weight: 1,
            addresses: Vec::new(),
            agent: concat!("webmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let (net, events) = Net::start(NetConfig {
            listen: config.listen,
            bootstrap: config.bootstrap,
            data_dir: config.lasting.then(|| config.data_dir.clone()),
            mdns: config.mdns,
            relay_server: roles.relay,
            dht_server: config.lasting,
            ..NetConfig::new(identity::to_libp2p(&config.identity))
        })
        .await?;
        let (host, handle, outputs) = NativeHost::start(HostConfig {
            threads: if roles.worker { config.threads } else { 0 },
            data_dir: config.data_dir,
            memory: config.memory,
            compiler: config.compiler,
        })?;
        Ok(Self { node: Node::start(net, events, advert, host, outputs), host: handle })
    }
}
