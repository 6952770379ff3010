//! The mesh that a client uses, embedded or existing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::Multiaddr;
use tokio::time::{Instant, timeout};
use webmesh_protocol::io::Notice;
use webmesh_protocol::membership::{Kind, Roles};
use webmesh_protocol::sign::Keypair;

use super::error::ClientError;
use crate::host::CompileService;
use crate::net::{is_public, other_transport};
use crate::peer::{Peer, PeerConfig, ResumedJob};
use crate::platform::{cores, private};
use crate::survey::connected;

/// Timeout for the first peer of a mesh to introduce itself.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Poll interval for peers that have introduced themselves.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Delay after the first introduction, to let other peers introduce themselves: a job's first offers go only to peers
/// that have.
const GATHER_DELAY: Duration = Duration::from_millis(150);
/// Memory for intermediate data, of all embedded peers together, in bytes.
const EMBEDDED_MEMORY: u64 = 320 << 20;
/// Memory for tasks of this user's own job, in bytes: unlimited here, since the job has its own limit.
const OWN_TASK_MEMORY: u64 = u64::MAX;
/// Disk space for the intermediate data of this user's own job, in bytes: as much as the disk has.
const OWN_DISK: u64 = u64::MAX;

/// Parameters of the first peer, the home of the job.
#[derive(Default)]
pub(super) struct Home {
    /// Its key; generated if absent.
    identity: Option<Keypair>,
    /// The job to resume, if any.
    resumed: Option<ResumedJob>,
}

impl Home {
    /// The home of a new job.
    pub(super) fn new(identity: Keypair) -> Self {
        Self { identity: Some(identity), resumed: None }
    }

    /// The home of a resumed job.
    pub(super) fn resuming(identity: Keypair, job: ResumedJob) -> Self {
        Self { identity: Some(identity), resumed: Some(job) }
    }
}

/// The peers of this process. Jobs are submitted through the first.
pub(super) struct Mesh {
    peers: Vec<Peer>,
    /// The data folders of all embedded peers but the first, removed on drop; absent if the mesh is not embedded.
    scratch: Option<tempfile::TempDir>,
}

impl Mesh {
    /// The peer through which jobs are submitted.
    pub(super) fn home(&self) -> &Peer {
        &self.peers[0]
    }

    /// Starts a mesh within this process; `compiler` is absent if the job is compiled already. A single peer does not
    /// listen; several connect over loopback.
    pub(super) async fn embedded(
        peers: usize,
        threads: Option<usize>,
        data_dir: &Path,
        compiler: Option<Arc<dyn CompileService>>,
        home: Home,
    ) -> Result<Self, ClientError> {
        let threads = threads.unwrap_or_else(|| (cores() / peers).max(1));
        let scratch = private::temporary_folder().tempdir().map_err(ClientError::Scratch)?;
        let listen: Vec<Multiaddr> = match peers {
            1 => vec![],
            _ => vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a valid multiaddress")],
        };
        let config = |dir: PathBuf, bootstrap, compiler, home: Home| PeerConfig {
            kind: Kind::Node,
            roles: Roles { worker: true, shuffler: true, ..Roles::default() },
            threads,
            memory: EMBEDDED_MEMORY / peers as u64,
            task_memory: OWN_TASK_MEMORY,
            disk: OWN_DISK,
            listen: listen.clone(),
            external: vec![],
            bootstrap,
            relayed: false,
            data_dir: dir,
            persistent: false,
            identity: home.identity,
            resumed: home.resumed,
            mdns: false,
            compiler,
        };
        let home = Peer::start(config(data_dir.to_owned(), vec![], compiler, home)).await?;
        let addresses = home.node.net().addresses();
        let mut all = vec![home];
        for i in 1..peers {
            let dir = scratch.path().join(i.to_string());
            all.push(Peer::start(config(dir, addresses.clone(), None, Home::default())).await?);
        }
        let mesh = Self { peers: all, scratch: Some(scratch) };
        mesh.wait_for(peers - 1).await?;
        Ok(mesh)
    }

