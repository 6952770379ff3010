//! Checks compiled code against the guest interface.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Engine, Linker};

use super::error::{ModuleError, RuntimeError};
use super::meter::GuestMemory;
use super::module::Module;
use super::signature::{Exports, check_imports};
use super::state::Host;
use super::ticker::Ticker;
use super::wasi;

/// What the modules of a runtime share.
pub(super) struct Admission {
    pub(super) engine: Engine,
    linker: Linker<Host>,
    ticker: Arc<Ticker>,
    memory: Arc<GuestMemory>,
}

impl Admission {
    /// Starts the clock of running guests, which stops when this and the last of its modules are dropped. All guests
    /// together may use `memory` bytes.
    pub(super) fn new(engine: Engine, memory: u64) -> Result<Self, RuntimeError> {
        let mut linker = Linker::new(&engine);
        wasi::define(&mut linker).map_err(|error| RuntimeError::Engine { threads: 0, reason: format!("{error:#}") })?;
        let ticker = Arc::new(Ticker::start(engine.clone()).map_err(RuntimeError::Thread)?);
        Ok(Self { engine, linker, ticker, memory: Arc::new(GuestMemory::new(memory)) })
    }

    /// The memory that all guests share.
    pub(super) fn memory(&self) -> Arc<GuestMemory> {
        Arc::clone(&self.memory)
    }

    /// The module with this hash, from its compiled code, if it fits the interface. Its version is not known yet: that
    /// takes an instance.
    pub(super) fn admit(
        &self,
        hash: [u8; 32],
        compiled: &wasmtime::Module,
        compile_time: Option<Duration>,
    ) -> Result<Module, ModuleError> {
        check_imports(&self.engine, &self.linker, compiled)?;
        let exports = Exports::of(compiled)?;
        let pre = self.linker.instantiate_pre(compiled).map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
        Ok(Module::new(hash, pre, exports, compile_time, Arc::clone(&self.ticker), Arc::clone(&self.memory)))
    }
}
