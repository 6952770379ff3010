//! Network traffic counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Network traffic since the start; a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Gossip messages that peers delivered, duplicates included.
    pub gossip_delivered: u64,
    /// Their bytes, without gossipsub's own overhead.
    pub gossip_bytes_in: u64,
    /// Gossip messages that this peer published.
    pub gossip_published: u64,
    /// Own gossip messages that were dropped because no peer was subscribed.
    pub gossip_lost: u64,
    /// Gossip messages refused because they do not decode or came on the wrong topic.
    pub gossip_refused: u64,
    /// Gossip messages refused by the rate limit.
    pub gossip_flooded: u64,
    /// Requests by this peer to others that ended, with an answer or without.
    pub requests_out: u64,
    /// Requests by others that were read.
    pub requests_in: u64,
    /// Bytes of requests and answers received.
    pub bytes_in: u64,
    /// Bytes of requests and answers sent.
    pub bytes_out: u64,
    /// Streams that this peer opened for requests.
    pub streams_opened: u64,
    /// Bytes of the body budget that are reserved now.
    pub budget_held: u64,
    /// Bytes of answers that are being written to others now.
    pub answers_held: u64,
}

impl Counters {
    /// All monotonic counters, each with a name and a description.
    pub fn named(&self) -> [(&'static str, &'static str, u64); 11] {
        [
            ("gossip_delivered", "Gossip messages delivered by peers, duplicates included", self.gossip_delivered),
            ("gossip_bytes_in", "Their bytes", self.gossip_bytes_in),
            ("gossip_published", "Gossip messages published", self.gossip_published),
            ("gossip_lost", "Own gossip messages dropped for lack of subscribers", self.gossip_lost),
            ("gossip_refused", "Gossip messages refused", self.gossip_refused),
            ("gossip_flooded", "Gossip messages refused by the rate limit", self.gossip_flooded),
            ("requests_out", "Requests to other peers that ended", self.requests_out),
            ("requests_in", "Requests by other peers that were read", self.requests_in),
            ("bytes_in", "Bytes of requests and answers received", self.bytes_in),
            ("bytes_out", "Bytes of requests and answers sent", self.bytes_out),
            ("streams_opened", "Streams opened for requests", self.streams_opened),
        ]
    }
}

/// The live counters behind [`Counters`].
#[derive(Debug, Default)]
pub(super) struct Meters {
    pub(super) gossip_delivered: Meter,
    pub(super) gossip_bytes_in: Meter,
    pub(super) gossip_published: Meter,
    pub(super) gossip_lost: Meter,
    pub(super) gossip_refused: Meter,
    pub(super) gossip_flooded: Meter,
    pub(super) requests_out: Meter,
    pub(super) requests_in: Meter,
    pub(super) bytes_in: Meter,
    pub(super) bytes_out: Meter,
    pub(super) streams_opened: Meter,
    pub(super) budget_held: Arc<Meter>,
    pub(super) answers_held: Arc<Meter>,
}

/// A counter that many tasks increment.
#[derive(Debug, Default)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, n: usize) {
        self.0.fetch_sub(n as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Meters {
    pub(super) fn read(&self) -> Counters {
        Counters {
            gossip_delivered: self.gossip_delivered.get(),
            gossip_bytes_in: self.gossip_bytes_in.get(),
            gossip_published: self.gossip_published.get(),
            gossip_lost: self.gossip_lost.get(),
            gossip_refused: self.gossip_refused.get(),
            gossip_flooded: self.gossip_flooded.get(),
            requests_out: self.requests_out.get(),
            requests_in: self.requests_in.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            streams_opened: self.streams_opened.get(),
            budget_held: self.budget_held.get(),
            answers_held: self.answers_held.get(),
        }
    }
}
