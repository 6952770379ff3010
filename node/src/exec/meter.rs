//! Counts a task's memory against its limit, and the memory of all tasks against this host's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use crate::module_shape::MAX_TABLE_ELEMENTS;

/// The remaining memory for all guests of a host together, in bytes, whatever the sum of their tasks' limits.
#[derive(Debug)]
pub(super) struct GuestMemory(AtomicU64);

impl GuestMemory {
    pub(super) fn new(bytes: u64) -> Self {
        Self(AtomicU64::new(bytes))
    }

    /// Reserves `bytes`; `false` if fewer are left.
    fn take(&self, bytes: u64) -> bool {
        self.take_leaving(bytes, 0)
    }

    /// Reserves `bytes`; `false` if fewer than `rest` would be left.
    pub(super) fn take_leaving(&self, bytes: u64, rest: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes).filter(|left| *left >= rest);
        self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The memory of one instance: its linear memory and its heap of exception objects, together.
pub(super) struct MemoryMeter {
    limit: u64,
    used: u64,
    denied: bool,
    starved: bool,
    of: Arc<GuestMemory>,
}

impl MemoryMeter {
    /// A meter with a limit of `limit` bytes, which reserves them in `of`.
    pub(super) fn new(limit: u64, of: Arc<GuestMemory>) -> Self {
        Self { limit, used: 0, denied: false, starved: false, of }
    }

    /// The limit, in bytes, if the guest ever asked for more.
    pub(super) fn exceeded(&self) -> Option<u64> {
        self.denied.then_some(self.limit)
    }

    /// Whether this host could not provide memory that the limit allowed.
    pub(super) fn starved(&self) -> bool {
        self.starved
    }
}

impl Drop for MemoryMeter {
    fn drop(&mut self) {
        self.of.give_back(self.used);
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum && (maximum as u64) < self.limit) {
            // Beyond the module's own maximum, which is below the task's. (A module without one has a maximum of 4
            // GiB.)
            return Ok(false);
        }
        let after = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if after > self.limit {
            self.denied = true;
            return Ok(false);
        }
        if !self.of.take(after - self.used) {
            self.starved = true;
            return Ok(false);
        }
        self.used = after;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // Granted above, and yet not available: the guest sees -1 and fails in its own way, which is this host's fault.
        self.starved = true;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS as usize)
    }
}
