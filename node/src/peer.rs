//! A whole native peer: network, host and driver, started together.

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

/// What a peer is started with.
pub struct PeerConfig {
    /// What kind of program it is.
    pub kind: Kind,
    /// What it does for the mesh. Without the role of worker, it runs no tasks.
    pub roles: Roles,
    /// Threads that run tasks.
    pub threads: usize,
    /// Segments kept in memory before they go to disk, in bytes.
    pub memory: u64,
    /// Memory of all tasks that run at a time, in bytes; a job whose tasks may ask for more is left to others.
    pub task_memory: u64,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Where others reach this peer though it does not listen there.
    pub external: Vec<Multiaddr>,
    /// Be reached through relays in any case, see [`NetConfig::relayed`].
    pub relayed: bool,
    /// Peers to stay connected to.
    pub bootstrap: Vec<Multiaddr>,
    /// Where caches lie.
    pub data_dir: PathBuf,
    /// Keep identity, certificate and known peers there too, and the folder for this peer alone; `false` for a peer
    /// that is gone with its job: it gets a new identity, and shares the folder.
    pub lasting: bool,
    /// The key of a peer that is gone with its job, where it must be that of an earlier run.
    pub identity: Option<Keypair>,
    /// A job of an earlier run, to go on with.
    pub resumed: Option<ResumedJob>,
    /// Find peers of the same local network.
    pub mdns: bool,
    /// The compiler, for the role.
    pub compiler: Option<Arc<dyn CompileService>>,
}

/// A job of an earlier run, with what it needs.
pub struct ResumedJob {
    /// What its log says.
    pub resumption: Resumption,
    /// The compiled job.
    pub module: Bytes,
    /// Its inputs, where it has any.
    pub inputs: Option<Arc<dyn BlobSource>>,
    /// The results that are in.
    pub results: ResultStore,
}

/// A running native peer.
#[derive(Clone)]
pub struct Peer {
    /// The driver.
    pub node: Node,
    /// What a submitter needs of the host.
    pub host: HostHandle,
    /// What the job that it goes on with needs.
    _served: Arc<[Served]>,
    /// Keeps the data folder for this peer, while it lives.
    _folder: Option<Arc<File>>,
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
    /// A peer that lives has this folder: two with one identity would shut each other out of the mesh.
    #[error("another peer of this machine uses the data folder {}: end it, or give this one its own with --data", dir.display())]
    FolderInUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}: {source}; make it writable, or choose another with --data", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Peer {
    /// Starts a peer; returns once it listens.
    ///
    /// # Errors
    /// [`PeerError`], which says what is in the way.
    pub async fn start(config: PeerConfig) -> Result<Self, PeerError> {
        let PeerConfig { roles, .. } = config;
        // The folder first: of two that start at once, one must not make the other's identity.
        let (folder, identity) = if config.lasting {
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
            data_dir: config.lasting.then(|| config.data_dir.clone()),
            mdns: config.mdns,
            relay_server: roles.relay,
            dht_server: config.lasting,
            ..NetConfig::new(identity::to_libp2p(&identity))
        })
        .await?;
        let (host, handle, outputs) = NativeHost::start(HostConfig {
            threads: if roles.worker { config.threads } else { 0 },
            data_dir: config.data_dir,
            memory: config.memory,
            task_memory: config.task_memory,
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
