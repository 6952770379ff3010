//! Delivery of finished tasks, in batches.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use webmesh_protocol::TaskId;

use super::CancelToken;
use super::error::TaskError;
use super::limits::{DELIVERY_BYTES, DELIVERY_DELAY, DELIVERY_TASKS};
use super::task::{MapOutput, ReduceOutput};
use super::watch::{Overseer, Stop};

/// The output of a finished task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskOutput {
    /// The output of a map task.
    Map(MapOutput),
    /// The output of a reduce task.
    Reduce(ReduceOutput),
}

impl TaskOutput {
    /// The size of the records, in bytes.
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
    pub task: TaskId,
    /// Its output, or why there is none.
    pub result: Result<TaskOutput, TaskError>,
    /// Elapsed time from the creation of its instance until its output was copied.
    pub elapsed: Duration,
}

/// Some finished tasks of a unit, in the order in which they finished.
#[derive(Debug)]
pub struct Delivery {
    /// The tasks; empty at most in the last delivery.
    pub done: Vec<TaskDone>,
    /// No more deliveries of this unit follow. Tasks that were never delivered did not finish.
    pub last: bool,
}

/// Receives a unit's deliveries. Exactly one of them is marked as the last, however the unit ends.
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

/// Collects a unit's finished tasks, and checks regularly while a task runs, so that those before it are delivered in
/// time.
pub(super) struct Outbox {
    pending: Mutex<Pending>,
    closing: CancelToken,
}

struct Pending {
    done: Vec<TaskDone>,
    bytes: usize,
    /// When the oldest task in `done` finished.
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
    /// An outbox of a unit, which also stops when `closing` is cancelled.
    pub(super) fn new(deliver: Deliver, closing: CancelToken) -> Arc<Self> {
        let pending = Pending { done: Vec::new(), bytes: 0, since: Instant::now(), deliver };
        Arc::new(Self { pending: Mutex::new(pending), closing })
    }

    /// Adds a finished task.
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

    /// Delivers the rest, marked as last.
    pub(super) fn finish(&self) {
        self.with(|pending| pending.flush(true));
    }

    fn with(&self, act: impl FnOnce(&mut Pending)) {
        // Only the unit's thread calls this, so the lock is never contended.
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
