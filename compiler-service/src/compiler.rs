//! The service: compiles sources, with one compile for all concurrent requests of the same source.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::build::{TimeLimits, build};
use crate::cache::{Cache, Entry, Key};
use crate::error::{BusyReason, CompileError, StartError};
use crate::failures::Failures;
use crate::limits::{
    FAILURE_MEMORY, MAX_CACHE, MAX_FAILURES, MAX_PROCESSOR_TIME, MAX_QUEUE, MAX_QUEUE_PER_REQUESTER, MAX_SOURCE,
    MAX_WAITERS, MAX_WALL_TIME,
};
use crate::memory;
use crate::name;
use crate::queue::{Bounds, FairQueue, Requester};
use crate::sandbox::{Sandbox, SandboxKind};
use crate::stats::{Counters, Stats};
use crate::toolchain::Toolchain;

/// Version of the build steps. Change it whenever the same source and toolchain give a different module.
const RECIPE: &str = "webmesh compile 2";

/// Settings of a [`Compiler`].
#[derive(Debug, Clone)]
pub struct CompilerConfig {
    /// The folder of the module cache; created if it does not exist.
    pub cache_dir: PathBuf,
    /// Maximum size of the module cache, in bytes.
    pub cache_bytes: u64,
    /// Maximum number of concurrent compiles.
    pub parallel: usize,
    /// Maximum number of waiting compiles, over all requesters.
    pub queue: usize,
    /// Maximum number of waiting compiles of one requester.
    pub queue_per_requester: usize,
    /// Limit on the processor time of each of a compile's processes; rounded up to whole seconds.
    pub processor_time: Duration,
    /// Limit on the wall-clock time of a compile from its start, without its time in the queue.
    pub wall_time: Duration,
    /// The sandboxes to try; the first that works is used.
    pub sandboxes: Vec<SandboxKind>,
}

impl CompilerConfig {
    /// The default limits (see [`limits`](crate::limits)), one compile per core as far as memory suffices, and the
    /// cache in `cache_dir`.
    #[must_use]
    pub fn new(cache_dir: PathBuf) -> Self {
        Self {
            cache_dir,
            cache_bytes: MAX_CACHE,
            parallel: memory::compiles_at_once(),
            queue: MAX_QUEUE,
            queue_per_requester: MAX_QUEUE_PER_REQUESTER,
            processor_time: MAX_PROCESSOR_TIME,
            wall_time: MAX_WALL_TIME,
            sandboxes: SandboxKind::ALL.to_vec(),
        }
    }
}

/// A compiled module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The WebAssembly module.
    pub wasm: Bytes,
    /// The blake3 hash of `wasm`.
    pub hash: blake3::Hash,
    /// clang's warnings, with its colours; empty if there are none.
    pub diagnostics: String,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Time from request to answer, in milliseconds.
    pub millis: u64,
}

/// Compiles C++ to WebAssembly, for many requesters, in a sandbox. Dropping it stops the running compiles.
#[derive(Debug)]
pub struct Compiler {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    toolchain: Toolchain,
    sandbox: Sandbox,
    cache: Cache,
    time: TimeLimits,
    counters: Counters,
    stopping: AtomicBool,
    state: Mutex<State>,
    /// Notified when the queue has a compile that may run.
    work: Condvar,
}

#[derive(Debug)]
struct State {
    queue: FairQueue<Key>,
    flights: HashMap<Key, Flight>,
    failures: Failures,
}

/// A compile that waits or runs, and the requests that wait for it.
#[derive(Debug)]
struct Flight {
    name: String,
    source: Arc<[u8]>,
    running: bool,
    waiters: Vec<oneshot::Sender<Result<Entry, CompileError>>>,
}

impl Flight {
    fn has_waiters(&self) -> bool {
        self.waiters.iter().any(|waiter| !waiter.is_closed())
    }
}

