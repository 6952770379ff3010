//! The flag that cancels a job's tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cancels the tasks that hold a clone of it: running ones within about 20 ms, even in an endless loop, waiting ones at
/// once. Cannot be undone.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every task that holds a clone of this token.
    pub fn cancel(&self) {
        // The flag guards no other memory, so relaxed ordering is enough.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
