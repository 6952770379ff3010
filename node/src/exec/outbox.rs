//! Finished tasks on their way to whoever asked for them, a batch at a time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::CancelToken;
use super::error::TaskError;
use super::limits::{DELIVERY_BYTES, DELIVERY_DELAY, DELIVERY_TASKS};
use super::task::{MapOutput, ReduceOutput};
use super::watch::{Overseer, Stop};

/// What a finished task gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskOutput {
    /// Of a map task.
    Map(MapOutput),
    /// Of a reduce task.
    Reduce(ReduceOutput),
}

impl TaskOutput {
    /// Bytes of records.
    pub fn len(&self) -> usize {
        match self {
            Self::Map(output) => output.data.len(),
            Self::Reduce(output) => output.data.len(),
        }
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A finished task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskDone {
    /// The task's index within its stage.
    pub task: u32,
    /// What it gave, or why it gave nothing.
    pub result: Result<TaskOutput, TaskError>,
    /// Time on the wall from the making of its instance to the end of the copying of its output.
    pub elapsed: Duration,
}

/// Some finished tasks of a unit, in the order of their ending.
#[derive(Debug)]
pub struct Delivery {
    /// The tasks; empty at most in the last delivery.
    pub done: Vec<TaskDone>,
    /// No more will come of this unit. Tasks of it that were never delivered were not finished.
    pub last: bool,
}

/// Receives a unit's deliveries, the last one marked, exactly one of which comes however the unit ends.
///
/// It is called on a pool thread, and may block there to hold the pool back (a bounded channel does), but must
/// return once its receiver is gone.
pub struct Deliver {
    receive: Box<dyn FnMut(Delivery) + Send>,
    ended: bool,
}

impl Deliver {
    /// Delivers to `receive`.
    pub fn new(receive: impl FnMut(Delivery) + Send + 'static) -> Self {
        Self { receive: Box::new(receive), ended: false }
    }

    fn send(&mut self, done: Vec<TaskDone>, last: bool) {
        self.ended |= last;
        (self.receive)(Delivery { done, last });
    }
}

impl Drop for Deliver {
    fn drop(&mut self) {
        // A receiver that panicked is not called again.
        if !self.ended && !std::thread::panicking() {
            self.send(Vec::new(), true);
        }
    }
}

impl fmt::Debug for Deliver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliver").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Gathers a unit's finished tasks, and oversees its running one, so that those before it are not kept waiting.
pub(super) struct Outbox {
    pending: Mutex<Pending>,
    closing: CancelToken,
}

struct Pending {
    done: Vec<TaskDone>,
    bytes: usize,
    /// When the oldest of `done` ended.
    since: Instant,
    deliver: Deliver,
}

impl Pending {
    fn flush(&mut self, last: bool) {
        let done = std::mem::take(&mut self.done);
        self.bytes = 0;
        self.deliver.send(done, last);
    }

    fn is_due(&self) -> bool {
        self.done.len() >= DELIVERY_TASKS
            || self.bytes >= DELIVERY_BYTES
            || (!self.done.is_empty() && self.since.elapsed() >= DELIVERY_DELAY)
    }
}

impl Outbox {
    /// An outbox of a unit that runs until `closing` at the latest.
    pub(super) fn new(deliver: Deliver, closing: CancelToken) -> Arc<Self> {
        let pending = Pending { done: Vec::new(), bytes: 0, since: Instant::now(), deliver };
        Arc::new(Self { pending: Mutex::new(pending), closing })
    }

    /// Takes a finished task.
    pub(super) fn push(&self, done: TaskDone) {
        self.with(|pending| {
            if pending.done.is_empty() {
                pending.since = Instant::now();
            }
            pending.bytes += done.result.as_ref().map_or(0, TaskOutput::len);
            pending.done.push(done);
            if pending.is_due() {
                pending.flush(false);
            }
        });
    }

    /// Delivers the rest, as the last.
    pub(super) fn finish(&self) {
        self.with(|pending| pending.flush(true));
    }

    fn with(&self, act: impl FnOnce(&mut Pending)) {
        // Only the unit's thread comes here, so the lock is never contended.
        act(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Overseer for Outbox {
    fn tick(&self) -> Result<(), Stop> {
        if self.closing.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        self.with(|pending| {
            if pending.is_due() {
                pending.flush(false);
            }
        });
        Ok(())
    }
}