impl Compiler {
    /// Tries the sandboxes of this host and starts the service in the first that works.
    ///
    /// Blocks for a few hundred milliseconds.
    ///
    /// # Errors
    /// [`StartError::NoSandbox`] if none works, since nothing is ever compiled without one.
    pub fn new(toolchain: Toolchain, config: CompilerConfig) -> Result<Self, StartError> {
        let sandbox = Sandbox::find(&config.sandboxes, toolchain.view(), &toolchain.compile().program)
            .map_err(StartError::NoSandbox)?;
        let cache = Cache::open(&config.cache_dir, config.cache_bytes)
            .map_err(|why| StartError::Cache { path: config.cache_dir.clone(), why })?;
        tracing::info!(
            sandbox = %sandbox.kind(),
            clang = toolchain.clang_version(),
            toolchain = %toolchain.folder().display(),
            "compiler ready"
        );
        let parallel = config.parallel.max(1);
        let bounds = Bounds {
            waiting: config.queue,
            waiting_each: config.queue_per_requester,
            // One thread stays free for other requesters, which would otherwise wait for one requester's long compiles.
            running_each: (parallel - 1).max(1),
        };
        let mut compiler = Self {
            shared: Arc::new(Shared {
                toolchain,
                sandbox,
                cache,
                time: TimeLimits { processor: config.processor_time, wall: config.wall_time },
                counters: Counters::default(),
                stopping: AtomicBool::new(false),
                state: Mutex::new(State {
                    queue: FairQueue::new(bounds),
                    flights: HashMap::new(),
                    failures: Failures::new(FAILURE_MEMORY, MAX_FAILURES),
                }),
                work: Condvar::new(),
            }),
            threads: Vec::new(),
        };
        for number in 0..parallel {
            let shared = Arc::clone(&compiler.shared);
            // Dedicated threads, not a pool's: the kernel kills a sandbox when the thread that started it exits, and a
            // pool ends idle threads.
            let thread = std::thread::Builder::new()
                .name(format!("compile-{number}"))
                .spawn(move || shared.work())
                .map_err(StartError::Thread)?;
            compiler.threads.push(thread);
        }
        Ok(compiler)
    }

    /// The toolchain in use.
    #[must_use]
    pub fn toolchain(&self) -> &Toolchain {
        &self.shared.toolchain
    }

    /// The kind of sandbox in use.
    #[must_use]
    pub fn sandbox(&self) -> SandboxKind {
        self.shared.sandbox.kind()
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// Compiles `source` on behalf of `requester`. Diagnostics show the last part of `file_name`.
    ///
    /// The same source under the same name is compiled once, for all requests together. Must be called in a tokio
    /// runtime. Dropping the future withdraws the request.
    ///
    /// # Errors
    /// See [`CompileError`]; each says what the requester can do.
    pub async fn compile(
        &self,
        requester: Requester,
        file_name: &str,
        source: &[u8],
    ) -> Result<Compiled, CompileError> {
        let start = Instant::now();
        if source.len() > MAX_SOURCE {
            return Err(CompileError::SourceTooLarge { bytes: source.len(), limit: MAX_SOURCE });
        }
        let name = name::clean(file_name);
        let key = self.shared.key(&name, source);
        let finish = |entry: Entry, cached| Compiled {
            hash: blake3::hash(&entry.wasm),
            wasm: entry.wasm,
            diagnostics: entry.diagnostics,
            cached,
            millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let shared = Arc::clone(&self.shared);
        let cached = tokio::task::spawn_blocking(move || shared.cache.get(&key)).await;
        let cached = cached.map_err(|why| CompileError::Unavailable(why.to_string()))?;
        if let Some(entry) = cached {
            self.shared.counters.cached();
            return Ok(finish(entry, true));
        }
        let answer = self.shared.join(requester, key, name, source)?;
        let entry = answer.await.map_err(|_| CompileError::Stopped)??;
        Ok(finish(entry, false))
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Takes the lock, so that no thread is between its check of `stopping` and its wait.
        drop(self.shared.lock());
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a compile thread had panicked");
            }
        }
    }
}

impl Shared {
    /// The hash of everything that the module depends on. Each part is prefixed by its length, so that different parts
    /// never give the same input.
    fn key(&self, name: &str, source: &[u8]) -> Key {
        let mut hasher = blake3::Hasher::new_derive_key(RECIPE);
        for part in [self.toolchain.version().as_bytes(), name.as_bytes(), source] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize()
    }

