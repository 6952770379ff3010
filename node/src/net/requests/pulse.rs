//! When a byte last moved between this peer and another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::platform::Instant;

/// When a byte last moved; many streams beat it.
#[derive(Debug)]
pub(super) struct Pulse {
    origin: Instant,
    last: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), last: AtomicU64::new(0) }
    }

    /// A byte moved.
    pub(super) fn beat(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// How long ago the last byte moved.
    pub(super) fn silence(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
