//! Submits jobs from a Rust program: [`Client::connect`], then [`Client::submit`], whose [`JobHandle`] reports the
//! job's progress and returns its result. `webmesh run`, `submit` and `resume` are built on it; `join`, `Mesh` and
//! `Job` of the browser library have the same shape.

mod error;
mod handle;
mod link;
mod mesh;
mod prepare;
mod receiver;
mod result;
mod resume;
mod spec;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::Multiaddr;
use tempfile::TempDir;
use webmesh_protocol::sign::Keypair;

use crate::host::CompileService;
use crate::job_folder::{JobFolder, Origin};
use crate::net::identity;
use crate::peer::Peer;
use crate::platform;
use crate::submit::Compilers;

pub use self::error::{ClientError, JobError};
use self::handle::Control;
pub use self::handle::{Events, JobHandle};
use self::mesh::{Home, Mesh};
use self::prepare::Submitter;
pub use self::receiver::{Receiver, Results};
use self::result::Destination;
pub use self::result::JobResult;
pub use self::spec::JobSpec;

/// The mesh that a client uses, and where it stores data.
#[derive(Default)]
pub struct Options {
    /// Addresses of peers of the mesh. If empty, the client starts an embedded mesh within this process.
    pub bootstrap: Vec<Multiaddr>,
    /// Number of peers of the embedded mesh. Default: 1.
    pub peers: Option<usize>,
    /// Threads of each embedded peer. Default: all cores, shared among the peers.
    pub threads: Option<usize>,
    /// The compiler of the embedded mesh. In an existing mesh, peers with the compiler role compile.
    pub compiler: Option<Arc<dyn CompileService>>,
    /// Folder for caches, the owner's key, and, until a job's result is written, everything needed to resume the job
    /// with [`Client::resume`] or `webmesh resume` if this process is killed. If absent, a temporary folder is used,
    /// and no job can be resumed.
    pub data_dir: Option<PathBuf>,
}

/// A peer, or an embedded mesh, that submits jobs.
pub struct Client {
    mesh: Mesh,
    data_dir: PathBuf,
    /// The data folder if it is temporary; removed on drop.
    scratch: Option<TempDir>,
    identity: Keypair,
    origin: Origin,
    /// The jobs of this client that have not ended.
    jobs: Mutex<Vec<Control>>,
}

impl Client {
    /// Joins a mesh, or starts one within this process.
    ///
    /// # Errors
    /// [`ClientError`], with the reason for each address if no peer could be reached.
    pub async fn connect(options: Options) -> Result<Self, ClientError> {
        platform::install_crypto();
        let Options { bootstrap, peers, threads, compiler, data_dir } = options;
        let (data_dir, scratch) = match data_dir {
            Some(data_dir) => (data_dir, None),
            None => {
                let scratch = platform::private::temporary_folder().tempdir().map_err(ClientError::Scratch)?;
                (scratch.path().to_owned(), Some(scratch))
            }
        };
        let identity = identity::generate();
        let home = Home::new(identity.clone());
        let (mesh, origin) = if bootstrap.is_empty() {
            let peers = peers.unwrap_or(1).max(1);
            let origin = Origin::Embedded { peers: peers as u32, threads: threads.map(|threads| threads as u32) };
            (Mesh::embedded(peers, threads, &data_dir, compiler, home).await?, origin)
        } else {
            let origin = Origin::Mesh(bootstrap.iter().map(ToString::to_string).collect());
            (Mesh::join(bootstrap, &data_dir, home).await?, origin)
        };
        Ok(Self { mesh, data_dir, scratch, identity, origin, jobs: Mutex::default() })
    }

    /// Submits a job and returns at once; errors are reported by [`JobHandle::result`]. Must be called on a tokio
    /// runtime.
    pub fn submit(&self, spec: JobSpec) -> JobHandle {
        self.start(spec, Destination::Own)
    }

    /// Like [`submit`](Self::submit), but passes the result to `receiver` instead of a file.
    pub fn submit_to(&self, spec: JobSpec, receiver: Box<dyn Receiver>) -> JobHandle {
        self.start(spec, Destination::Given(receiver))
    }

    fn start(&self, spec: JobSpec, destination: Destination) -> JobHandle {
        let submitter = Submitter {
            peer: self.mesh.home().clone(),
            is_embedded: self.mesh.is_embedded(),
            data_dir: self.data_dir.clone(),
            is_kept: self.scratch.is_none(),
            identity: self.identity.clone(),
            origin: self.origin.clone(),
        };
        let job = JobHandle::start(|link| submitter.run(spec, destination, link));
        // A panic while the lock was held leaves the list usable.
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|job| !job.has_ended());
        jobs.push(job.control());
        job
    }

    /// Resumes the job of `folder`, whose process was killed, and passes its result to `receiver`. This starts a
    /// separate peer, which leaves when the job ends. It joins the mesh that the job was submitted to, through the
    /// addresses in `bootstrap` if there are any, else through the recorded ones. Must be called on a tokio runtime.
    pub fn resume(folder: JobFolder, bootstrap: Vec<Multiaddr>, receiver: Box<dyn Receiver>) -> JobHandle {
        platform::install_crypto();
        JobHandle::start(|link| resume::resume(folder, bootstrap, receiver, link))
    }

    /// The peer through which jobs are submitted.
    pub fn peer(&self) -> &Peer {
        self.mesh.home()
    }

    /// Cancels this client's jobs, waits for them to end, and leaves the mesh with a goodbye.
    pub async fn leave(self) {
        let jobs = self.jobs.into_inner().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().for_each(Control::stop);
        for job in jobs {
            job.ended().await;
        }
        self.mesh.leave().await;
    }
}

/// The compilers that a submitter asks: its own in an embedded mesh, else those of the mesh.
fn compilers(is_embedded: bool) -> Compilers {
    if is_embedded { Compilers::Own } else { Compilers::OfMesh }
}
