//! `webmesh run` and `webmesh submit`: make a job of a source and inputs, and run it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use libp2p::Multiaddr;
use webmesh_node::inputs::{self, Options, Plan};
use webmesh_node::job::{JobFacts, JobOptions, map_reduce};
use webmesh_node::job_folder::{self, Cutting, JobFolder, Origin, Record};
use webmesh_node::net::identity;
use webmesh_node::progress::{Display, Outline};
use webmesh_node::signals::Stop;
use webmesh_node::submit::{Begin, compile, cut_name, named};
use webmesh_protocol::limits;
use webmesh_protocol::manifest::BlobRef;
use webmesh_protocol::sign::Keypair;

use crate::args::{JobArgs, RunArgs};
use crate::detached::Carried;
use crate::error::{CliError, interruptible};
use crate::job::{Job, Kept, Receiver};
use crate::mesh::{Home, Mesh, cores};
use crate::output::Output;
use crate::{compiler, home, stdin};

/// Runs a job on an embedded mesh, or on the mesh of the peers given with `--bootstrap`.
pub(crate) async fn run(args: RunArgs, stop: &Stop) -> Result<(), CliError> {
    if !args.bootstrap.is_empty() {
        return submit(args.job, args.bootstrap, None, stop).await;
    }
    let request = Request::new(&args.job, None, stop).await?;
    let (peers, threads) = (args.peers.get(), args.threads.map(usize::from));
    let origin = Origin::Embedded { peers: peers as u32, threads: threads.map(|threads| threads as u32) };
    let start = async {
        let compiler = compiler::start(&request.data_dir).await?;
        let home = Home::new(request.identity.clone());
        Mesh::embedded(peers, threads, &request.data_dir, Some(compiler), home).await
    };
    let mesh = interruptible(stop, start).await?;
    carry_through(&args.job, mesh, request, origin, stop).await
}

/// Runs a job on an existing mesh. With `carried`, this process is the carrier of a detached job.
pub(crate) async fn submit(
    job: JobArgs,
    bootstrap: Vec<Multiaddr>,
    carried: Option<Carried>,
    stop: &Stop,
) -> Result<(), CliError> {
    let request = Request::new(&job, carried, stop).await?;
    let origin = Origin::Mesh(bootstrap.iter().map(ToString::to_string).collect());
    let home = Home::new(request.identity.clone());
    let mesh = interruptible(stop, Mesh::join(bootstrap, &request.data_dir, home)).await?;
    carry_through(&job, mesh, request, origin, stop).await
}

async fn carry_through(
    args: &JobArgs,
    mesh: Mesh,
    request: Request,
    origin: Origin,
    stop: &Stop,
) -> Result<(), CliError> {
    let display = Arc::new(request.receiver.display(args.json)?);
    let outcome = match interruptible(stop, prepare(args, &mesh, request, origin, &display, stop)).await {
        Ok(job) => job.run(&mesh, &display, stop).await,
        Err(why) => Err(why),
    };
    // After an error, another thread may still be reading inputs; it must not show its progress any more.
    display.end();
    mesh.leave().await;
    outcome
}

