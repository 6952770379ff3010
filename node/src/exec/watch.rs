//! Checks made while a guest runs: its clock, its cancel token, and its overseer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::CancelToken;

/// Why the host stopped a guest. Carried through wasmtime as the error of a host call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    /// The task reached its time limit.
    #[error("time limit reached")]
    TimeLimit,
    /// The job was cancelled, or the pool is closing.
    #[error("cancelled")]
    Cancelled,
    /// The guest called `proc_exit`.
    #[error("exit({0})")]
    Exit(u32),
}

/// Called at every tick of a running task, on the task's thread.
pub(super) trait Overseer: Send + Sync {
    /// Does whatever is due; an error ends the task.
    fn tick(&self) -> Result<(), Stop>;
}

/// A running task's deadline and the other ways to stop it.
pub(super) struct Watch {
    deadline: Instant,
    cancel: CancelToken,
    overseer: Option<Arc<dyn Overseer>>,
}

impl Watch {
    pub(super) fn new(limit: Duration, cancel: CancelToken, overseer: Option<Arc<dyn Overseer>>) -> Self {
        let now = Instant::now();
        Self {
            // A limit past the clock's range is no limit; a century is equivalent.
            deadline: now.checked_add(limit).unwrap_or(now + Duration::from_secs(100 * 365 * 86_400)),
            cancel,
            overseer,
        }
    }

    /// Fails if the task has to stop.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if now >= self.deadline {
            return Err(Stop::TimeLimit);
        }
        if let Some(overseer) = &self.overseer {
            overseer.tick()?;
            // A delivery may block on its receiver: that time does not count against the guest's limit.
            self.forgive(now.elapsed());
        }
        Ok(())
    }

    /// Extends the deadline by time that the guest did not use.
    pub(super) fn forgive(&mut self, unused: Duration) {
        if let Some(deadline) = self.deadline.checked_add(unused) {
            self.deadline = deadline;
        }
    }
}
