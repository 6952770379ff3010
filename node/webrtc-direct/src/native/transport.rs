//! libp2p's `Transport`: listeners, and dialing.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use libp2p_core::connection::Endpoint;
use libp2p_core::multiaddr::Multiaddr;
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p_identity::{Keypair, PeerId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::certificate::Certificate;
use super::connection::{Connection, Shared};
use super::demux::Limits;
use super::driver::{self, Handshake, Input};
use super::error::{Error, WrongPeer};
use super::listener::{Incoming, Listener};
use super::session::Session;
use super::socket::{ReceiveBuffer, Socket};
use crate::address::{self, DialAddress, InvalidAddress};
use crate::credentials::{Pair, Version};
use crate::limits::{
    ANSWER_DEADLINE, INCOMING_QUEUE, PENDING_HANDSHAKES, PENDING_HANDSHAKES_PER_HOST, VERSION_FALLBACK,
};

/// How the transport behaves.
#[derive(Clone, Debug)]
pub struct Config {
    certificate: Certificate,
    versions: Vec<Version>,
    limits: Limits,
}

impl Config {
    /// With a certificate, which listeners' addresses name by its hash. Keep it ([`Certificate::to_pem`]).
    pub fn new(certificate: Certificate) -> Self {
        let limits = Limits { pending: PENDING_HANDSHAKES, pending_per_host: PENDING_HANDSHAKES_PER_HOST };
        Self { certificate, versions: vec![Version::V2, Version::V1], limits }
    }

    /// Versions to dial with, in this order: the next if the server does not answer. Listeners know both.
    pub fn with_dial_versions(mut self, versions: &[Version]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    /// Bounds on handshakes under way on each listener: in all, and from one host (an IPv4 address, an IPv6 /64).
    pub fn with_pending_handshakes(mut self, in_all: usize, per_host: usize) -> Self {
        self.limits = Limits { pending: in_all, pending_per_host: per_host };
        self
    }
}

/// WebRTC-direct over UDP sockets. Must be used within a tokio runtime.
pub struct Transport {
    keys: Keypair,
    config: Config,
    listeners: Vec<Listening>,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

type Upgrade = BoxFuture<'static, Result<(PeerId, Connection), Error>>;
type Event = TransportEvent<Upgrade, Error>;

struct Listening {
    id: ListenerId,
    local: SocketAddr,
    incoming: mpsc::Receiver<Incoming>,
    task: JoinHandle<Result<(), Error>>,
    /// Where the address stands for all of the machine's.
    interfaces: Option<IfWatcher>,
}

impl Transport {
    /// Keys are those of the local peer.
    pub fn new(keys: Keypair, config: Config) -> Self {
        Self { keys, config, listeners: Vec::new(), events: VecDeque::new(), waker: None }
    }

    fn address(&self, socket: SocketAddr) -> Multiaddr {
        address::build(socket, Some(self.config.certificate.fingerprint()))
    }

    fn listen(&mut self, id: ListenerId, address: SocketAddr) -> Result<(), Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(std::io::Error::other)?;
        let socket = Socket::bind(address)?;
        let local = socket.local();
        let (sender, incoming) = mpsc::channel(INCOMING_QUEUE);
        let Config { certificate, limits, .. } = self.config.clone();
        let task = runtime.spawn(Listener::new(socket, self.keys.clone(), certificate, limits, sender).run());
        let interfaces = if local.ip().is_unspecified() { Some(IfWatcher::new()?) } else { None };
        if interfaces.is_none() {
            self.events.push_back(TransportEvent::NewAddress { listener_id: id, listen_addr: self.address(local) });
        }
        self.listeners.push(Listening { id, local, incoming, task, interfaces });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn poll_listener(&mut self, at: usize, cx: &mut Context<'_>) -> Poll<Event> {
        let listener_id = self.listeners[at].id;
        let listening = &mut self.listeners[at];
        while let Some(watcher) = &mut listening.interfaces
            && let Poll::Ready(event) = watcher.poll_if_event(cx)
        {
            let (net, up) = match event {
                Ok(IfEvent::Up(net)) => (net, true),
                Ok(IfEvent::Down(net)) => (net, false),
                Err(error) => {
                    listening.interfaces = None;
                    return Poll::Ready(TransportEvent::ListenerError { listener_id, error: error.into() });
                }
            };
            if net.addr().is_ipv4() == listening.local.is_ipv4() {
                let fingerprint = Some(self.config.certificate.fingerprint());
                let listen_addr = address::build((net.addr(), listening.local.port()).into(), fingerprint);
                return Poll::Ready(if up {
                    TransportEvent::NewAddress { listener_id, listen_addr }
                } else {
                    TransportEvent::AddressExpired { listener_id, listen_addr }
                });
            }
        }
        match listening.incoming.poll_recv(cx) {
            Poll::Ready(Some(Incoming { remote, established })) => {
                let local = listening.local;
                Poll::Ready(TransportEvent::Incoming {
                    listener_id,
                    upgrade: async move { established.await.unwrap_or(Err(Error::Closed)) }.boxed(),
                    local_addr: self.address(local),
                    send_back_addr: address::build(remote, None),
                })
            }
            Poll::Ready(None) => {
                let mut listening = self.listeners.swap_remove(at);
                let reason = match (&mut listening.task).now_or_never() {
                    Some(Ok(Err(error))) => Err(error),
                    _ => Err(Error::Closed),
                };
                Poll::Ready(TransportEvent::ListenerClosed { listener_id, reason })
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl libp2p_core::Transport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        let socket = address::parse_listen(&address).map_err(|error| refuse(address, error))?;
        self.listen(id, socket).map_err(TransportError::Other)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(at) = self.listeners.iter().position(|listening| listening.id == id) else { return false };
        // Dropping the receiver tells the task; connections that there are live on.
        self.listeners.swap_remove(at);
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Upgrade, TransportError<Error>> {
        if options.role == Endpoint::Listener {
            // Who is dialled cannot take the dialer's part: its address would have to be in the dialer's SDP.
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let target = address::parse_dial(&address).map_err(|error| refuse(address, error))?;
        Ok(dial(self.keys.clone(), self.config.clone(), target).boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        for at in 0..self.listeners.len() {
            if let Poll::Ready(event) = self.poll_listener(at, cx) {
                return Poll::Ready(event);
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn refuse(address: Multiaddr, error: InvalidAddress) -> TransportError<Error> {
    if error.is_unsupported() {
        TransportError::MultiaddrNotSupported(address)
    } else {
        TransportError::Other(Error::Address(Arc::new(error)))
    }
}

async fn dial(keys: Keypair, config: Config, target: DialAddress) -> Result<(PeerId, Connection), Error> {
    let mut versions = config.versions.iter().copied().peekable();
    let mut result = Err(Error::NoAnswer);
    while let Some(version) = versions.next() {
        let patience = if versions.peek().is_some() { VERSION_FALLBACK } else { ANSWER_DEADLINE };
        result = dial_with(&keys, &config, &target, version, patience).await;
        if !matches!(result, Err(Error::NoAnswer)) {
            break;
        }
    }
    let (actual, connection) = result?;
    match target.peer {
        Some(expected) if expected != actual => Err(Error::WrongPeer(WrongPeer { expected, actual }.into())),
        _ => Ok((actual, connection)),
    }
}

async fn dial_with(
    keys: &Keypair,
    config: &Config,
    target: &DialAddress,
    version: Version,
    answer_within: Duration,
) -> Result<(PeerId, Connection), Error> {
    let any = match target.socket {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    // A socket of its own: the peer is told apart by it, and it goes when the connection goes.
    let socket = Arc::new(Socket::bind(any)?);
    let pair = Pair::generate(version);
    let expected = Some(target.fingerprint);
    let session = Session::new(Endpoint::Dialer, pair, target.socket, &config.certificate, expected, Instant::now())?;
    let handshake = Handshake {
        role: Endpoint::Dialer,
        keys: keys.clone(),
        own_fingerprint: config.certificate.fingerprint(),
        answer_within,
    };
    let (done, established) = oneshot::channel();
    let input = Input::Socket(ReceiveBuffer::default());
    tokio::spawn(driver::run(Shared::new(session), socket, input, handshake, done, std::future::ready(())));
    established.await.unwrap_or(Err(Error::Closed))
}
