//! When a byte last moved between this peer and another, and whether others wait for the memory that it holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::net::budget::Pressure;
use crate::platform::Instant;

/// The time when a byte last moved on any of a peer's streams.
#[derive(Debug)]
pub(super) struct Activity {
    origin: Instant,
    last: AtomicU64,
    pressure: Pressure,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), last: AtomicU64::new(0), pressure: Pressure::default() }
    }

    /// Adds the budget's pressure signal.
    pub(super) fn under(self, pressure: Pressure) -> Self {
        Self { pressure, ..self }
    }

    /// Whether others wait for memory that frames hold.
    pub(super) fn is_under_pressure(&self) -> bool {
        self.pressure.is_on()
    }

    /// Notes that a byte moved.
    pub(super) fn touch(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Time since the last byte moved.
    pub(super) fn silence(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
