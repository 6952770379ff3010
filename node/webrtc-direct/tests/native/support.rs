//! Shared helpers: a running listener, connections, and resource usage of this process.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p_core::connection::Endpoint;
use libp2p_core::muxing::StreamMuxerExt;
use libp2p_core::transport::{DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p_core::{Multiaddr, StreamMuxer, Transport as _};
use libp2p_identity::{Keypair, PeerId};
use tokio::sync::mpsc;
use webmesh_webrtc_direct::credentials::Version;
use webmesh_webrtc_direct::{Certificate, Config, Connection, Error, Substream, Transport};

/// Timeout of a single step: generous, for a loaded machine.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, future).await.expect("within a minute")
}

pub(crate) fn config() -> Config {
    Config::default().with_certificate(Certificate::generate().unwrap())
}

/// A listening transport and its accepted connections. Stops when dropped.
pub(crate) struct Server {
    pub address: Multiaddr,
    pub peer: PeerId,
    pub accepted: mpsc::Receiver<Result<(PeerId, Connection), Error>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(config: Config) -> Self {
        let log = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env());
        let _first = log.with_test_writer().try_init();
        let keys = Keypair::generate_ed25519();
        let peer = keys.public().to_peer_id();
        let mut transport = Transport::new(keys, config);
        transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap()).unwrap();
        let TransportEvent::NewAddress { listen_addr, .. } = within(next(&mut transport)).await else {
            panic!("the first event must be the listen address")
        };
        let (sender, accepted) = mpsc::channel(1000);
        let task = tokio::spawn(async move {
            loop {
                if let TransportEvent::Incoming { upgrade, .. } = next(&mut transport).await {
                    let sender = sender.clone();
                    tokio::spawn(async move { drop(sender.send(upgrade.await).await) });
                }
            }
        });
        Self { address: listen_addr, peer, accepted, task }
    }

    pub(crate) async fn accept(&mut self) -> Connection {
        within(self.accepted.recv()).await.unwrap().unwrap().1
    }

    /// A connection from a new peer: the dialer's end and the server's end.
    pub(crate) async fn connect(&mut self, version: Version) -> (Connection, Connection) {
        let (peer, dialled) = within(dial(&self.address, version)).await.unwrap();
        assert_eq!(peer, self.peer);
        (dialled, self.accept().await)
    }
}

async fn next(
    transport: &mut Transport,
) -> TransportEvent<<Transport as libp2p_core::Transport>::ListenerUpgrade, Error> {
    poll_fn(|cx| Pin::new(&mut *transport).poll(cx)).await
}

pub(crate) async fn dial(address: &Multiaddr, version: Version) -> Result<(PeerId, Connection), Error> {
    dial_as(Keypair::generate_ed25519(), address, &[version]).await
}

pub(crate) async fn dial_as(
    keys: Keypair,
    address: &Multiaddr,
    versions: &[Version],
) -> Result<(PeerId, Connection), Error> {
    let mut transport = Transport::new(keys, config().with_dial_versions(versions));
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    match transport.dial(address.clone(), options) {
        Ok(dial) => dial.await,
        Err(libp2p_core::transport::TransportError::Other(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

pub(crate) async fn open(connection: &mut Connection) -> Substream {
    within(poll_fn(|cx| connection.poll_outbound_unpin(cx))).await.unwrap()
}

pub(crate) async fn accept(connection: &mut Connection) -> Substream {
    within(poll_fn(|cx| connection.poll_inbound_unpin(cx))).await.unwrap()
}

/// Waits for the connection to end, and returns the reason.
pub(crate) async fn ended(connection: &mut Connection) -> Error {
    within(poll_fn(|cx| match Pin::new(&mut *connection).poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(error),
        Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
    }))
    .await
}

/// Held by tests that measure resources of the whole process: no other test runs meanwhile. Tests that measure memory
/// use two worker threads, because each thread's allocator arena grows on first use.
pub(crate) async fn alone() -> tokio::sync::RwLockWriteGuard<'static, ()> {
    QUIET.write().await
}

/// Held by all other tests while they run.
pub(crate) async fn together() -> tokio::sync::RwLockReadGuard<'static, ()> {
    QUIET.read().await
}

static QUIET: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// Echoes every stream until the connection ends.
pub(crate) fn echo(mut connection: Connection) -> tokio::task::JoinHandle<Connection> {
    tokio::spawn(async move {
        while let Ok(stream) = poll_fn(|cx| connection.poll_inbound_unpin(cx)).await {
            tokio::spawn(async move {
                let (reader, mut writer) = stream.split();
                if futures::io::copy(reader, &mut writer).await.is_ok() {
                    drop(writer.close().await);
                }
            });
        }
        connection
    })
}

/// Sends `data` and closes, while reading to the end. Returns what was read.
pub(crate) async fn ask(stream: &mut Substream, data: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let (mut reader, mut writer) = stream.split();
    let asking = async {
        writer.write_all(data).await?;
        writer.close().await
    };
    let (asked, answered) = tokio::join!(asking, reader.read_to_end(&mut answer));
    asked.and(answered).map(|_| answer)
}

/// Polls every 10 ms until the condition holds, for effects of tasks that cannot be awaited.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(TEST_TIMEOUT, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "timeout waiting until {what}");
}

/// Number of UDP sockets of this process. Other kinds are not counted, since each test's runtime has its own.
pub(crate) fn sockets() -> usize {
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"].map(|path| std::fs::read_to_string(path).unwrap());
    let inode = |line: &str| line.split_whitespace().nth(9).map(|inode| format!("socket:[{inode}]"));
    let of_host: Vec<_> = tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(inode).collect();
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| of_host.iter().any(|socket| target == std::path::Path::new(socket))).count()
}

/// Number of live tasks of the current runtime.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Resident memory of this process in bytes.
pub(crate) fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Bytes in which a missing or repeated part would be detected.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}
