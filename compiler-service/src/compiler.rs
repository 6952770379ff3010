//! The service: takes sources, shares one compile among all who ask for it, and hands out modules.

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

/// Changes whenever this program makes another module from the same source and toolchain.
const RECIPE: &str = "webmesh compile 2";

/// How a [`Compiler`] works.
#[derive(Debug, Clone)]
pub struct CompilerConfig {
    /// The folder of the module cache; made if it is not there.
    pub cache_dir: PathBuf,
    /// Bytes of the module cache.
    pub cache_bytes: u64,
    /// Compiles at once.
    pub parallel: usize,
    /// Compiles waiting, over all requesters.
    pub queue: usize,
    /// Compiles of one requester waiting.
    pub queue_per_requester: usize,
    /// Processor time of each of a compile's processes; counted in whole seconds, rounded up.
    pub processor_time: Duration,
    /// Wall-clock time of a compile once it has begun.
    pub wall_time: Duration,
    /// The sandboxes that may be used; the first that works is.
    pub sandboxes: Vec<SandboxKind>,
}

impl CompilerConfig {
    /// The usual bounds (see [`limits`](crate::limits)), a compile per core as far as memory goes, the cache in
    /// `cache_dir`.
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

/// A module, ready for the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The WebAssembly module.
    pub wasm: Bytes,
    /// The blake3 hash of `wasm`.
    pub hash: blake3::Hash,
    /// Warnings, as clang wrote them, with its colours; empty if there are none.
    pub diagnostics: String,
    /// Whether it was compiled before, by whomever.
    pub cached: bool,
    /// From request to answer, in milliseconds.
    pub millis: u64,
}

/// Compiles C++ to WebAssembly, for many requesters, in a sandbox. Dropping it stops what runs.
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
    /// Told when the queue has something that may run.
    work: Condvar,
}

#[derive(Debug)]
struct State {
    queue: FairQueue<Key>,
    flights: HashMap<Key, Flight>,
    failures: Failures,
}

/// A compile that waits or runs, and who waits for it.
#[derive(Debug)]
struct Flight {
    name: String,
    source: Arc<[u8]>,
    running: bool,
    waiters: Vec<oneshot::Sender<Result<Entry, CompileError>>>,
}

impl Flight {
    fn is_wanted(&self) -> bool {
        self.waiters.iter().any(|waiter| !waiter.is_closed())
    }
}

impl Compiler {
    /// Tries the sandboxes of this host and starts the service in the first that works.
    ///
    /// Takes a few hundred milliseconds, of which it blocks.
    ///
    /// # Errors
    /// [`StartError::NoSandbox`] where none works: nothing is ever compiled without one.
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
            // One slot stays free for others, who would else wait for the longest of somebody's compiles.
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
            // Threads of its own, not a pool's: the kernel ends a sandbox with the thread that started it, and a pool
            // lets idle threads go.
            let thread = std::thread::Builder::new()
                .name(format!("compile-{number}"))
                .spawn(move || shared.work())
                .map_err(StartError::Thread)?;
            compiler.threads.push(thread);
        }
        Ok(compiler)
    }

    /// The toolchain it compiles with.
    #[must_use]
    pub fn toolchain(&self) -> &Toolchain {
        &self.shared.toolchain
    }

    /// The sandbox it compiles in.
    #[must_use]
    pub fn sandbox(&self) -> SandboxKind {
        self.shared.sandbox.kind()
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// Compiles `source`, which diagnostics call by the last part of `file_name`, on behalf of `requester`.
    ///
    /// The same source under the same name is compiled once, however many ask for it and whenever. Must be called in a
    /// tokio runtime. Dropping the future withdraws the request.
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
        // Under the lock, so that no thread is between its look at `stopping` and its wait.
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
    /// The name of everything that the module depends on. Lengths stand before texts, so that no two lists of texts
    /// look alike.
    fn key(&self, name: &str, source: &[u8]) -> Key {
        let mut hasher = blake3::Hasher::new_derive_key(RECIPE);
        for part in [self.toolchain.version().as_bytes(), name.as_bytes(), source] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize()
    }

    /// Joins the compile of `key`, which is queued unless it waits or runs already.
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
                // In this requester's lane too, that it may come sooner. Without room it waits in the other's.
                if state.queue.push(requester, key).is_ok() {
                    // The other's lane may be at its bound of running compiles; this one need not be.
                    self.work.notify_one();
                }
            }
            return Ok(answer);
        }
        let mut queued = state.queue.push(requester, key);
        if queued.is_err() {
            // Those who gave up make room.
            state.queue.retain(|key| state.flights.get(key).is_some_and(Flight::is_wanted));
            state.flights.retain(|_, flight| flight.running || flight.is_wanted());
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

    /// A compile thread's life.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                // Waiters learn of it as their senders are dropped.
                state.flights.clear();
                return;
            }
            let Some((requester, key)) = state.queue.pop() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some((name, source)) = state.take_off(&key) {
                drop(state);
                let abandoned = Cell::new(false);
                let is_pointless = || {
                    abandoned.set(abandoned.get() || self.lock().is_abandoned(&key));
                    abandoned.get() || self.stopping.load(Ordering::Relaxed)
                };
                let built = self.build(&key, &name, &source, &is_pointless);
                state = self.lock();
                // Who has asked for the same since then waits for a compile of its own.
                if !abandoned.get() {
                    state.land(&key, &built);
                }
            }
            state.queue.done(&requester);
            // What this requester's bound held back may run now.
            self.work.notify_one();
        }
    }

    fn build(
        &self,
        key: &Key,
        name: &str,
        source: &[u8],
        is_pointless: &dyn Fn() -> bool,
    ) -> Result<Entry, CompileError> {
        // It may have landed between a requester's look at the cache and its joining the queue.
        if let Some(entry) = self.cache.get(key) {
            return Ok(entry);
        }
        let built = build(&self.toolchain, &self.sandbox, name, source, self.time, is_pointless);
        self.counters.built(built.is_ok());
        let entry = built?;
        if let Err(why) = self.cache.put(key, &entry) {
            tracing::warn!(%why, "a module was not cached");
        }
        Ok(entry)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole before anything in it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What to compile for `key`, unless it runs already (from another lane) or nobody waits for it any more.
    fn take_off(&mut self, key: &Key) -> Option<(String, Arc<[u8]>)> {
        let flight = self.flights.get_mut(key)?;
        if flight.running {
            return None;
        }
        if !flight.is_wanted() {
            self.flights.remove(key);
            return None;
        }
        flight.running = true;
        Some((flight.name.clone(), Arc::clone(&flight.source)))
    }

    /// Whether nobody waits any more for `key`, which runs; it is forgotten then.
    fn is_abandoned(&mut self, key: &Key) -> bool {
        let abandoned = self.flights.get(key).is_none_or(|flight| !flight.is_wanted());
        if abandoned {
            self.flights.remove(key);
        }
        abandoned
    }

    /// Tells all who wait for `key`.
    fn land(&mut self, key: &Key, built: &Result<Entry, CompileError>) {
        if let Err(why) = built {
            self.failures.put(Instant::now(), *key, why);
        }
        for waiter in self.flights.remove(key).map(|flight| flight.waiters).unwrap_or_default() {
            // One who gave up in the meantime is not there to be told.
            let _ = waiter.send(built.clone());
        }
    }
}
