//! Real peers on loopback sockets. No test sleeps: each waits for an expected event, or fails after a minute.

mod gossip;
mod namespace;
mod places;
mod relay;
mod requests;
mod speed;
mod start;
mod strangers;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::io::{RequestError, RequestId};
use webmesh_protocol::message::{Request, Response};
use webmesh_protocol::{Hash, JobId, PartitionId, PeerKey, StageId, TaskId};

use super::{Net, NetConfig, NetEvent, identity};

/// Timeout of every wait, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A peer with its events.
struct Peer {
    net: Net,
    events: mpsc::Receiver<NetEvent>,
}

/// A configuration for one test: it dials only what the test asks for.
fn quiet() -> NetConfig {
    let identity = identity::to_libp2p(&identity::generate());
    NetConfig { wanted_peers: 0, ..NetConfig::loopback(identity) }
}

impl Peer {
    async fn start() -> Self {
        Self::with(quiet()).await
    }

    async fn with(config: NetConfig) -> Self {
        let (net, events) = Net::start(config).await.unwrap();
        Self { net, events }
    }

    fn key(&self) -> PeerKey {
        self.net.peer()
    }

    /// Connects to the first of the other's addresses that contains `kind`.
    async fn dial(&mut self, other: &Peer, kind: &str) {
        let address = other.net.addresses().into_iter().find(|a| a.to_string().contains(kind)).unwrap();
        assert_eq!(self.net.dial(address).await.unwrap(), other.key());
    }

    /// The first event for which `wanted` returns a value.
    async fn wait<T>(&mut self, mut wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the network still runs");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("it happens within a minute")
    }

    /// Sends a request, and waits for the answer.
    async fn ask(
        &mut self,
        to: PeerKey,
        request: Request,
        body: Vec<Bytes>,
    ) -> Result<(Response, Bytes), RequestError> {
        let id = RequestId(1 << 40);
        self.net.request(id, to, request, body);
        self.answer(id).await
    }

    async fn answer(&mut self, wanted: RequestId) -> Result<(Response, Bytes), RequestError> {
        self.wait(|event| match event {
            NetEvent::Response { id, outcome } if id == wanted => Some(outcome),
            _ => None,
        })
        .await
    }

    /// Answers every request with its own body, on a task of its own.
    fn echo(mut self) -> Net {
        let net = self.net.clone();
        tokio::spawn(async move {
            while let Some(event) = self.events.recv().await {
                if let NetEvent::Request { token, body, .. } = event {
                    self.net.respond(token, Response::Ok, vec![body]);
                }
            }
        });
        net
    }
}

fn compile(name: &str) -> Request {
    Request::Compile { name: name.to_owned() }
}

/// A request whose answer may be of any length.
fn pull() -> Request {
    Request::Pull { job: JobId([7; 32]), stage: StageId(0), partition: PartitionId(0), from: TaskId(0) }
}

/// Incompressible bytes (xorshift).
pub(super) fn body(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    noise.take(len).collect()
}

fn hash(text: &str) -> Hash {
    Hash::of(text.as_bytes())
}
