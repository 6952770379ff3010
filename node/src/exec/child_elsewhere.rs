//! Compiling processes exist on Linux only; elsewhere, modules are compiled in this process.

use std::sync::Arc;

use super::CancelToken;
use super::error::ModuleError;
use super::meter::GuestMemory;
use super::turns::{Owner, Turns};

/// Does nothing on this system.
pub fn run_if_asked() {}

/// Whether this process can start compiling processes.
pub(super) fn can_start() -> bool {
    false
}

/// Counts nothing.
pub(super) struct ChildMemory;

impl ChildMemory {
    /// The same as on Linux, where it is used.
    pub(super) fn new(_of: Arc<GuestMemory>, _total: u64) -> Self {
        Self
    }
}

/// The same as on Linux, where it is used.
pub(super) struct Job<'j> {
    pub(super) wasm: &'j [u8],
    pub(super) code_bytes: u64,
    pub(super) instance: u64,
    pub(super) memory: &'j ChildMemory,
    pub(super) owner: Owner,
    pub(super) cancel: &'j CancelToken,
}

/// Never called, since [`can_start`] is false.
pub(super) fn run(_job: &Job<'_>, _turns: &Turns) -> Result<Vec<u8>, ModuleError> {
    Err(ModuleError::Host("this system has no compiling processes".into()))
}
