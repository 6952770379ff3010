//! A job's module, compiled and checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Engine, Instance, InstancePre, Store};

use super::meter::GuestMemory;
use super::signature::Exports;
use super::state::Host;
use super::ticker::{Ticker, Ticking};

/// A compiled module. Tasks of it may run on many threads at once, as many as its runtime was made for.
pub struct Module {
    hash: [u8; 32],
    pre: InstancePre<Host>,
    exports: Exports,
    compile_time: Option<Duration>,
    ticker: Arc<Ticker>,
    memory: Arc<GuestMemory>,
}

impl Module {
    /// A module whose code fits the interface.
    pub(super) fn new(
        hash: [u8; 32],
        pre: InstancePre<Host>,
        exports: Exports,
        compile_time: Option<Duration>,
        ticker: Arc<Ticker>,
        memory: Arc<GuestMemory>,
    ) -> Self {
        Self { hash, pre, exports, compile_time, ticker, memory }
    }

    /// The blake3 hash of the WebAssembly.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Compile time; `None` if the compiled code came from disk.
    pub fn compile_time(&self) -> Option<Duration> {
        self.compile_time
    }

    pub(super) fn engine(&self) -> &Engine {
        self.pre.module().engine()
    }

    pub(super) fn exports(&self) -> &Exports {
        &self.exports
    }

    pub(super) fn instantiate(&self, store: &mut Store<Host>) -> wasmtime::Result<Instance> {
        self.pre.instantiate(store)
    }

    /// The memory shared by all guests of its host.
    pub(super) fn guest_memory(&self) -> Arc<GuestMemory> {
        self.memory.clone()
    }

    /// Keeps the clock of running guests going while the guard lives.
    pub(super) fn keep_ticking(&self) -> Ticking<'_> {
        self.ticker.keep_going()
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("hash", &hex::encode(self.hash)).finish_non_exhaustive()
    }
}
