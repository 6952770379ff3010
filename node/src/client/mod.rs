//! Jobs, submitted from a program of one's own: [`Client::connect`], [`Client::submit`], and a [`JobHandle`] that tells
//! how far the job is and gives its result. `webmesh run`, `submit` and `resume` are built on it; what is called `join`,
//! `Mesh` and `Job` in the library for browsers has the same shape.

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

/// How a client gets to a mesh.
#[derive(Default)]
pub struct Options {
    /// Addresses of peers of the mesh. Without any, the mesh is one within this process.
    pub bootstrap: Vec<Multiaddr>,
    /// Peers of the mesh within this process; one, if it is not said.
    pub peers: Option<usize>,
    /// Threads of each of them; all cores, shared, if it is not said.
    pub threads: Option<usize>,
    /// What compiles jobs of the mesh within this process. In a mesh that is joined, peers with the role do.
    pub compiler: Option<Arc<dyn CompileService>>,
    /// Where caches and the key of the jobs' owner lie. What is needed to go on with a job is kept there, too, until its
    /// result is written, so that [`Client::resume`] and `webmesh resume` can if this process is killed. Without it,
    /// nothing outlives the client.
    pub data_dir: Option<PathBuf>,
}

/// A peer that submits jobs.
pub struct Client {
    mesh: Mesh,
    data_dir: PathBuf,
    /// The same, where it is gone with this client.
    scratch: Option<TempDir>,
    identity: Keypair,
    origin: Origin,
    /// The jobs that were submitted here and go on.
    jobs: Mutex<Vec<Control>>,
}

impl Client {
    /// Joins a mesh, or starts one within this process.
    ///
    /// # Errors
    /// [`ClientError`], which says of each address why it does not lead to a mesh.
    pub async fn connect(options: Options) -> Result<Self, ClientError> {
        platform::install_crypto();
        let Options { bootstrap, peers, threads, compiler, data_dir } = options;
        let (data_dir, scratch) = match data_dir {
            Some(data_dir) => (data_dir, None),
            None => {
                let scratch = tempfile::tempdir().map_err(ClientError::Scratch)?;
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

    /// Submits a job, which begins at once; whatever may go wrong is told by [`JobHandle::result`]. Must be called on a
    /// tokio runtime.
    pub fn submit(&self, spec: JobSpec) -> JobHandle {
        self.start(spec, Destination::Own)
    }

    /// The same, with a result that goes to `receiver` instead of a file.
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
        // A panic of another holder leaves the list usable.
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|job| !job.has_ended());
        jobs.push(job.control());
        job
    }

    /// Goes on with a job that is kept in a data folder because its process was killed; its result goes to `receiver`. A
    /// peer of its own does so and leaves with the job. It joins the mesh that the job was submitted to, or by `bootstrap`
    /// where that is not empty. Must be called on a tokio runtime.
    pub fn resume(folder: JobFolder, bootstrap: Vec<Multiaddr>, receiver: Box<dyn Receiver>) -> JobHandle {
        platform::install_crypto();
        JobHandle::start(|link| resume::resume(folder, bootstrap, receiver, link))
    }

    /// The peer at which jobs are submitted.
    pub fn peer(&self) -> &Peer {
        self.mesh.home()
    }

    /// Leaves the mesh in order: own jobs cancelled, goodbyes said.
    pub async fn leave(self) {
        let jobs = self.jobs.into_inner().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().for_each(Control::stop);
        for job in jobs {
            job.ended().await;
        }
        self.mesh.leave().await;
    }
}

/// Which compilers a submitter asks: in an embedded mesh, its own.
fn compilers(is_embedded: bool) -> Compilers {
    if is_embedded { Compilers::Own } else { Compilers::OfMesh }
}