    /// Joins an existing mesh as a submitter, which does no work for others.
    pub(super) async fn join(bootstrap: Vec<Multiaddr>, data_dir: &Path, home: Home) -> Result<Self, ClientError> {
        // Over WebRTC too: tabs fetch a job's inputs from its submitter.
        let listen = ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/webrtc-direct"];
        let peer = Peer::start(PeerConfig {
            kind: Kind::Submitter,
            roles: Roles::default(),
            threads: 1,
            memory: EMBEDDED_MEMORY,
            task_memory: OWN_TASK_MEMORY,
            disk: OWN_DISK,
            listen: listen.iter().map(|a| a.parse().expect("a valid multiaddress")).collect(),
            external: vec![],
            // In a public mesh, only mDNS tells peers of one local network each other's private addresses.
            mdns: bootstrap.iter().any(is_public),
            bootstrap: bootstrap.clone(),
            relayed: false,
            data_dir: data_dir.to_owned(),
            persistent: false,
            identity: home.identity,
            resumed: home.resumed,
            compiler: None,
        })
        .await?;
        let mesh = Self { peers: vec![peer], scratch: None };
        mesh.connect(&bootstrap).await?;
        tokio::time::sleep(GATHER_DELAY).await;
        Ok(mesh)
    }

    /// Waits until `count` connected peers have introduced themselves.
    async fn wait_for(&self, count: usize) -> Result<(), ClientError> {
        let node = &self.home().node;
        let introduced = async {
            while connected(node).await.len() < count {
                tokio::time::sleep_until(Instant::now() + POLL_INTERVAL).await;
            }
        };
        timeout(JOIN_TIMEOUT, introduced).await.map_err(|_| ClientError::Apart)
    }

    /// Waits until the first peer of the mesh has introduced itself.
    ///
    /// # Errors
    /// No peer does within [`JOIN_TIMEOUT`], or every dial failed: the reason for each address.
    async fn connect(&self, addresses: &[Multiaddr]) -> Result<(), ClientError> {
        let node = &self.home().node;
        let mut notices = node.notices();
        let mut dials: FuturesUnordered<_> = addresses.iter().map(|address| node.net().dial(address.clone())).collect();
        let mut reasons: Vec<String> = Vec::new();
        let until = Instant::now() + JOIN_TIMEOUT;
        while connected(node).await.is_empty() {
            let has_failed = dials.is_empty() && node.net().peers().is_empty() && !reasons.is_empty();
            if has_failed || Instant::now() >= until {
                if reasons.is_empty() {
                    let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                    let (names, seconds) = (names.join(", "), JOIN_TIMEOUT.as_secs());
                    reasons.push(format!("no peer introduced itself at {names} within {seconds} s"));
                }
                reasons.extend(other_transport(addresses));
                return Err(ClientError::NoMesh { reasons });
            }
            tokio::select! {
                Some(dialled) = dials.next() => reasons.extend(dialled.err().map(|why| why.to_string())),
                // Reports a peer of an incompatible version, which was dialled successfully and then disconnected.
                Ok(Notice::Log(why)) = notices.recv() => reasons.push(why),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        Ok(())
    }

    /// Whether the mesh is embedded: then its compiler is in this process, and its peers are workers.
    pub(super) fn is_embedded(&self) -> bool {
        self.scratch.is_some()
    }

    /// Shuts all peers down, the home last.
    pub(super) async fn leave(self) {
        for peer in self.peers.iter().rev() {
            peer.node.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::SwarmEvent;
    use libp2p::{SwarmBuilder, identify, noise, tcp, yamux};

    use super::*;

    #[tokio::test]
    async fn joining_a_mesh_of_another_protocol_version_fails_at_once() {
        let behaviour = |key: &libp2p::identity::Keypair| {
            identify::Behaviour::new(identify::Config::new("webmesh/2".to_owned(), key.public()))
        };
        let mut stranger = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(behaviour)
            .unwrap()
            .build();
        stranger.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let (listening, mut address) = tokio::sync::watch::channel(None);
        tokio::spawn(async move {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } = stranger.select_next_some().await {
                    listening.send_replace(Some(address));
                }
            }
        });
        let address = address.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        crate::platform::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let Err(why) = Mesh::join(vec![address], folder.path(), Home::default()).await else {
            panic!("joined a mesh of another version")
        };
        // The reason is its identification or its lack of our protocol, whichever arrives first.
        assert!(why.to_string().contains("was turned away"), "{why}");
        assert!(begun.elapsed() < JOIN_TIMEOUT, "the error comes before the timeout");
    }
}
