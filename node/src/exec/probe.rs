//! Asks a module for its version, in an instance, whose static constructors run before.

use std::time::Duration;

use super::CancelToken;
use super::error::ModuleError;
use super::guest::Guest;
use super::module::Module;
use super::params::{TaskLimits, TaskParams};
use super::signature::ABI_VERSION;

/// Checks that `module` speaks this host's version of the guest interface. Its instance may use `memory`
/// bytes, and `time`.
pub(super) fn check_version(module: &Module, memory: u64, time: Duration) -> Result<(), ModuleError> {
    let params =
        TaskParams { seed: [0; 32], limits: TaskLimits { memory, time, output: 0 }, cancel: CancelToken::new() };
    let _ticking = module.keep_ticking();
    let mut guest = Guest::start(module, &params, None).map_err(|error| ModuleError::Probe(error.kind))?;
    let version = guest.function::<(), i32>(&module.exports().abi).and_then(|abi| guest.call(&abi, ()));
    match version.map_err(ModuleError::Probe)? {
        ABI_VERSION => Ok(()),
        found => Err(ModuleError::Version { found, expected: ABI_VERSION }),
    }
}
