//! Compiling processes exist on Linux only; elsewhere, modules are compiled in this process.

use super::CancelToken;
use super::error::ModuleError;
use super::turns::{Owner, Turns};

/// Does nothing on this system.
pub fn run_if_asked() {}

/// Whether this process can start compiling processes.
pub(super) fn can_start() -> bool {
    false
}

/// See the other one.
pub(super) struct Job<'j> {
    pub(super) wasm: &'j [u8],
    pub(super) code_bytes: u64,
    pub(super) guest_memory: u64,
    pub(super) owner: Owner,
    pub(super) cancel: &'j CancelToken,
}

/// Never called, since [`can_start`] is false.
pub(super) fn run(_job: &Job<'_>, _turns: &Turns) -> Result<Vec<u8>, ModuleError> {
    Err(ModuleError::Host("this system has no compiling processes".into()))
}
