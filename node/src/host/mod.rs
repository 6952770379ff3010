//! The native host: carries out the engine's actions with threads, wasmtime and a disk.

mod blobs;
mod compile;
mod decisions;
mod outputs;
mod segments;
mod tasks;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::engine::Memory;
use webmesh_protocol::io::{BlobAction, RunAction, SegmentAction, StoreAction, Token};
use webmesh_protocol::message::Cause;
use webmesh_protocol::{Hash, JobId, PeerKey};

use self::blobs::Arriving;
pub use self::compile::{CompileAnswer, CompileService};
use self::decisions::DecisionThread;
use self::outputs::Outputs;
use self::segments::SegmentThread;
use self::tasks::Tasks;
use crate::driver::{HOST_OUTPUTS, Host, HostOutput, RequesterGone};
use crate::exec::{Runtime, RuntimeConfig, RuntimeError};
use crate::job_folder;
use crate::platform;
use crate::results::ResultStore;
use crate::store::blobs::{BlobStore, Blobs};
use crate::store::segments::SegmentStore;
use crate::store::source::{BlobError, BlobSource};

/// Size limit of the modules and indexes on disk.
const BLOB_CACHE_BYTES: u64 = 256 << 20;

/// Configuration of a host.
pub struct HostConfig {
    /// Number of threads that run tasks; 0 for a peer that runs none, or only those of its own jobs that it confirms.
    pub threads: usize,
    /// Directory of caches and spilled segments.
    pub data_dir: PathBuf,
    /// Bytes of segments (and results of own jobs) kept in memory; beyond that they are spilled to disk.
    pub memory: u64,
    /// Memory limit of all tasks that run at the same time, in bytes.
    pub task_memory: u64,
    /// Limit for the segments of all jobs, in bytes, on disk for the most part.
    pub disk: u64,
    /// The compiler, if this peer has that role.
    pub compiler: Option<Arc<dyn CompileService>>,
}

/// Why a host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// wasmtime could not be set up.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The directory of blobs could not be used.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// The part of a host that a submitter on this peer uses.
#[derive(Clone)]
pub struct HostHandle {
    blobs: Arc<Blobs>,
    outputs: Arc<Outputs>,
}

impl HostHandle {
    /// Serves a job's inputs until the returned value is dropped.
    pub fn serve(&self, inputs: Arc<dyn BlobSource>) -> Served {
        self.blobs.attach(inputs.clone());
        Served { blobs: self.blobs.clone(), source: inputs }
    }

    /// Serves a job's module until the returned value is dropped: from memory, as nobody else has it if the disk loses it.
    pub fn serve_module(&self, hash: Hash, wasm: Bytes) -> Served {
        if let Err(why) = self.blobs.put(&hash, &wasm) {
            tracing::warn!("cannot keep a module for the next job: {why}");
        }
        self.serve(Arc::new(Module { hash, wasm }))
    }

    /// Stores the results of a job in `store`, which may already hold some. Must be called before the job starts.
    pub fn keep_results(&self, job: JobId, store: ResultStore) {
        self.outputs.keep(job, store);
    }

    /// The results of a finished job; `None` if none were ever stored here.
    pub fn take_results(&self, job: JobId) -> Option<ResultStore> {
        self.outputs.take(job)
    }
}

/// A blob source that the peer serves until this is dropped.
#[must_use = "it is served no more once this is dropped"]
pub struct Served {
    blobs: Arc<Blobs>,
    source: Arc<dyn BlobSource>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.blobs.detach(&self.source);
    }
}

/// The module of one of this peer's jobs.
struct Module {
    hash: Hash,
    wasm: Bytes,
}

