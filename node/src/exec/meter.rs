//! Counts a task's memory against its limit.

use wasmtime::ResourceLimiter;

use super::limits::MAX_TABLE_ELEMENTS;

/// The memory of one instance: its linear memory and the heap of its exception objects, together.
pub(super) struct MemoryMeter {
    limit: u64,
    used: u64,
    denied: bool,
    starved: bool,
}

impl MemoryMeter {
    /// A meter for `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0, denied: false, starved: false }
    }

    /// The limit, in bytes, if the guest ever asked for more.
    pub(super) fn exceeded(&self) -> Option<u64> {
        self.denied.then_some(self.limit)
    }

    /// Whether this host could not give memory that the limit allowed.
    pub(super) fn starved(&self) -> bool {
        self.starved
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum && (maximum as u64) < self.limit) {
            // Beyond the module's own bound, which is below the task's. (A module without a bound has one of 4 GiB.)
            return Ok(false);
        }
        let after = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if after > self.limit {
            self.denied = true;
            return Ok(false);
        }
        self.used = after;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // Granted above, and yet not there: the guest sees -1 and fails in its own way, by this host's fault.
        self.starved = true;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}
