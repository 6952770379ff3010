//! The peers that ask, and how much each of them may ask at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::PeerId;
use webmesh_protocol::limits::REQUESTS_OF_PEER;

use super::pulse::Pulse;
use crate::net::budget::{Budget, Share};
use crate::net::limits::{REQUESTS_IN, STREAMS_FROM_PEER};

/// All peers with streams to this one.
#[derive(Debug)]
pub(super) struct Callers {
    peers: Mutex<HashMap<PeerId, Arc<Account>>>,
    all: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Account {
    streams: AtomicUsize,
    requests: Arc<AtomicUsize>,
    pulse: Pulse,
    share: Share,
}

/// One stream of a peer.
#[derive(Debug)]
pub(super) struct Caller {
    account: Arc<Account>,
    all: Arc<AtomicUsize>,
}

/// A request's place among those that wait for their answer, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Vec<Arc<AtomicUsize>>);

impl Callers {
    pub(super) fn new() -> Self {
        Self { peers: Mutex::default(), all: Arc::default() }
    }

    /// A new stream of `peer`, or `None` if it has too many.
    pub(super) fn stream_of(&self, peer: PeerId, budget: &Budget) -> Option<Caller> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        // An account without streams is of a peer that left or idles: a new one will do.
        peers.retain(|other, account| *other == peer || account.streams.load(Ordering::Relaxed) > 0);
        let account = peers.entry(peer).or_insert_with(|| {
            let (streams, requests) = (AtomicUsize::new(0), Arc::default());
            Arc::new(Account { streams, requests, pulse: Pulse::new(), share: budget.share() })
        });
        if account.streams.fetch_add(1, Ordering::Relaxed) >= STREAMS_FROM_PEER {
            account.streams.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Caller { account: Arc::clone(account), all: Arc::clone(&self.all) })
    }
}

impl Caller {
    /// A place for one more request, or `None` if this peer, or all together, have too many waiting.
    pub(super) fn enter(&self) -> Option<Place> {
        let of_peer = occupy(&self.account.requests, REQUESTS_OF_PEER)?;
        match occupy(&self.all, REQUESTS_IN) {
            Some(of_all) => Some(Place(vec![of_peer, of_all])),
            None => {
                of_peer.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }

    pub(super) fn pulse(&self) -> &Pulse {
        &self.account.pulse
    }

    pub(super) fn share(&self) -> &Share {
        &self.account.share
    }
}

impl Place {
    /// A place among at most `max` that `counter` counts.
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
