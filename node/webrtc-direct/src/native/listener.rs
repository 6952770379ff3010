//! The task of one listen address: reads its socket and starts a task for each connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use libp2p_core::connection::Endpoint;
use libp2p_identity::Keypair;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};

use super::certificate::Certificate;
use super::connection::Shared;
use super::demux::{Demux, Limits, Route};
use super::driver::{self, BATCHES, Established, Handshake, Input};
use super::session::Session;
use super::socket::{Datagrams, ReceiveBuffer, Socket};
use super::stun;
use crate::Error;
use crate::credentials::Pair;
use crate::limits::{DATAGRAM_QUEUE, HANDSHAKE_TIMEOUT};

/// An incoming connection whose handshake has started.
pub(crate) struct Incoming {
    pub(crate) remote: SocketAddr,
    pub(crate) established: oneshot::Receiver<Established>,
}

pub(crate) struct Listener {
    socket: Arc<Socket>,
    keys: Keypair,
    certificate: Certificate,
    demux: Demux<Id>,
    inputs: HashMap<Id, mpsc::Sender<Datagrams>>,
    tasks: JoinSet<()>,
    incoming: mpsc::Sender<Incoming>,
    established: (mpsc::Sender<Id>, mpsc::Receiver<Id>),
}

impl Listener {
    pub(crate) fn new(
        socket: Socket,
        keys: Keypair,
        certificate: Certificate,
        limits: Limits,
        incoming: mpsc::Sender<Incoming>,
    ) -> Self {
        Self {
            socket: Arc::new(socket),
            keys,
            certificate,
            demux: Demux::new(limits),
            inputs: HashMap::new(),
            tasks: JoinSet::new(),
            incoming,
            established: mpsc::channel(DATAGRAM_QUEUE),
        }
    }

    /// Listens until the receiver of new connections is dropped and the last connection has ended.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let mut buffer = ReceiveBuffer::default();
        let incoming = self.incoming.clone();
        while !(incoming.is_closed() && self.demux.is_empty()) {
            tokio::select! {
                datagrams = self.socket.receive(&mut buffer) => {
                    self.receive(datagrams?);
                    // Also takes what else has arrived, so that one SACK acknowledges many packets. `receive` will
                    // return an error again.
                    for _ in 1..BATCHES {
                        let Ok(datagrams) = self.socket.try_receive(&mut buffer) else { break };
                        self.receive(datagrams);
                    }
                }
                Some(ended) = self.tasks.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(%error, "the task of a connection panicked");
                            error.id()
                        }
                    };
                    self.inputs.remove(&id);
                    self.demux.closed(id, Instant::now());
                }
                Some(id) = self.established.1.recv() => self.demux.established(id),
                () = incoming.closed(), if !incoming.is_closed() => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, datagrams: Datagrams) {
        if datagrams.iter().any(stun::is_stun) {
            for datagram in datagrams.iter() {
                self.receive_one(datagrams.from, datagram);
            }
        } else if let Some(id) = self.demux.known(datagrams.from) {
            self.forward(id, datagrams);
        }
    }

    fn receive_one(&mut self, from: SocketAddr, datagram: &[u8]) {
        let id = match self.demux.route(from, datagram, Instant::now()) {
            Route::To(id) => id,
            Route::New(pair) => match self.open(from, *pair) {
                Ok(Some(id)) => id,
                Ok(None) => return,
                Err(error) => return tracing::warn!(%from, %error, "cannot start a connection"),
            },
            Route::Drop => return,
        };
        self.forward(id, Datagrams { from, data: Bytes::copy_from_slice(datagram), stride: datagram.len() });
    }

    fn forward(&self, id: Id, datagrams: Datagrams) {
        // If the queue is full, the datagrams are dropped, as a congested network would.
        if let Some(input) = self.inputs.get(&id)
            && input.try_send(datagrams).is_err()
        {
            tracing::trace!("dropping datagrams: the queue of their connection is full");
        }
    }

    /// Starts a connection. None if the swarm is slow or gone: the client retries.
    fn open(&mut self, from: SocketAddr, pair: Pair) -> Result<Option<Id>, Error> {
        let Ok(permit) = self.incoming.try_reserve() else { return Ok(None) };
        let session = Session::new(Endpoint::Listener, pair.clone(), from, &self.certificate, None, Instant::now())?;
        let (input, datagrams) = mpsc::channel(DATAGRAM_QUEUE);
        let (done, established) = oneshot::channel();
        let handshake = Handshake {
            role: Endpoint::Listener,
            keys: self.keys.clone(),
            own_fingerprint: self.certificate.fingerprint(),
            answer_timeout: HANDSHAKE_TIMEOUT,
        };
        let report = self.established.0.clone();
        let task = driver::run(
            Shared::new(session),
            self.socket.clone(),
            Input::Listener(datagrams),
            handshake,
            done,
            async move {
                if report.send(tokio::task::id()).await.is_err() {
                    tracing::debug!("the listener has stopped, handshake not counted");
                }
            },
        );
        let id = self.tasks.spawn(task).id();
        self.inputs.insert(id, input);
        self.demux.opened(id, from, &pair);
        permit.send(Incoming { remote: from, established });
        Ok(Some(id))
    }
}
