//! The wasmtime engine of a node, which loads modules.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use wasmtime::{
    Collector, Config, Enabled, Engine, InstanceAllocationStrategy, Linker, OptLevel, PoolingAllocationConfig,
};

use super::artifact::ArtifactCache;
use super::cost::check_cost;
use super::error::{ModuleError, RuntimeError};
use super::guest::Host;
use super::limits::{
    DEFAULT_CACHE_BYTES, KEEP_RESIDENT, LOADED_MODULES, MAX_INSTANCE_BYTES, MAX_MODULE_BYTES, MAX_TABLE_ELEMENTS,
    MAX_TABLES, MAX_TASK_MEMORY, SPARE_SLOTS, WASM_STACK,
};
use super::meter::GuestMemory;
use super::module::Module;
use super::signature::{Exports, check_imports};
use super::ticker::Ticker;
use super::wasi;

/// Configuration of a [`Runtime`].
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Threads that run tasks concurrently; a few more tasks than that can run at once.
    pub threads: usize,
    /// Directory for compiled modules; it is created, and made inaccessible to other users. `None` keeps none.
    pub cache_dir: Option<PathBuf>,
    /// Size limit of the compiled code there, in bytes.
    pub cache_bytes: u64,
    /// Memory limit of all guests that run at the same time, in bytes.
    pub guest_memory: u64,
}

impl RuntimeConfig {
    /// For `threads` threads, without a cache on disk and without a memory limit besides those of the tasks.
    pub fn new(threads: usize) -> Self {
        Self { threads, cache_dir: None, cache_bytes: DEFAULT_CACHE_BYTES, guest_memory: u64::MAX }
    }
}

/// Compiles and checks modules, and provides memory for their tasks. One for each process is enough.
pub struct Runtime {
    engine: Engine,
    linker: Linker<Host>,
    ticker: Arc<Ticker>,
    memory: Arc<GuestMemory>,
    cache: Option<ArtifactCache>,
    /// Loaded modules that are still in use.
    loaded: Mutex<HashMap<[u8; 32], Weak<Module>>>,
    /// Held while compiling: a compilation takes far more memory than its result, and cannot be interrupted.
    compiling: Mutex<()>,
}

