//! The mesh that a command works through: an embedded one, or one that exists.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use tokio::time::{Instant, timeout};
use webmesh_node::driver::Node;
use webmesh_node::host::CompileService;
use webmesh_node::peer::{Peer, PeerConfig};
use webmesh_protocol::PeerKey;
use webmesh_protocol::membership::{Kind, Roles};

use crate::error::CliError;

/// A mesh is given so long to answer at all.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked whether peers have introduced themselves.
const LOOK: Duration = Duration::from_millis(10);
/// After the first answer, others are given so long to introduce themselves too: a job's first offers go to
/// those that have.
const GATHER: Duration = Duration::from_millis(150);
/// Intermediate data that embedded peers hold in memory, all of them together.
const EMBEDDED_MEMORY: u64 = 320 << 20;

/// Cores of this machine.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The peers of this process. The first is the one at which jobs are submitted.
pub(crate) struct Mesh {
    /// Its peers.
    pub(crate) peers: Vec<Peer>,
    /// Where embedded peers after the first keep what they hold; removed at the end.
    _scratch: Option<tempfile::TempDir>,
}

impl Mesh {
    /// The peer at which jobs are submitted.
    pub(crate) fn home(&self) -> &Peer {
        &self.peers[0]
    }

    /// Starts a mesh within this process. Alone, a peer does not listen at all; several meet on loopback.
    pub(crate) async fn embedded(
        peers: usize,
        threads: Option<usize>,
        data_dir: &Path,
        compiler: Arc<dyn CompileService>,
    ) -> Result<Self, CliError> {
        let threads = threads.unwrap_or_else(|| (cores() / peers).max(1));
        let scratch = tempfile::tempdir().map_err(|e| CliError::Failed(format!("no temporary folder: {e}")))?;
        let listen: Vec<Multiaddr> = match peers {
            1 => vec![],
            _ => vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a valid multiaddress")],
        };
        let config = |dir: PathBuf, bootstrap, compiler| PeerConfig {
            kind: Kind::Node,
            roles: Roles { worker: true, shuffler: true, ..Roles::default() },
            threads,
            memory: EMBEDDED_MEMORY / peers as u64,
            listen: listen.clone(),
            bootstrap,
            data_dir: dir,
            lasting: false,
            mdns: false,
            compiler,
        };
        let home = Peer::start(config(data_dir.to_owned(), vec![], Some(compiler))).await?;
        let addresses = home.node.net().addresses();
        let mut all = vec![home];
        for i in 1..peers {
            let dir = scratch.path().join(i.to_string());
            all.push(Peer::start(config(dir, addresses.clone(), None)).await?);
        }
        let mesh = Self { peers: all, _scratch: Some(scratch) };
        mesh.wait_for(peers - 1).await?;
        Ok(mesh)
    }

    /// Joins a mesh as a peer that submits or asks, and leaves again.
    pub(crate) async fn join(bootstrap: Vec<Multiaddr>, data_dir: &Path) -> Result<Self, CliError> {
        let listen = ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0"];
        let peer = Peer::start(PeerConfig {
            kind: Kind::Submitter,
            roles: Roles::default(),
            threads: 1,
            memory: EMBEDDED_MEMORY,
            listen: listen.iter().map(|a| a.parse().expect("a valid multiaddress")).collect(),
            bootstrap: bootstrap.clone(),
            data_dir: data_dir.to_owned(),
            lasting: false,
            mdns: false,
            compiler: None,
        })
        .await?;
        let mesh = Self { peers: vec![peer], _scratch: None };
        if mesh.wait_for(1).await.is_err() {
            let names: Vec<String> = bootstrap.iter().map(ToString::to_string).collect();
            return Err(CliError::Failed(format!(
                "no peer answers at {} within {} s; is it running, and is the address the one that it printed?",
                names.join(", "),
                JOIN_PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(GATHER).await;
        Ok(mesh)
    }

    /// Waits until so many connected peers have introduced themselves.
    async fn wait_for(&self, count: usize) -> Result<(), CliError> {
        let node = &self.home().node;
        let introduced = async {
            while connected(node).await.len() < count {
                tokio::time::sleep_until(Instant::now() + LOOK).await;
            }
        };
        timeout(JOIN_PATIENCE, introduced)
            .await
            .map_err(|_| CliError::Failed("the peers of the mesh do not find each other".to_owned()))
    }

    /// The peers with a compiler, this one first if it has one.
    pub(crate) async fn compilers(&self) -> Vec<PeerKey> {
        let me = self.home().node.net().peer();
        let members = self.home().node.members().await;
        let others = members.into_iter().filter(|(peer, advert, _)| *peer != me && advert.roles.compiler);
        others.map(|(peer, _, _)| peer).collect()
    }

    /// Workers known, this peer's own threads included.
    pub(crate) async fn workers(&self) -> u32 {
        let members = self.home().node.members().await;
        members.iter().filter(|(_, advert, _)| advert.roles.worker).count() as u32 + 1
    }

    /// Everyone leaves in order.
    pub(crate) async fn leave(self) {
        for peer in self.peers.iter().rev() {
            peer.node.shutdown().await;
        }
    }
}

/// The connected peers that have introduced themselves.
pub(crate) async fn connected(node: &Node) -> Vec<PeerKey> {
    node.members().await.into_iter().filter(|(_, _, on)| *on).map(|(peer, _, _)| peer).collect()
}
