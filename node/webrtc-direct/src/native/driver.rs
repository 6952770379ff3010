//! The task of one connection: feeds datagrams and time to its session, and runs the Noise handshake at its start.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use libp2p_core::connection::Endpoint;
use libp2p_identity::{Keypair, PeerId};
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, Shared, State, Substream, Watch};
use super::socket::{Batch, Datagrams, ReceiveBuffer, Socket};
use crate::Error;
use crate::fingerprint::Fingerprint;
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::noise;

/// Maximum batches received before the session acts on them, so that one SACK acknowledges many packets.
pub(crate) const BATCHES: usize = 32;

/// The source of a connection's datagrams.
pub(crate) enum Input {
    /// The dialer's own socket.
    Socket(ReceiveBuffer),
    /// The listener, which demultiplexes the datagrams of its socket.
    Listener(mpsc::Receiver<Datagrams>),
}

/// Parameters of the handshake.
pub(crate) struct Handshake {
    pub(crate) role: Endpoint,
    pub(crate) keys: Keypair,
    pub(crate) own_fingerprint: Fingerprint,
    /// Timeout for the peer's first answer.
    pub(crate) answer_timeout: Duration,
}

/// The outcome of a handshake.
pub(crate) type Established = Result<(PeerId, Connection), Error>;

/// Runs a connection until it ends. `done` receives the outcome of the handshake; if its receiver is dropped, the
/// connection ends. `established` runs after a successful handshake.
pub(crate) async fn run(
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    input: Input,
    handshake: Handshake,
    mut done: oneshot::Sender<Established>,
    established: impl Future<Output = ()>,
) {
    let upgrade = async {
        let result = tokio::select! {
            result = run_handshake(&shared, handshake) => result,
            () = done.closed() => Err(Error::Closed),
        };
        match result {
            Ok(peer) => {
                // If the receiver is gone, dropping the connection ends it.
                drop(done.send(Ok((peer, Connection::new(shared.clone())))));
                established.await;
            }
            Err(error) => {
                shared.end(error.clone());
                drop(done.send(Err(error)));
            }
        }
    };
    futures::join!(drive(&shared, &socket, input), upgrade);
}

/// Marks the driver as finished on drop, also after a panic.
struct Gone<'a>(&'a Shared);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.gone();
    }
}

async fn drive(shared: &Shared, socket: &Socket, mut input: Input) {
    let _gone = Gone(shared);
    let mut out = Batch::default();
    loop {
        let (deadline, over) = {
            let mut state = shared.lock();
            let State { session, out: pending, .. } = &mut *state;
            let reached = (session.is_reached(), session.is_connected());
            let deadline = session.advance(pending, Instant::now());
            std::mem::swap(pending, &mut out);
            let over = session.over().is_some();
            if over || reached != (session.is_reached(), session.is_connected()) {
                state.wake();
            }
            (deadline, over)
        };
        if let Err(error) = socket.send(&mut out).await {
            return shared.end(error.into());
        }
        if over {
            return;
        }
        tokio::select! {
            datagrams = input.next(socket) => match datagrams {
                Ok(datagrams) => receive(shared, socket, &mut input, datagrams),
                Err(error) => return shared.end(error),
            },
            () = shared.work.notified() => {}
            () = tokio::time::sleep_until(deadline.into()) => {}
        }
    }
}

fn receive(shared: &Shared, socket: &Socket, input: &mut Input, first: Datagrams) {
    let mut state = shared.lock();
    let before = (state.session.is_reached(), state.session.is_connected());
    let mut next = Some(first);
    for _ in 0..BATCHES {
        let Some(datagrams) = next else { break };
        let State { session, out, .. } = &mut *state;
        for datagram in datagrams.iter() {
            session.receive(datagrams.from, datagram, out, Instant::now());
        }
        next = input.try_next(socket);
    }
    if before != (state.session.is_reached(), state.session.is_connected()) {
        state.wake();
    }
}

impl Input {
    async fn next(&mut self, socket: &Socket) -> Result<Datagrams, Error> {
        match self {
            Self::Socket(buffer) => Ok(socket.receive(buffer).await?),
            Self::Listener(datagrams) => datagrams.recv().await.ok_or(Error::Closed),
        }
    }

    fn try_next(&mut self, socket: &Socket) -> Option<Datagrams> {
        match self {
            // `next` will return the error again.
            Self::Socket(buffer) => socket.try_receive(buffer).ok(),
            Self::Listener(datagrams) => datagrams.try_recv().ok(),
        }
    }
}

async fn run_handshake(shared: &Arc<Shared>, handshake: Handshake) -> Result<PeerId, Error> {
    let deadline = tokio::time::Instant::now() + HANDSHAKE_TIMEOUT;
    let answered = wait_until(shared, |state| state.session.is_reached());
    tokio::time::timeout(handshake.answer_timeout, answered).await.map_err(|_| Error::NoAnswer)??;
    let authenticated = async {
        wait_until(shared, |state| state.session.is_connected()).await?;
        authenticate(shared, &handshake).await
    };
    tokio::time::timeout_at(deadline, authenticated).await.map_err(|_| Error::HandshakeTimeout(HANDSHAKE_TIMEOUT))?
}

async fn authenticate(shared: &Arc<Shared>, handshake: &Handshake) -> Result<PeerId, Error> {
    let (Some(channel), Some(remote)) = (Substream::handshake(shared), shared.lock().session.remote_fingerprint())
    else {
        return Err(Error::Violation("it has no certificate, or no handshake channel"));
    };
    let (keys, own) = (&handshake.keys, handshake.own_fingerprint);
    let (client, server) = match handshake.role {
        Endpoint::Dialer => (own, remote),
        Endpoint::Listener => (remote, own),
    };
    let result = noise::authenticate(keys, channel, handshake.role, client, server).await;
    // Why the connection ended says more than the broken handshake.
    result.map_err(|error| shared.lock().session.over().cloned().unwrap_or(error.into()))
}

async fn wait_until(shared: &Shared, condition: impl Fn(&State) -> bool) -> Result<(), Error> {
    poll_fn(|cx| {
        let mut state = shared.lock();
        if let Some(error) = state.session.over() {
            return Poll::Ready(Err(error.clone()));
        }
        if condition(&state) {
            return Poll::Ready(Ok(()));
        }
        state.watch(Watch::Handshake, cx);
        Poll::Pending
    })
    .await
}
