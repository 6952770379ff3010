//! The gossip budget: how often a peer may publish claims, for all its jobs together (rule 6).

use std::time::Duration;

use crate::limits;
use crate::time::Time;

/// Copies of each gossip message that reach a peer, about: in simulation, 6 in a mesh of 20 peers, 8 in one of 100, 14
/// in one of 1,000.
const GOSSIP_COPIES: u32 = 13;
/// The part of [`limits::CONTROL_PER_SECOND`] that is left to topics other than claims.
const OTHER_MESSAGES: u32 = 20;
/// Claim messages that a worker may send in quick succession after a long silence: at the start, while it finds its
/// pace, and at the end, when batches are small.
const BURST: f64 = 9.0;
/// How far urgent messages may overdraw the budget: more of them must not silence a worker.
const DEBT: f64 = 2.0;
/// Messages that a worker may send at once when most of the others turn out to run nothing: one to claim, and some to
/// find its pace.
const REFUND: f64 = 4.0;
/// Interval between messages while no other worker is heard, when probably none listens: a series of short jobs must
/// not wait.
const ALONE: Duration = Duration::from_millis(20);
/// The shortest interval between claim messages, after the first few of a stage.
pub(super) const SHORTEST_GAP: Duration = Duration::from_millis(200);

/// A token bucket (Turner, 1986): each message takes a token, and each gap adds one.
#[derive(Debug)]
pub(super) struct Bucket {
    messages: f64,
    most: f64,
    at: Time,
}

impl Bucket {
    pub(super) fn full(most: f64) -> Self {
        Self { messages: most, most, at: Time(0) }
    }

    /// When it holds this many messages.
    pub(super) fn next(&self, gap: Duration, messages: f64) -> Time {
        self.at + gap.mul_f64((messages - self.messages).max(0.0))
    }

    /// Adds the messages since the last update.
    fn fill(&mut self, now: Time, gap: Duration) {
        let came_in = now.since(self.at).as_secs_f64() / gap.as_secs_f64().max(1e-6);
        self.messages = (self.messages + came_in).min(self.most);
        self.at = now;
    }

    /// A message is sent. An urgent one may overdraw the bucket.
    pub(super) fn spend(&mut self, now: Time, gap: Duration) {
        self.fill(now, gap);
        self.messages = (self.messages - 1.0).max(-DEBT);
    }
}

/// The interval between two messages of each worker with which `workers` workers together keep the budget.
fn gap_of(workers: u32) -> Duration {
    let claims = limits::CONTROL_PER_SECOND - OTHER_MESSAGES;
    match workers {
        0 | 1 => ALONE,
        workers => (Duration::from_secs(1) * workers * GOSSIP_COPIES / claims).max(SHORTEST_GAP),
    }
}

/// This worker's budget for claim messages.
#[derive(Debug)]
pub(super) struct GossipBudget {
    bucket: Bucket,
    gap: Duration,
}

impl Default for GossipBudget {
    fn default() -> Self {
        Self { bucket: Bucket::full(BURST), gap: ALONE }
    }
}

impl GossipBudget {
    /// Sets the number of workers that hear each other, this one included, over all shards that it works on.
    pub(super) fn set_workers(&mut self, now: Time, workers: u32) {
        self.bucket.fill(now, self.gap);
        self.gap = gap_of(workers);
    }

    /// Most of the workers that were counted are late: what was saved for their messages is not needed.
    pub(super) fn refund(&mut self) {
        self.bucket.messages = self.bucket.messages.max(REFUND);
    }

    /// The interval between two messages of this worker with which all workers that hear each other keep the budget. If
    /// none is heard, others may not have sent anything yet.
    pub(super) fn gap(&self) -> Duration {
        self.gap.max(SHORTEST_GAP)
    }

    /// When the next message may be sent.
    pub(super) fn next(&self) -> Time {
        self.bucket.next(self.gap, 1.0)
    }

    /// When a message that can wait may be sent: one is then left for urgent ones.
    pub(super) fn next_with_reserve(&self) -> Time {
        self.bucket.next(self.gap, 2.0)
    }

    /// A message is sent.
    pub(super) fn spend(&mut self, now: Time) {
        self.bucket.spend(now, self.gap);
    }
}
