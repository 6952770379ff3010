//! The native host: what the engine needs done, done with threads, wasmtime and a disk.

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
use webmesh_protocol::{Hash, JobId, PeerKey};

use self::blobs::Arriving;
pub use self::compile::{CompileAnswer, CompileService};
use self::decisions::DecisionThread;
use self::outputs::Outputs;
use self::segments::SegmentThread;
use self::tasks::Tasks;
use crate::driver::{Gone, HOST_OUTPUTS, Host, HostOutput};
use crate::exec::{Runtime, RuntimeConfig, RuntimeError};
use crate::job_folder;
use crate::results::ResultStore;
use crate::store::blobs::{BlobStore, Blobs};
use crate::store::segments::SegmentStore;
use crate::store::source::{BlobError, BlobSource};

/// Modules and indexes kept on disk.
const BLOB_CACHE_BYTES: u64 = 256 << 20;

/// What a host may use.
pub struct HostConfig {
    /// Threads that run tasks; 0 for a peer that does not work.
    pub threads: usize,
    /// Where caches and spilled segments lie.
    pub data_dir: PathBuf,
    /// Segments (and results of own jobs) kept in memory before they go to disk, in bytes.
    pub memory: u64,
    /// Memory of all tasks that run at a time, in bytes.
    pub task_memory: u64,
    /// The compiler, where this peer has the role.
    pub compiler: Option<Arc<dyn CompileService>>,
}

/// Why a host cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No wasmtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// No folder for blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// What a submitter on this peer needs of its host.
#[derive(Clone)]
pub struct HostHandle {
    blobs: Arc<Blobs>,
    outputs: Arc<Outputs>,
}

impl HostHandle {
    /// Serves a job's inputs for as long as this peer lives.
    pub fn attach(&self, inputs: Arc<dyn BlobSource>) {
        self.blobs.attach(inputs);
    }

    /// Serves a job's module for as long as this peer lives: from memory, as nobody else has it if the disk loses it.
    pub fn attach_module(&self, hash: Hash, wasm: Bytes) {
        if let Err(why) = self.blobs.put(&hash, &wasm) {
            tracing::warn!("a module is not kept for the next job: {why}");
        }
        self.blobs.attach(Arc::new(Module { hash, wasm }));
    }

    /// Has the results of a job go to `store`, in which some may lie already. To be said before the job begins.
    pub fn keep_results(&self, job: JobId, store: ResultStore) {
        self.outputs.keep(job, store);
    }

    /// The results of a job that is done; `None` if nothing of them was ever kept here.
    pub fn take_results(&self, job: JobId) -> Option<ResultStore> {
        self.outputs.take(job)
    }
}

/// The module of a job of this peer.
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
    tasks: Option<Tasks>,
    segments: SegmentThread,
    outputs: Arc<Outputs>,
    decisions: DecisionThread,
    compiler: Option<Arc<dyn CompileService>>,
    task_memory: u64,
    sender: mpsc::Sender<HostOutput>,
}

impl NativeHost {
    /// Starts the threads of a host; its outputs are for the driver.
    ///
    /// # Errors
    /// Where address space, threads or folders are denied.
    pub fn start(config: HostConfig) -> Result<(Self, HostHandle, mpsc::Receiver<HostOutput>), HostError> {
        let (sender, receiver) = mpsc::channel(HOST_OUTPUTS);
        let store = BlobStore::new(config.data_dir.join("blobs"), BLOB_CACHE_BYTES)?;
        let blobs = Arc::new(Blobs::new(store));
        let arriving = Arc::new(Arriving::default());
        blobs.attach(arriving.clone());
        let tasks = match config.threads {
            0 => None,
            threads => {
                let cache_dir = Some(config.data_dir.join("compiled"));
                let runtime = Runtime::new(RuntimeConfig {
                    cache_dir,
                    guest_memory: config.task_memory,
                    ..RuntimeConfig::new(threads)
                })?;
                Some(Tasks::start(threads, runtime, blobs.clone(), sender.clone())?)
            }
        };
        let outputs = Arc::new(Outputs::new(config.data_dir.join("results"), config.memory / 4));
        let segments = SegmentStore::new(config.data_dir.join("segments"), config.memory);
        let decisions = DecisionThread::new(job_folder::all(&config.data_dir), outputs.clone(), sender.clone());
        let handle = HostHandle { blobs: blobs.clone(), outputs: outputs.clone() };
        let segments = SegmentThread::start(segments, sender.clone()).map_err(RuntimeError::Thread)?;
        let HostConfig { compiler, task_memory, .. } = config;
        let host = Self { blobs, arriving, tasks, segments, outputs, decisions, compiler, task_memory, sender };
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
            (Some(tasks), RunAction::Stop { job }) => tasks.stop(job),
            (None, RunAction::Start(_)) => tracing::error!("a peer without threads was given a task"),
            (None, RunAction::Stop { .. }) => {}
        }
    }

    fn compile(&mut self, token: Token, from: PeerKey, name: String, source: Bytes, gone: Gone) -> bool {
        let Some(compiler) = &self.compiler else { return false };
        let compiled = compiler.compile(from, name, source);
        compile::answer(compiled, self.sender.clone(), token, gone);
        true
    }

    fn memory(&self) -> Memory {
        Memory::native(self.task_memory)
    }

    fn is_overloaded(&self) -> bool {
        self.segments.is_overloaded()
    }
}