impl BlobSource for Module {
    fn load(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError> {
        Ok((*hash == self.hash).then(|| self.wasm.clone()))
    }
}

/// The native host.
pub struct NativeHost {
    blobs: Arc<Blobs>,
    arriving: Arc<Arriving>,
    /// `None` until a task has to be run, if this peer does not work.
    tasks: Option<Tasks>,
    start_tasks: Box<dyn Fn() -> Result<Tasks, RuntimeError> + Send>,
    segments: SegmentThread,
    outputs: Arc<Outputs>,
    decisions: DecisionThread,
    compiler: Option<Arc<dyn CompileService>>,
    task_memory: u64,
    disk: u64,
    sender: mpsc::Sender<HostOutput>,
}

impl NativeHost {
    /// Starts the threads of a host; the driver receives its outputs.
    ///
    /// # Errors
    /// Fails if address space, threads or directories are not available.
    pub fn start(config: HostConfig) -> Result<(Self, HostHandle, mpsc::Receiver<HostOutput>), HostError> {
        let (sender, receiver) = mpsc::channel(HOST_OUTPUTS);
        let store = BlobStore::new(config.data_dir.join("blobs"), BLOB_CACHE_BYTES)?;
        let blobs = Arc::new(Blobs::new(store));
        let arriving = Arc::new(Arriving::default());
        blobs.attach(arriving.clone());
        let start_tasks = {
            let cache_dir = Some(config.data_dir.join("compiled"));
            let (threads, guest_memory) = (config.threads.max(1), config.task_memory);
            let (blobs, sender) = (blobs.clone(), sender.clone());
            move || {
                let config =
                    RuntimeConfig { cache_dir: cache_dir.clone(), guest_memory, ..RuntimeConfig::new(threads) };
                Tasks::start(threads, Runtime::new(config)?, blobs.clone(), sender.clone())
            }
        };
        let tasks = if config.threads == 0 { None } else { Some(start_tasks()?) };
        let start_tasks = Box::new(start_tasks);
        let outputs = Arc::new(Outputs::new(config.data_dir.join("results"), config.memory / 4));
        let segments = SegmentStore::new(config.data_dir.join("segments"), config.memory);
        let decisions = DecisionThread::new(job_folder::all(&config.data_dir), outputs.clone(), sender.clone());
        let handle = HostHandle { blobs: blobs.clone(), outputs: outputs.clone() };
        let segments = SegmentThread::start(segments, sender.clone()).map_err(RuntimeError::Thread)?;
        let HostConfig { compiler, task_memory, disk, .. } = config;
        let host = Self {
            blobs,
            arriving,
            tasks,
            start_tasks,
            segments,
            outputs,
            decisions,
            compiler,
            task_memory,
            disk,
            sender,
        };
        Ok((host, handle, receiver))
    }
}

impl Host for NativeHost {
    fn store(&mut self, action: StoreAction) {
        match action {
            StoreAction::Blobs(BlobAction::Load { hash }) => blobs::load(&self.blobs, &self.sender, hash),
            StoreAction::Blobs(BlobAction::Serve { token, hash }) => {
                blobs::serve(&self.blobs, &self.sender, token, hash);
            }
            StoreAction::Blobs(BlobAction::Store { hash, bytes, .. }) => {
                blobs::store(&self.arriving, &self.blobs, hash, bytes);
            }
            StoreAction::Segments(action) => self.segments.send(action),
            StoreAction::Persist { job, number, bytes, binding } => self.decisions.append(job, number, bytes, binding),
            StoreAction::StoreOutput { job, task, bytes } => {
                outputs::store(&self.outputs, &self.sender, job, task, bytes);
            }
            StoreAction::DropJob { job } => {
                self.decisions.close(job);
                self.segments.send(SegmentAction::DropJob { job });
            }
        }
    }

    fn run(&mut self, action: RunAction) {
        match (&mut self.tasks, action) {
            (Some(tasks), RunAction::Start(work)) => tasks.run(*work),
            (Some(tasks), RunAction::Cancel { run }) => tasks.cancel(run),
            (Some(tasks), RunAction::Stop { job }) => tasks.stop(job),
            (None, RunAction::Start(work)) => match (self.start_tasks)() {
                Ok(tasks) => self.tasks.insert(tasks).run(*work),
                Err(error) => {
                    let why = format!("cannot run tasks: {error}");
                    let refusal = tasks::refusal(work.run, work.tasks, &why, Cause::Worker);
                    let sender = self.sender.clone();
                    // Fails only when the driver has ended.
                    platform::spawn_blocking(move || drop(sender.blocking_send(HostOutput::Event(refusal))));
                }
            },
            (None, RunAction::Cancel { .. } | RunAction::Stop { .. }) => {}
        }
    }

    fn confirms(&self) -> bool {
        true
    }

    fn compile(
        &mut self,
        token: Token,
        from: PeerKey,
        name: String,
        source: Bytes,
        requester_gone: RequesterGone,
    ) -> bool {
        let Some(compiler) = &self.compiler else { return false };
        let compiled = compiler.compile(from, name, source);
        compile::answer(compiled, self.sender.clone(), token, requester_gone);
        true
    }

    fn memory(&self) -> Memory {
        Memory::native(self.task_memory, self.disk)
    }

    fn is_overloaded(&self) -> bool {
        self.segments.is_overloaded()
    }
}
