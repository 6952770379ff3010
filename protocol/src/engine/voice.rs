//! How often a peer speaks to everyone: one budget for all its jobs together (rule 6).

use std::time::Duration;

use crate::limits;
use crate::time::Time;

/// Each gossip message reaches a peer about so many times: simulated, 6 in a mesh of 20 peers, 8 in one of 100, 14 in
/// one of 1,000.
const GOSSIP_COPIES: u32 = 13;
/// Of the messages that a peer may be sent, so many are left to topics beside claims.
const OTHER_MESSAGES: u32 = 20;
/// Messages of claims that may follow each other quickly, where a worker has been silent for long: at the start, while it
/// finds its pace, and at the end, when batches are small.
const BURST: f64 = 9.0;
/// Of those that could not wait, so many are missing later: more of them must not silence a worker.
const DEBT: f64 = 2.0;
/// Where nobody is heard, nobody is likely to hear: short jobs in a row must not wait for a word.
const ALONE: Duration = Duration::from_millis(20);
/// No two of them need be nearer to each other, once the first few of a stage are said.
pub(super) const SHORTEST_GAP: Duration = Duration::from_millis(200);

/// A bucket of messages that fills by one in each gap (a token bucket: Turner, 1986).
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

    /// When it holds so many messages.
    pub(super) fn next(&self, gap: Duration, messages: f64) -> Time {
        self.at + gap.mul_f64((messages - self.messages).max(0.0))
    }

    /// Fills it with what came in.
    fn fill(&mut self, now: Time, gap: Duration) {
        let came_in = now.since(self.at).as_secs_f64() / gap.as_secs_f64().max(1e-6);
        self.messages = (self.messages + came_in).min(self.most);
        self.at = now;
    }

    /// A message is sent; one that could not wait is missing later.
    pub(super) fn spend(&mut self, now: Time, gap: Duration) {
        self.fill(now, gap);
        self.messages = (self.messages - 1.0).max(-DEBT);
    }
}

/// The time between two messages of each of so many workers, so that all of them keep the budget.
fn gap_of(workers: u32) -> Duration {
    let claims = limits::CONTROL_PER_SECOND - OTHER_MESSAGES;
    match workers {
        0 | 1 => ALONE,
        workers => (Duration::from_secs(1) * workers * GOSSIP_COPIES / claims).max(SHORTEST_GAP),
    }
}

/// What this worker may say of its claims.
#[derive(Debug)]
pub(super) struct Voice {
    bucket: Bucket,
    gap: Duration,
}

impl Default for Voice {
    fn default() -> Self {
        Self { bucket: Bucket::full(BURST), gap: ALONE }
    }
}

impl Voice {
    /// So many workers hear each other, this one included, over all shards that it works on.
    pub(super) fn set_company(&mut self, now: Time, workers: u32) {
        self.bucket.fill(now, self.gap);
        self.gap = gap_of(workers);
    }

    /// The time between two messages of this worker, so that all workers that hear each other keep the budget.
    /// Where none is heard they may just not have spoken yet.
    pub(super) fn gap(&self) -> Duration {
        self.gap.max(SHORTEST_GAP)
    }

    /// When it may speak next.
    pub(super) fn next(&self) -> Time {
        self.bucket.next(self.gap, 1.0)
    }

    /// When it may say what could wait: one message is left then for what cannot.
    pub(super) fn next_but_one(&self) -> Time {
        self.bucket.next(self.gap, 2.0)
    }

    /// It speaks.
    pub(super) fn spend(&mut self, now: Time) {
        self.bucket.spend(now, self.gap);
    }
}
