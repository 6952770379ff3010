//! The wasmtime engine of a node, which loads modules.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::CancelToken;
use super::admission::Admission;
use super::artifact::{self, ArtifactCache};
use super::compile::{compile, shape};
use super::error::{ModuleError, RuntimeError};
use super::limits::{
    DEFAULT_CACHE_BYTES, LOADED_MODULES, MAX_CONTROL_CELLS, MAX_MODULE_BYTES, MAX_SLOW_COMPILES, MAX_TASK_MEMORY,
    PROBE_TIME, QUICK_COMPILES, THREADS_PER_SLOW_COMPILE,
};
use super::module::Module;
use super::probe::check_version;
use super::refused::Refused;
use super::turns::Turns;
use super::{child, engine};

/// Configuration of a [`Runtime`].
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Threads that run tasks concurrently; a few more tasks than that can run at once.
    pub threads: usize,
    /// Directory for compiled modules; it is created, and made inaccessible to other users. `None` keeps none.
    pub cache_dir: Option<PathBuf>,
    /// Size limit of the compiled code there, in bytes.
    pub cache_bytes: u64,
    /// Memory limit of all guests that run at the same time, in bytes; what compiling processes hold counts, too.
    pub guest_memory: u64,
    /// Compile modules in processes of their own, which end at limits of memory and processor time, and when the job
    /// does. Possible in programs that call [`run_if_asked`](super::run_if_asked), and the default there. Otherwise
    /// modules are compiled one at a time in this process, where nothing but an estimate of its cost bounds a
    /// compilation.
    pub separate_compiler: bool,
}

impl RuntimeConfig {
    /// For `threads` threads, without a cache on disk and without a memory limit besides those of the tasks.
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            cache_dir: None,
            cache_bytes: DEFAULT_CACHE_BYTES,
            guest_memory: u64::MAX,
            separate_compiler: child::can_start(),
        }
    }
}

/// Compiles and checks modules, and provides memory for their tasks. One for each process is enough.
pub struct Runtime {
    admission: Admission,
    cache: Option<ArtifactCache>,
    /// Loaded modules that are still in use.
    loaded: Mutex<HashMap<[u8; 32], Weak<Module>>>,
    refused: Mutex<Refused>,
    compiler: ModuleCompiler,
    guest_memory: u64,
}

/// Where modules are compiled.
#[allow(clippy::large_enum_variant, reason = "a process has one")]
enum ModuleCompiler {
    /// In processes of their own.
    Separate(Turns, child::ChildMemory),
    /// Here, while this is held: a compilation takes far more memory than its result, and cannot be interrupted.
    Here(Mutex<()>),
}

/// Compiled code, and whether its version is known to be right.
struct Compiled {
    code: wasmtime::Module,
    probed: bool,
}

impl Runtime {
    /// Reserves the address space and starts the clock of running guests, which stops when the runtime and the
    /// last of its modules are dropped.
    ///
    /// # Errors
    /// Fails if address space or a thread is not available, or the cache directory cannot be used.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let engine = engine::for_tasks(config.threads)
            .map_err(|error| RuntimeError::Engine { threads: config.threads, reason: format!("{error:#}") })?;
        let cache = match config.cache_dir {
            Some(path) => Some(
                ArtifactCache::open(&path, &engine, config.cache_bytes)
                    .map_err(|source| RuntimeError::Cache { path, source })?,
            ),
            None => None,
        };
        let admission = Admission::new(engine, config.guest_memory)?;
        let compiler = if config.separate_compiler {
            let slow = (config.threads / THREADS_PER_SLOW_COMPILE).clamp(1, MAX_SLOW_COMPILES);
            let memory = child::ChildMemory::new(admission.memory(), config.guest_memory);
            ModuleCompiler::Separate(Turns::new(QUICK_COMPILES, slow), memory)
        } else {
            ModuleCompiler::Here(Mutex::default())
        };
        let (loaded, refused) = (Mutex::default(), Mutex::default());
        Ok(Self { admission, cache, loaded, refused, compiler, guest_memory: config.guest_memory })
    }

    /// [`load_for`](Self::load_for) somebody who does not cancel.
    ///
    /// # Errors
    /// Fails if this host cannot run the module.
    pub fn load(&self, hash: [u8; 32], wasm: &[u8]) -> Result<Arc<Module>, ModuleError> {
        self.load_for([0; 32], hash, wasm, &CancelToken::new())
    }

    /// The module with this blake3 hash: the loaded one while it is still in use, else compiled code from disk, else
    /// compiled now from `wasm`, which takes about a second for each MB, and waits for the turn of `owner`: do not call
    /// it on an async thread. A compilation in a process of its own stops soon after `cancel` is cancelled.
    ///
    /// # Errors
    /// Fails if this host cannot run the module.
    pub fn load_for(
        &self,
        owner: [u8; 32],
        hash: [u8; 32],
        wasm: &[u8],
        cancel: &CancelToken,
    ) -> Result<Arc<Module>, ModuleError> {
        if let Some(module) = self.loaded(&hash) {
            return Ok(module);
        }
        if wasm.len() > MAX_MODULE_BYTES {
            return Err(ModuleError::TooLarge { size: wasm.len(), limit: MAX_MODULE_BYTES });
        }
        if *blake3::hash(wasm).as_bytes() != hash {
            return Err(ModuleError::WrongHash);
        }
        if let Some(error) = lock(&self.refused).get(&hash) {
            return Err(error);
        }
        let loaded = self.load_new(owner, hash, wasm, cancel);
        if let Err(error) = &loaded {
            lock(&self.refused).note(hash, error);
        }
        loaded
    }

    fn load_new(
        &self,
        owner: [u8; 32],
        hash: [u8; 32],
        wasm: &[u8],
        cancel: &CancelToken,
    ) -> Result<Arc<Module>, ModuleError> {
        let code_bytes = shape(wasm)?.code_bytes;
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.admission.engine, &hash));
        if let Some(code) = cached {
            // It was probed before it was stored.
            return self.admit(hash, &Compiled { code, probed: true }, None);
        }
        let started = Instant::now();
        let (compiled, _turn) = match &self.compiler {
            ModuleCompiler::Separate(turns, memory) => {
                let instance = self.guest_memory.min(MAX_TASK_MEMORY);
                let code = child::run(&child::Job { wasm, code_bytes, instance, memory, owner, cancel }, turns)?;
                let code = artifact::deserialize(&self.admission.engine, &code)
                    .map_err(|error| ModuleError::Host(format!("its compiled code does not fit: {error:#}")))?;
                (Compiled { code, probed: true }, None)
            }
            ModuleCompiler::Here(turn) => {
                let turn = lock(turn);
                if let Some(module) = self.loaded(&hash) {
                    return Ok(module);
                }
                (
                    Compiled { code: compile(&self.admission.engine, wasm, MAX_CONTROL_CELLS)?, probed: false },
                    Some(turn),
                )
            }
        };
        let module = self.admit(hash, &compiled, Some(started.elapsed()))?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(&hash, &compiled.code)
        {
            tracing::warn!("cannot keep a compiled module on disk: {error}");
        }
        Ok(module)
    }

    /// Checks compiled code against the guest interface and remembers it.
    fn admit(
        &self,
        hash: [u8; 32],
        compiled: &Compiled,
        compile_time: Option<Duration>,
    ) -> Result<Arc<Module>, ModuleError> {
        let module = Arc::new(self.admission.admit(hash, &compiled.code, compile_time)?);
        if !compiled.probed {
            check_version(&module, MAX_TASK_MEMORY, PROBE_TIME)?;
        }
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
