//! The host's state for one instance.

use std::sync::Arc;

use super::CancelToken;
use super::log::LogTail;
use super::meter::{GuestMemory, MemoryMeter};
use super::watch::Watch;

/// The host's state for an instance.
pub(super) struct Host {
    pub(super) meter: MemoryMeter,
    pub(super) log: LogTail,
    pub(super) random: Random,
    pub(super) watch: Watch,
}

impl Host {
    /// A host for a store in which nothing runs.
    pub(super) fn idle() -> Self {
        Self {
            meter: MemoryMeter::new(0, Arc::new(GuestMemory::new(0))),
            log: LogTail::default(),
            random: Random::new([0; 32]),
            watch: Watch::new(std::time::Duration::ZERO, CancelToken::new(), None),
        }
    }
}

/// The stream of bytes behind `random_get`: blake3 in extendable-output mode over the task's seed.
pub(super) struct Random {
    seed: [u8; 32],
    stream: Option<Box<blake3::OutputReader>>,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, stream: None }
    }

    /// The next bytes of the stream.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        // Most jobs never ask, so the stream is created at the first call.
        self.stream
            .get_or_insert_with(|| Box::new(blake3::Hasher::new().update(&self.seed).finalize_xof()))
            .fill(bytes);
    }
}
