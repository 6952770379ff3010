//! Peers that send requests, and how much each of them may request at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libp2p::PeerId;
use tokio::sync::Semaphore;
use webmesh_protocol::limits::REQUESTS_OF_PEER;

use super::activity::Activity;
use super::body::Encoding;
use crate::net::budget::{Budget, Pressure, Share};
use crate::net::limits::{self, INCOMING_REQUESTS, STREAMS_FROM_PEER};
use crate::net::streams::Way;

/// All peers with streams to this one.
#[derive(Debug)]
pub(super) struct Callers {
    peers: Mutex<HashMap<PeerId, Arc<Account>>>,
    all: Arc<AtomicUsize>,
    pressure: Pressure,
}

#[derive(Debug)]
struct Account {
    streams: AtomicUsize,
    requests: Arc<AtomicUsize>,
    activity: Activity,
    /// What its requests may hold.
    share: Share,
    /// What answers to it may hold while they are written.
    answers: Share,
    /// Limits large answers being prepared for it.
    bulk: Semaphore,
    /// Limits medium-sized answers being prepared for it, or written.
    lists: Semaphore,
}

/// One stream of a peer.
#[derive(Debug)]
pub(super) struct Caller {
    account: Arc<Account>,
    all: Arc<AtomicUsize>,
    /// How bodies are written on it.
    pub(super) encoding: Encoding,
}

/// A slot among the requests that wait for their answer; freed when dropped.
#[derive(Debug)]
pub(super) struct Place(Vec<Arc<AtomicUsize>>);

impl Callers {
    pub(super) fn new(pressure: Pressure) -> Self {
        Self { peers: Mutex::default(), all: Arc::default(), pressure }
    }

    /// Registers a new stream of `peer`; `None` if it has too many.
    pub(super) fn stream_of(&self, peer: PeerId, way: Way, bodies: &Budget, answers: &Budget) -> Option<Caller> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        // An account without streams belongs to a peer that left or idles: a new one will do.
        peers.retain(|other, account| *other == peer || account.streams.load(Ordering::Relaxed) > 0);
        let account = peers.entry(peer).or_insert_with(|| {
            Arc::new(Account {
                streams: AtomicUsize::new(0),
                requests: Arc::default(),
                activity: Activity::new().under(self.pressure.clone()),
                share: bodies.share(limits::REQUESTS_SHARE),
                answers: answers.share(limits::REQUESTS_SHARE),
                bulk: Semaphore::new(limits::BULK_ANSWERS_OF_PEER),
                lists: Semaphore::new(limits::LISTS_OF_PEER),
            })
        });
        if account.streams.fetch_add(1, Ordering::Relaxed) >= STREAMS_FROM_PEER {
            account.streams.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Caller { account: Arc::clone(account), all: Arc::clone(&self.all), encoding: Encoding::over(way) })
    }

    /// Time since the last byte on the streams that `peer` opened; `None` without streams.
    pub(super) fn silence(&self, peer: &PeerId) -> Option<Duration> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(peer).map(|account| account.activity.silence())
    }
}

impl Caller {
    /// A slot for one more request; `None` if this peer, or all together, have too many waiting.
    pub(super) fn enter(&self) -> Option<Place> {
        let of_peer = occupy(&self.account.requests, REQUESTS_OF_PEER)?;
        match occupy(&self.all, INCOMING_REQUESTS) {
            Some(of_all) => Some(Place(vec![of_peer, of_all])),
            None => {
                of_peer.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.account.activity
    }

    pub(super) fn share(&self) -> &Share {
        &self.account.share
    }

    pub(super) fn answers(&self) -> &Share {
        &self.account.answers
    }

    pub(super) fn bulk(&self) -> &Semaphore {
        &self.account.bulk
    }

    pub(super) fn lists(&self) -> &Semaphore {
        &self.account.lists
    }
}

impl Place {
    /// A slot among at most `max` that `counter` counts.
    pub(super) fn among(counter: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        Some(Self(vec![occupy(counter, max)?]))
    }
}

fn occupy(counter: &Arc<AtomicUsize>, max: usize) -> Option<Arc<AtomicUsize>> {
    if counter.fetch_add(1, Ordering::Relaxed) >= max {
        counter.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    Some(Arc::clone(counter))
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.account.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for counter in &self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
