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
use webmesh_protocol::io::{Action, Token};
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
    /// Serves a job's inputs for as long as what this gives lives.
    pub fn serve(&self, inputs: Arc<dyn BlobSource>) -> Served {
        self.blobs.attach(inputs.clone());
        Served { blobs: self.blobs.clone(), source: inputs }
    }

    /// Serves a job's module for as long as what this gives lives: from memory, as nobody else has it if the disk loses it.
    pub fn serve_module(&self, hash: Hash, wasm: Bytes) -> Served {
        if let Err(why) = self.blobs.put(&hash, &wasm) {
            tracing::warn!("a module is not kept for the next job: {why}");
        }
        self.serve(Arc::new(Module { hash, wasm }))
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

/// What a peer serves while this lives.
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
    fn act(&mut self, action: Action) {
        match action {
            Action::Run(work) => match &mut self.tasks {
                Some(tasks) => tasks.run(*work),
                None => tracing::error!("a peer without threads was given a task"),
            },
            Action::StopRuns { job } => {
                if let Some(tasks) = &mut self.tasks {
                    tasks.stop(job);
                }
            }
            Action::LoadBlob { hash } => blobs::load(&self.blobs, &self.sender, hash),
            Action::ServeBlob { token, hash } => blobs::serve(&self.blobs, &self.sender, token, hash),
            Action::StoreBlob { hash, bytes, .. } => blobs::store(&self.arriving, &self.blobs, hash, bytes),
            Action::Persist { job, number, bytes, binding } => self.decisions.append(job, number, bytes, binding),
            Action::StoreOutput { job, task, bytes } => {
                outputs::store(&self.outputs, &self.sender, job, task, bytes);
            }
            Action::Stage { .. }
            | Action::DropSegment { .. }
            | Action::ReadBucket { .. }
            | Action::ServeBucket { .. }
            | Action::ServePull { .. } => self.segments.send(action),
            Action::DropJob { job } => {
                self.decisions.close(job);
                self.segments.send(action);
            }
            // The driver keeps these to itself.
            Action::Learn { .. }
            | Action::Publish { .. }
            | Action::Subscribe { .. }
            | Action::Request { .. }
            | Action::Respond { .. }
            | Action::Notify(_) => {}
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
