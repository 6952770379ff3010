//! A complete native peer: network, host and driver, started together.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use libp2p::Multiaddr;
use webmesh_protocol::io::Resumption;
use webmesh_protocol::membership::{Advert, Kind, Roles};
use webmesh_protocol::sign::Keypair;
use webmesh_protocol::version;

use crate::driver::Node;
use crate::host::{CompileService, HostConfig, HostError, HostHandle, NativeHost, Served};
use crate::net::{Net, NetConfig, NetError, identity};
use crate::platform::files;
use crate::results::ResultStore;
use crate::store::source::BlobSource;

/// Configuration of a peer.
pub struct PeerConfig {
    /// The kind of program.
    pub kind: Kind,
    /// Its roles. Without the role of worker, it runs no tasks.
    pub roles: Roles,
    /// Number of threads that run tasks.
    pub threads: usize,
    /// Bytes of segments kept in memory; beyond that they are spilled to disk.
    pub memory: u64,
    /// Memory limit of all tasks that run at the same time, in bytes; jobs whose tasks may need more are left to other
    /// peers.
    pub task_memory: u64,
    /// Limit for intermediate data of all jobs, in bytes, on disk for the most part.
    pub disk: u64,
    /// Addresses to listen on.
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach this peer although it does not listen there.
    pub external: Vec<Multiaddr>,
    /// Always be reached through relays, see [`NetConfig::relayed`].
    pub relayed: bool,
    /// Peers to stay connected to.
    pub bootstrap: Vec<Multiaddr>,
    /// The data folder, for caches.
    pub data_dir: PathBuf,
    /// Whether identity, certificate and known peers are kept in the data folder too, which is then locked for this
    /// peer. `false` for a peer that exists only for its job: it gets a new identity, and shares the folder.
    pub persistent: bool,
    /// The key of a peer that exists only for its job, if it must be that of an earlier run.
    pub identity: Option<Keypair>,
    /// A job of an earlier run to resume.
    pub resumed: Option<ResumedJob>,
    /// Discover peers on the local network by mDNS.
    pub mdns: bool,
    /// The compiler, if the peer has that role.
    pub compiler: Option<Arc<dyn CompileService>>,
}

/// A job of an earlier run, with the data to resume it.
pub struct ResumedJob {
    /// The state from its log.
    pub resumption: Resumption,
    /// The compiled job.
    pub module: Bytes,
    /// Its inputs, if it has any.
    pub inputs: Option<Arc<dyn BlobSource>>,
    /// Its results so far.
    pub results: ResultStore,
}

/// A running native peer.
#[derive(Clone)]
pub struct Peer {
    /// The driver.
    pub node: Node,
    /// The part of the host that a submitter uses.
    pub host: HostHandle,
    /// What the job that it goes on with needs.
    _served: Arc<[Served]>,
    /// The lock on the data folder, held while the peer runs.
    _folder: Option<Arc<File>>,
}

/// Why a peer could not start.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The network could not start.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The host could not start.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A running peer uses this folder: two with one identity would shut each other out of the mesh.
    #[error("another peer on this machine uses the data folder {}: stop it, or give this one its own with --data", dir.display())]
    FolderInUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}: {source}; make it writable, or choose another with --data", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Peer {
    /// Starts a peer; returns once it listens.
    ///
    /// # Errors
    /// [`PeerError`], which says what prevents the start.
    pub async fn start(config: PeerConfig) -> Result<Self, PeerError> {
        let PeerConfig { roles, .. } = config;
        // The folder first: of two peers that start at once, one must not create the other's identity.
        let (folder, identity) = if config.persistent {
            (Some(own_folder(&config.data_dir)?), identity::load_or_create(&config.data_dir)?)
        } else {
            (None, config.identity.unwrap_or_else(identity::generate))
        };
        let advert = Advert {
            kind: config.kind,
            roles: Roles { compiler: config.compiler.is_some(), ..roles },
            threads: u16::try_from(config.threads).unwrap_or(u16::MAX),
            weight: 1,
            addresses: Vec::new(),
            agent: concat!("webmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
            minor: version::MINOR,
        };
        let (net, events) = Net::start(NetConfig {
            listen: config.listen,
            external: config.external,
            relayed: config.relayed,
            bootstrap: config.bootstrap,
            data_dir: config.persistent.then(|| config.data_dir.clone()),
            mdns: config.mdns,
            relay_server: roles.relay,
            dht_server: config.persistent,
            ..NetConfig::new(identity::to_libp2p(&identity))
        })
        .await?;
        let (host, handle, outputs) = NativeHost::start(HostConfig {
            threads: if roles.worker { config.threads } else { 0 },
            data_dir: config.data_dir,
            memory: config.memory,
            task_memory: config.task_memory,
            disk: config.disk,
            compiler: config.compiler,
        })?;
        let mut served = Vec::new();
        let resumed = config.resumed.map(|job| {
            let (id, module) = (job.resumption.state.job(), job.resumption.state.manifest().module.hash);
            served.push(handle.serve_module(module, job.module));
            served.extend(job.inputs.map(|inputs| handle.serve(inputs)));
            handle.keep_results(id, job.results);
            job.resumption
        });
        let node = Node::start(net, events, advert, host, outputs, resumed.into_iter().collect());
        Ok(Self { node, host: handle, _served: served.into(), _folder: folder })
    }
}

fn own_folder(dir: &Path) -> Result<Arc<File>, PeerError> {
    let lock = files::lock(&dir.join("lock")).map_err(|source| PeerError::Folder { dir: dir.to_owned(), source })?;
    let lock = lock.map(Arc::new).ok_or_else(|| PeerError::FolderInUse { dir: dir.to_owned() })?;
    files::sweep(dir);
    Ok(lock)
}
