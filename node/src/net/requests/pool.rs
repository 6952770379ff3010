//! Streams of this peer to another: few, long-lived, with one exchange at a time on each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use tokio::sync::{Semaphore, SemaphorePermit};
use webmesh_protocol::limits::REQUEST_TIMEOUT;

use super::activity::Activity;
use crate::net::budget::{Pressure, Share};
use crate::net::limits::{BULK_STREAMS_TO_PEER, RELAYED_STREAM_LIFETIME, STREAM_IDLE_TIMEOUT, STREAMS_TO_PEER};
use crate::net::streams::Opened;
use crate::platform::{self, Instant};

/// The pools for all peers to which there are streams or requests.
#[derive(Debug)]
pub(super) struct Pools {
    peers: Mutex<HashMap<PeerId, Arc<Pool>>>,
    pressure: Pressure,
}

/// The streams to one peer.
#[derive(Debug)]
pub(super) struct Pool {
    turns: Semaphore,
    bulk_slots: Semaphore,
    idle: Mutex<Vec<(Opened, Instant)>>,
    /// When a byte was last moved to or from the peer.
    pub(super) activity: Activity,
    /// What the answers of this peer may hold of the budget.
    pub(super) share: Share,
}

/// The right to use one stream.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _bulk: Option<SemaphorePermit<'a>>,
}

impl Pools {
    pub(super) fn new(pressure: Pressure) -> Self {
        Self { peers: Mutex::default(), pressure }
    }

    /// The pool of `peer`.
    pub(super) fn of(&self, peer: PeerId, share: impl FnOnce() -> Share) -> Arc<Pool> {
        let pool = || Pool {
            turns: Semaphore::new(STREAMS_TO_PEER),
            bulk_slots: Semaphore::new(BULK_STREAMS_TO_PEER),
            idle: Mutex::default(),
            activity: Activity::new().under(self.pressure.clone()),
            share: share(),
        };
        Arc::clone(lock(&self.peers).entry(peer).or_insert_with(|| Arc::new(pool())))
    }

    /// Time since the last byte on this peer's streams to `peer`; `None` without streams.
    pub(super) fn silence(&self, peer: &PeerId) -> Option<Duration> {
        lock(&self.peers).get(peer).map(|pool| pool.activity.silence())
    }

    /// Drops the idle streams of a connection that is gone.
    pub(super) fn connection_closed(&self, peer: &PeerId, connection: ConnectionId) {
        if let Some(pool) = lock(&self.peers).get(peer) {
            lock(&pool.idle).retain(|(opened, _)| opened.connection != connection);
        }
    }

    /// Removes streams that have idled for too long, for the caller to close, and forgets unused pools.
    pub(super) fn expired(&self) -> Vec<Opened> {
        let mut expired = Vec::new();
        lock(&self.peers).retain(|_, pool| {
            let mut idle = lock(&pool.idle);
            // The longest idle ones are at the bottom: streams are taken from the top.
            let old = idle.iter().take_while(|(_, since)| since.elapsed() >= STREAM_IDLE_TIMEOUT).count();
            expired.extend(idle.drain(..old).map(|(opened, _)| opened));
            let unused = idle.is_empty();
            drop(idle);
            !unused || Arc::strong_count(pool) > 1
        });
        expired
    }
}

impl Pool {
    /// Waits for the right to use a stream. `None` if no bytes moved between the two peers for [`REQUEST_TIMEOUT`].
    pub(super) async fn turn(&self, bulk: bool) -> Option<Turn<'_>> {
        let bulk = if bulk { Some(self.permit(&self.bulk_slots).await?) } else { None };
        Some(Turn { _turn: self.permit(&self.turns).await?, _bulk: bulk })
    }

    async fn permit<'a>(&self, turns: &'a Semaphore) -> Option<SemaphorePermit<'a>> {
        let acquire = turns.acquire();
        futures::pin_mut!(acquire);
        let mut patience = REQUEST_TIMEOUT;
        loop {
            if let Some(permit) = platform::timeout(patience, &mut acquire).await {
                return permit.ok(); // the semaphore is never closed
            }
            patience = REQUEST_TIMEOUT.saturating_sub(self.activity.silence());
            if patience.is_zero() {
                return None;
            }
        }
    }

    /// Takes the most recently used idle stream.
    pub(super) fn take(&self) -> Option<Opened> {
        lock(&self.idle).pop().map(|(opened, _)| opened)
    }

    /// Returns a stream after a complete exchange. A stream through a relay is reused for a short time only: a new one
    /// uses the direct connection, once there is one.
    pub(super) fn put(&self, opened: Opened) {
        if opened.way.relayed && opened.since.elapsed() >= RELAYED_STREAM_LIFETIME {
            return;
        }
        lock(&self.idle).push((opened, Instant::now()));
    }
}

/// If another holder panics, these lists are still usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
