//! Connections accepted by another server in this process: WebSockets from the HTTP server.

use std::future::{Pending, Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::transport::{DialOpts, ListenerId, TransportEvent};
use libp2p::{Multiaddr, Transport, TransportError};
use tokio::sync::mpsc;

/// Accepted connections that the swarm has not taken yet. Further ones make the acceptor wait.
const WAITING: usize = 8;

/// A bidirectional byte stream.
pub trait Bytestream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Bytestream for S {}

struct Accepted {
    stream: Pin<Box<dyn Bytestream>>,
    here: Multiaddr,
    there: Multiaddr,
}

/// Passes accepted connections to the swarm, which secures and multiplexes them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor(mpsc::Sender<Accepted>);

impl Acceptor {
    /// Passes on a connection between the addresses `here` and `there`.
    pub async fn hand_over(&self, stream: impl Bytestream + 'static, here: Multiaddr, there: Multiaddr) {
        // Fails only if the swarm has ended, and its connections with it.
        let _ = self.0.send(Accepted { stream: Box::pin(stream), here, there }).await;
    }
}

/// The transport in the swarm. It neither dials nor listens.
pub(super) struct AcceptedTransport {
    connections: mpsc::Receiver<Accepted>,
    listener: ListenerId,
}

/// Creates both ends.
pub(super) fn accepted() -> (Acceptor, AcceptedTransport) {
    let (sender, connections) = mpsc::channel(WAITING);
    (Acceptor(sender), AcceptedTransport { connections, listener: ListenerId::next() })
}

impl Transport for AcceptedTransport {
    type Output = Pin<Box<dyn Bytestream>>;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Self::Output>>;
    type Dial = Pending<io::Result<Self::Output>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        match self.connections.poll_recv(cx) {
            Poll::Ready(Some(Accepted { stream, here, there })) => Poll::Ready(TransportEvent::Incoming {
                listener_id: self.listener,
                upgrade: ready(Ok(stream)),
                local_addr: here,
                send_back_addr: there,
            }),
            // Without acceptors, no connection will come.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