    /// Waits for the compile of `key`, which is queued unless it waits or runs already.
    fn join(
        &self,
        requester: Requester,
        key: Key,
        name: String,
        source: &[u8],
    ) -> Result<oneshot::Receiver<Result<Entry, CompileError>>, CompileError> {
        let (waiter, answer) = oneshot::channel();
        let state = &mut *self.lock();
        if self.stopping.load(Ordering::Relaxed) {
            return Err(CompileError::Stopped);
        }
        if let Some(why) = state.failures.get(Instant::now(), &key) {
            return Err(why);
        }
        if let Some(flight) = state.flights.get_mut(&key) {
            flight.waiters.retain(|waiter| !waiter.is_closed());
            if flight.waiters.len() >= MAX_WAITERS {
                return Err(CompileError::Busy(BusyReason::Waiters(flight.waiters.len())));
            }
            flight.waiters.push(waiter);
            if !flight.running {
                // Also queued for this requester, whose turn may come sooner. If there is no room, the place of the
                // first requester remains.
                if state.queue.push(requester, key).is_ok() {
                    // The first requester may be at its limit of running compiles when this one is not.
                    self.work.notify_one();
                }
            }
            return Ok(answer);
        }
        let mut queued = state.queue.push(requester, key);
        if queued.is_err() {
            // Makes room by removing withdrawn requests.
            state.queue.retain(|key| state.flights.get(key).is_some_and(Flight::has_waiters));
            state.flights.retain(|_, flight| flight.running || flight.has_waiters());
            queued = state.queue.push(requester, key);
        }
        if let Err(why) = queued {
            self.counters.refused();
            return Err(CompileError::Busy(why));
        }
        let flight = Flight { name, source: source.into(), running: false, waiters: vec![waiter] };
        state.flights.insert(key, flight);
        self.work.notify_one();
        Ok(answer)
    }

    /// Main loop of a compile thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                // Dropping the senders tells the waiting requests.
                state.flights.clear();
                return;
            }
            let Some((requester, key)) = state.queue.pop() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some((name, source)) = state.start(&key) {
                drop(state);
                let abandoned = Cell::new(false);
                let is_cancelled = || {
                    abandoned.set(abandoned.get() || self.lock().is_abandoned(&key));
                    abandoned.get() || self.stopping.load(Ordering::Relaxed)
                };
                let built = self.build(&key, &name, &source, &is_cancelled);
                state = self.lock();
                // If it was abandoned, later requests of the same source have started another compile.
                if !abandoned.get() {
                    state.finish(&key, &built);
                }
            }
            state.queue.done(&requester);
            // Another compile of this requester may be allowed to run now.
            self.work.notify_one();
        }
    }

    fn build(
        &self,
        key: &Key,
        name: &str,
        source: &[u8],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Entry, CompileError> {
        // An earlier compile may have finished between the request's look into the cache and its queueing.
        if let Some(entry) = self.cache.get(key) {
            return Ok(entry);
        }
        let built = build(&self.toolchain, &self.sandbox, name, source, self.time, is_cancelled);
        self.counters.built(built.is_ok());
        let entry = built?;
        if let Err(why) = self.cache.put(key, &entry) {
            tracing::warn!(%why, "cannot store a module in the cache");
        }
        Ok(entry)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Starts the compile of `key` and returns its name and source; `None` if it runs already, started by another
    /// requester's turn, or if no request waits for it any more.
    fn start(&mut self, key: &Key) -> Option<(String, Arc<[u8]>)> {
        let flight = self.flights.get_mut(key)?;
        if flight.running {
            return None;
        }
        if !flight.has_waiters() {
            self.flights.remove(key);
            return None;
        }
        flight.running = true;
        Some((flight.name.clone(), Arc::clone(&flight.source)))
    }

    /// Whether no request waits any more for the running compile of `key`, which is then removed.
    fn is_abandoned(&mut self, key: &Key) -> bool {
        let abandoned = self.flights.get(key).is_none_or(|flight| !flight.has_waiters());
        if abandoned {
            self.flights.remove(key);
        }
        abandoned
    }

    /// Answers all requests that wait for `key`.
    fn finish(&mut self, key: &Key, built: &Result<Entry, CompileError>) {
        if let Err(why) = built {
            self.failures.put(Instant::now(), *key, why);
        }
        for waiter in self.flights.remove(key).map(|flight| flight.waiters).unwrap_or_default() {
            // Fails if the request was withdrawn, which needs no action.
            let _ = waiter.send(built.clone());
        }
    }
}