fn read_source(path: &Path) -> Result<Bytes, CliError> {
    let wrong = |why: String| CliError::Failed(format!("cannot read the job's source {}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > limits::SOURCE_BYTES as u64 {
        return Err(wrong(format!("it has {length} bytes, more than the limit of {}", limits::SOURCE_BYTES)));
    }
    std::fs::read(path).map(Bytes::from).map_err(|e| wrong(e.to_string()))
}

/// The parts of a job that do not depend on the mesh.
struct Request {
    source: Bytes,
    inputs: Vec<PathBuf>,
    receiver: Receiver,
    data_dir: PathBuf,
    /// The key of the job's home peer.
    identity: Keypair,
}

impl Request {
    async fn new(args: &JobArgs, carried: Option<Carried>, stop: &Stop) -> Result<Self, CliError> {
        let source = read_source(&args.source)?;
        let (inputs, data_dir) = (stdin::inputs(args)?, home::data_dir(args.data.clone())?);
        let receiver = match carried {
            Some(carried) => Receiver::Folder(carried),
            None => Receiver::User(Output::open(args.output.as_deref(), stop).await?),
        };
        job_folder::sweep(&data_dir);
        Ok(Self { source, inputs, receiver, data_dir, identity: identity::generate() })
    }
}

async fn prepare(
    args: &JobArgs,
    mesh: &Mesh,
    request: Request,
    origin: Origin,
    display: &Arc<Display>,
    stop: &Stop,
) -> Result<Job, CliError> {
    let Request { source, inputs, receiver, data_dir, identity } = request;
    let name = args.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let input =
        if inputs.iter().any(|input| input.as_os_str() == stdin::STDIN) { "standard input" } else { "the input" };
    display.phase(&format!("compiling {name} and reading {input}"));
    let cutting = Cutting {
        chunk: args.chunk.as_u64(),
        csv: args.csv,
        whole_files: args.whole_files,
        docs_per_task: args.docs_per_task,
    };
    let options = Options {
        numbers: args.tasks.unwrap_or(inputs::NUMBERS),
        spool_dir: data_dir.join("spool"),
        output: receiver.path(),
        data_dir: Some(data_dir.clone()),
        skip_unreadable: args.skip_unreadable,
        threads: cores(),
        ..cutting.options()
    };
    let compiled = async { Ok(compile(&mesh.home().node, mesh.compilers(), &name, source, display).await?) };
    let (plan, module) = tokio::try_join!(plan_inputs(args, inputs, options, display), compiled)?;
    plan.notes.iter().for_each(|note| display.note(&stdin::note(note, args)));
    let outline = Outline::new(&name, &plan);
    display.outline(outline.clone());
    let host = &mesh.home().host;
    host.attach_module(module.hash, module.bytes.clone());
    if let Some(packs) = &plan.source {
        host.attach(packs.clone());
    }
    let options = JobOptions {
        name: cut_name(&name).to_owned(),
        partitions: args.partitions,
        replicas: args.replicas,
        task_timeout: args.task_timeout,
        task_memory: args.task_memory.as_u64(),
        retries: args.retries,
    };
    let facts = JobFacts {
        module: BlobRef { hash: module.hash, len: module.bytes.len() as u64 },
        inputs: plan.inputs.clone(),
        tasks: plan.tasks,
        workers: mesh.workers().await,
        nonce: u64::from_le_bytes(webmesh_node::platform::random_bytes()),
    };
    let key = home::owner_key(&data_dir)?;
    let (manifest, job) = named(&mesh.home().node, map_reduce(&options, facts), &key);
    // The folder is created before the job is announced: from then on, this process may be killed at any time.
    let saved_to = (receiver.path(), matches!(receiver, Receiver::Folder(_)));
    let stop = stop.clone();
    let making = tokio::task::spawn_blocking(move || {
        let list = plan.source.as_ref().map(|source| source.file_list());
        let record = Record::new(&identity, origin, cutting, (saved_to.0.as_deref(), saved_to.1), list);
        let (folder, results) = JobFolder::create(&data_dir, job, &record, &module.bytes, list)?;
        Ok::<_, CliError>((Kept::new(folder, &stop), results))
    });
    let made = making.await.map_err(|e| CliError::Failed(format!("storing the job panicked: {e}")))?;
    let (kept, results) = made?;
    host.keep_results(job, results);
    Ok(Job { begin: Begin::New { manifest: Box::new(manifest), kept: true }, key, outline, receiver, kept })
}

/// Lists the inputs and divides them into tasks.
async fn plan_inputs(
    args: &JobArgs,
    paths: Vec<PathBuf>,
    options: Options,
    display: &Arc<Display>,
) -> Result<Plan, CliError> {
    let display = display.clone();
    let planned =
        tokio::task::spawn_blocking(move || inputs::plan(&paths, &options, &|planned| display.reading(planned))).await;
    planned
        .map_err(|e| CliError::Failed(format!("reading the inputs panicked: {e}")))?
        .map_err(|why| stdin::error(why, args))
}