impl Runtime {
    /// Reserves the address space and starts the clock of running guests, which stops when the runtime and the
    /// last of its modules are dropped.
    ///
    /// # Errors
    /// Fails if address space or a thread is not available, or the cache directory cannot be used.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let refused =
            |error: wasmtime::Error| RuntimeError::Engine { threads: config.threads, reason: format!("{error:#}") };
        // The better way to clean slots needs Linux 6.7; the only way to find out is that wasmtime refuses it.
        let engine = Engine::new(&engine_config(config.threads, Cleaning::InPlace))
            .or_else(|_| Engine::new(&engine_config(config.threads, Cleaning::HandBack)))
            .map_err(refused)?;
        let mut linker = Linker::new(&engine);
        wasi::define(&mut linker).map_err(refused)?;
        let cache = match config.cache_dir {
            Some(path) => Some(
                ArtifactCache::open(&path, &engine, config.cache_bytes)
                    .map_err(|source| RuntimeError::Cache { path, source })?,
            ),
            None => None,
        };
        let ticker = Arc::new(Ticker::start(engine.clone()).map_err(RuntimeError::Thread)?);
        let memory = Arc::new(GuestMemory::new(config.guest_memory));
        Ok(Self { engine, linker, ticker, memory, cache, loaded: Mutex::default(), compiling: Mutex::default() })
    }

    /// The module with this blake3 hash: the loaded one while it is still in use, else compiled code from disk, else
    /// compiled now from `wasm`, which takes about a second for each MB: do not call it on an async thread.
    ///
    /// # Errors
    /// Fails if this host cannot run the module.
    pub fn load(&self, hash: [u8; 32], wasm: &[u8]) -> Result<Arc<Module>, ModuleError> {
        if let Some(module) = self.loaded(&hash) {
            return Ok(module);
        }
        if wasm.len() > MAX_MODULE_BYTES {
            return Err(ModuleError::TooLarge { size: wasm.len(), limit: MAX_MODULE_BYTES });
        }
        if *blake3::hash(wasm).as_bytes() != hash {
            return Err(ModuleError::WrongHash);
        }
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, &hash));
        if let Some(compiled) = cached {
            return self.admit(hash, &compiled, None);
        }
        let _turn = lock(&self.compiling);
        if let Some(module) = self.loaded(&hash) {
            return Ok(module);
        }
        let started = Instant::now();
        check_cost(wasm)?;
        let compiled = self.compile(wasm)?;
        let compile_time = started.elapsed();
        let module = self.admit(hash, &compiled, Some(compile_time))?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(&hash, &compiled)
        {
            tracing::warn!("cannot keep a compiled module on disk: {error}");
        }
        Ok(module)
    }

    fn compile(&self, wasm: &[u8]) -> Result<wasmtime::Module, ModuleError> {
        // An untrusted module may trigger a failing assertion in the compiler. Nothing of the compilation is used after
        // that.
        let compiled = catch_unwind(AssertUnwindSafe(|| wasmtime::Module::from_binary(&self.engine, wasm)));
        compiled.map_err(|_| ModuleError::Panicked)?.map_err(|error| ModuleError::Invalid(format!("{error:#}")))
    }

    /// Checks compiled code against the guest interface and remembers it.
    fn admit(
        &self,
        hash: [u8; 32],
        compiled: &wasmtime::Module,
        compile_time: Option<std::time::Duration>,
    ) -> Result<Arc<Module>, ModuleError> {
        check_imports(&self.engine, &self.linker, compiled)?;
        let exports = Exports::of(compiled)?;
        let pre = self.linker.instantiate_pre(compiled).map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
        let module = Arc::new(Module::new(
            hash,
            pre,
            exports,
            compile_time,
            Arc::clone(&self.ticker),
            Arc::clone(&self.memory),
        )?);
        let mut loaded = lock(&self.loaded);
        if loaded.len() >= LOADED_MODULES {
            loaded.retain(|_, module| module.strong_count() > 0);
        }
        loaded.insert(hash, Arc::downgrade(&module));
        Ok(module)
    }

    fn loaded(&self, hash: &[u8; 32]) -> Option<Arc<Module>> {
        lock(&self.loaded).get(hash).and_then(Weak::upgrade)
    }
}

/// Locks; what these mutexes guard is always consistent, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an instance's memory is cleared for the next one.
#[derive(Clone, Copy)]
enum Cleaning {
    /// The kernel reports the touched pages, which are cleared in place.
    InPlace,
    /// All of it is returned to the system: clearing pages that may not have been touched is no faster, since a C++
    /// guest has its stack of 1 MiB before everything else.
    HandBack,
}

fn engine_config(threads: usize, cleaning: Cleaning) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(threads > 1)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .memory_init_cow(true)
        // Addresses of every instruction are useful for backtraces only, and would double the size of the compiled
        // code.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false);
    // C++ exceptions are objects on a collected heap. No other feature of that kind is needed, and every disabled
    // feature is one that no attacker can use.
    config
        .wasm_exceptions(true)
        .collector(Collector::DeferredReferenceCounting)
        .wasm_gc(false)
        .wasm_tail_call(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool_config(threads, cleaning)));
    config
}

fn pool_config(threads: usize, cleaning: Cleaning) -> PoolingAllocationConfig {
    let slots = u32::try_from(threads).unwrap_or(u32::MAX).saturating_add(SPARE_SLOTS);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        // An instance has its linear memory and, if it can throw, the heap of its exceptions.
        .total_memories(slots.saturating_mul(2))
        .total_gc_heaps(slots)
        .total_tables(slots.saturating_mul(MAX_TABLES))
        .max_memories_per_module(1)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        // Address space, not memory: with all 4 GiB of a guest's addresses reserved, its loads and stores need
        // no bounds checks.
        .max_memory_size(usize::try_from(MAX_TASK_MEMORY).unwrap_or(usize::MAX));
    match cleaning {
        Cleaning::InPlace => pool
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(KEEP_RESIDENT)
            .pagemap_scan(Enabled::Yes),
        Cleaning::HandBack => pool.pagemap_scan(Enabled::No),
    };
    pool
}
