//! Counters of a compiler, for monitoring.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of a [`Compiler`](crate::Compiler).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Sources compiled to a module.
    pub compiled: u64,
    /// Compiles that failed.
    pub failed: u64,
    /// Requests answered from the cache.
    pub cached: u64,
    /// Requests refused because the queue was full.
    pub refused: u64,
}

/// The live counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    compiled: AtomicU64,
    failed: AtomicU64,
    cached: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    pub(crate) fn built(&self, succeeded: bool) {
        let counter = if succeeded { &self.compiled } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn cached(&self) {
        self.cached.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            compiled: self.compiled.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            cached: self.cached.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
