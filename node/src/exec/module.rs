//! A job's module, compiled and checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Engine, Instance, InstancePre, Store};

use super::CancelToken;
use super::error::ModuleError;
use super::guest::{Guest, Host};
use super::limits::{MAX_TASK_MEMORY, PROBE_TIME};
use super::meter::GuestMemory;
use super::signature::{ABI_VERSION, Exports};
use super::task::{TaskLimits, TaskParams};
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
    /// Checks that `pre` speaks this host's version of the guest interface.
    pub(super) fn new(
        hash: [u8; 32],
        pre: InstancePre<Host>,
        exports: Exports,
        compile_time: Option<Duration>,
        ticker: Arc<Ticker>,
        memory: Arc<GuestMemory>,
    ) -> Result<Self, ModuleError> {
        let module = Self { hash, pre, exports, compile_time, ticker, memory };
        match module.version()? {
            ABI_VERSION => Ok(module),
            found => Err(ModuleError::Version { found, expected: ABI_VERSION }),
        }
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

    /// Calls the version function in an instance.
    fn version(&self) -> Result<i32, ModuleError> {
        let params = TaskParams {
            seed: [0; 32],
            limits: TaskLimits { memory: MAX_TASK_MEMORY, time: PROBE_TIME, output: 0 },
            cancel: CancelToken::new(),
        };
        let _ticking = self.keep_ticking();
        let mut guest = Guest::start(self, &params, None).map_err(|error| ModuleError::Probe(error.kind))?;
        guest.function::<(), i32>(&self.exports.abi).and_then(|abi| guest.call(&abi, ())).map_err(ModuleError::Probe)
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("hash", &hex::encode(self.hash)).finish_non_exhaustive()
    }
}
