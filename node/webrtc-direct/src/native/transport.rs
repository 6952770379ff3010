//! The [`libp2p_core::Transport`] of a native program: listeners and dials.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
use super::driver::{self, Handshake, Input};
use super::listener::{Incoming, Listener};
use super::session::Session;
use super::socket::{ReceiveBuffer, Socket};
use crate::address::{self, DialAddress};
use crate::credentials::{Pair, Version};
use crate::fingerprint::Fingerprint;
use crate::limits::{ANSWER_TIMEOUT, INCOMING_QUEUE, VERSION_FALLBACK_TIMEOUT};
use crate::{Config, Error};

/// WebRTC-direct over UDP sockets: listens and dials. Must be used within a tokio runtime.
///
/// Its connections are authenticated and carry streams: no upgrade is needed.
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
    certhash: Fingerprint,
    incoming: mpsc::Receiver<Incoming>,
    task: JoinHandle<Result<(), Error>>,
    /// For an unspecified address, which stands for the addresses of all interfaces.
    interfaces: Option<IfWatcher>,
}

impl Listening {
    fn address(&self, ip: IpAddr) -> Multiaddr {
        address::build((ip, self.local.port()).into(), Some(self.certhash))
    }
}

impl Transport {
    /// A transport for the local peer with these keys.
    pub fn new(keys: Keypair, config: Config) -> Self {
        Self { keys, config, listeners: Vec::new(), events: VecDeque::new(), waker: None }
    }

    /// The configured certificate, or one that is generated at the first call.
    fn certificate(&mut self) -> Result<Certificate, Error> {
        let certificate = match self.config.listen.certificate.take() {
            Some(certificate) => certificate,
            None => Certificate::generate().map_err(|error| Error::Certificate(error.to_string()))?,
        };
        Ok(self.config.listen.certificate.insert(certificate).clone())
    }

    fn listen(&mut self, id: ListenerId, address: SocketAddr) -> Result<(), Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(std::io::Error::other)?;
        let certificate = self.certificate()?;
        let certhash = certificate.fingerprint();
        let socket = Socket::bind(address)?;
        let local = socket.local();
        let (sender, incoming) = mpsc::channel(INCOMING_QUEUE);
        let limits = self.config.listen.limits;
        let task = runtime.spawn(Listener::new(socket, self.keys.clone(), certificate, limits, sender).run());
        let interfaces = if local.ip().is_unspecified() { Some(IfWatcher::new()?) } else { None };
        let listening = Listening { id, local, certhash, incoming, task, interfaces };
        if listening.interfaces.is_none() {
            let listen_addr = listening.address(local.ip());
            self.events.push_back(TransportEvent::NewAddress { listener_id: id, listen_addr });
        }
        self.listeners.push(listening);
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
                let listen_addr = listening.address(net.addr());
                return Poll::Ready(if up {
                    TransportEvent::NewAddress { listener_id, listen_addr }
                } else {
                    TransportEvent::AddressExpired { listener_id, listen_addr }
                });
            }
        }
        match listening.incoming.poll_recv(cx) {
            Poll::Ready(Some(Incoming { remote, established })) => Poll::Ready(TransportEvent::Incoming {
                listener_id,
                upgrade: async move { established.await.unwrap_or(Err(Error::Closed)) }.boxed(),
                local_addr: listening.address(listening.local.ip()),
                send_back_addr: address::build(remote, None),
            }),
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
        let socket = address::parse_listen(&address).map_err(|error| Error::refuse(address, error))?;
        self.listen(id, socket).map_err(TransportError::Other)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(at) = self.listeners.iter().position(|listening| listening.id == id) else { return false };
        // Dropping the receiver tells the task to stop accepting. Existing connections continue.
        self.listeners.swap_remove(at);
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Upgrade, TransportError<Error>> {
        if options.role == Endpoint::Listener {
            // No hole punching: the two sides cannot swap roles, since a server's address must be known to the client.
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let target = address::parse_dial(&address).map_err(|error| Error::refuse(address, error))?;
        let certificate = self.certificate().map_err(TransportError::Other)?;
        let dialer = Dialer { keys: self.keys.clone(), certificate, target };
        Ok(dialer.dial(self.config.dial_versions.clone()).boxed())
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

struct Dialer {
    keys: Keypair,
    certificate: Certificate,
    target: DialAddress,
}

impl Dialer {
    /// Tries the versions in order; the next one if the server does not answer.
    async fn dial(self, versions: Vec<Version>) -> Result<(PeerId, Connection), Error> {
        let mut versions = versions.into_iter().peekable();
        let mut result = Err(Error::NoVersion);
        while let Some(version) = versions.next() {
            let timeout = if versions.peek().is_some() { VERSION_FALLBACK_TIMEOUT } else { ANSWER_TIMEOUT };
            result = self.dial_with(version, timeout).await;
            if !matches!(result, Err(Error::NoAnswer)) {
                break;
            }
        }
        let (peer, connection) = result?;
        Error::check_peer(self.target.peer, peer)?;
        Ok((peer, connection))
    }

    async fn dial_with(&self, version: Version, answer_timeout: Duration) -> Result<(PeerId, Connection), Error> {
        let any = match self.target.socket {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        // One socket per dial: it identifies the connection, and closes with it.
        let socket = Arc::new(Socket::bind(any)?);
        let Self { keys, certificate, target } = self;
        let pair = Pair::generate(version);
        let expected = Some(target.fingerprint);
        let session = Session::new(Endpoint::Dialer, pair, target.socket, certificate, expected, Instant::now())?;
        let handshake = Handshake {
            role: Endpoint::Dialer,
            keys: keys.clone(),
            own_fingerprint: certificate.fingerprint(),
            answer_timeout,
        };
        let (done, established) = oneshot::channel();
        let input = Input::Socket(ReceiveBuffer::default());
        tokio::spawn(driver::run(Shared::new(session), socket, input, handshake, done, std::future::ready(())));
        established.await.unwrap_or(Err(Error::Closed))
    }
}
