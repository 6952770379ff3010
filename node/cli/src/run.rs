//! `webmesh run` and `webmesh submit`: from a source and inputs to a result.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use libp2p::Multiaddr;
use webmesh_node::driver::Node;
use webmesh_node::inputs::{self, Options, Plan};
use webmesh_node::job::{JobFacts, JobOptions, map_reduce};
use webmesh_node::progress::{Display, Outline, Style};
use webmesh_node::results::Checksum;
use webmesh_node::signals::Stop;
use webmesh_node::submit::{self, compile, cut_name};
use webmesh_protocol::JobId;
use webmesh_protocol::limits;
use webmesh_protocol::manifest::{BlobRef, Manifest};
use webmesh_protocol::sign::Keypair;

use crate::args::{JobArgs, RunArgs};
use crate::detached::Carried;
use crate::error::{CliError, interruptible};
use crate::mesh::{Mesh, cores};
use crate::output::{self, Output};
use crate::{compiler, home, stdin};

/// The destination of a job's result.
enum Receiver {
    /// The user, now.
    User(Output),
    /// The folder of a detached job, where its owner fetches it.
    Folder(Carried),
}

impl Receiver {
    /// The file that the result is written to while the job's inputs may be read.
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::User(output) => output.path(),
            Self::Folder(_) => None,
        }
    }
}

/// Runs a job on an embedded mesh, or through the peers that were named.
pub(crate) async fn run(args: RunArgs, stop: &Stop) -> Result<(), CliError> {
    if !args.bootstrap.is_empty() {
        return submit(args.job, args.bootstrap, None, stop).await;
    }
    let request = Request::new(&args.job, None, stop).await?;
    let start = async {
        let compiler = compiler::start(&request.data_dir).await?;
        Mesh::embedded(args.peers.get(), args.threads.map(usize::from), &request.data_dir, compiler).await
    };
    let mesh = interruptible(stop, start).await?;
    carry_through(&args.job, mesh, request, stop).await
}

/// Runs a job through a mesh that exists; with `carried`, as the carrier of a detached job.
pub(crate) async fn submit(
    job: JobArgs,
    bootstrap: Vec<Multiaddr>,
    carried: Option<Carried>,
    stop: &Stop,
) -> Result<(), CliError> {
    let request = Request::new(&job, carried, stop).await?;
    let mesh = interruptible(stop, Mesh::join(bootstrap, &request.data_dir)).await?;
    carry_through(&job, mesh, request, stop).await
}

async fn carry_through(args: &JobArgs, mesh: Mesh, request: Request, stop: &Stop) -> Result<(), CliError> {
    let display = Arc::new(match &request.receiver {
        Receiver::Folder(carried) => carried.display()?,
        Receiver::User(_) => Display::new(Style::of_stderr(args.json)),
    });
    let outcome = match interruptible(stop, prepare(args, &mesh, request, &display)).await {
        Ok(job) => job.run(&mesh, &display, stop).await,
        Err(why) => Err(why),
    };
    // Inputs may still be read on another thread, which has nothing to show any more.
    display.end();
    mesh.leave().await;
    outcome
}

fn read_source(path: &Path) -> Result<Bytes, CliError> {
    let wrong = |why: String| CliError::Failed(format!("cannot read the job's source {}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > limits::SOURCE_BYTES as u64 {
        return Err(wrong(format!("it has {length} bytes; a source may have {}", limits::SOURCE_BYTES)));
    }
    std::fs::read(path).map(Bytes::from).map_err(|e| wrong(e.to_string()))
}

/// What is known before a mesh is needed.
struct Request {
    source: Bytes,
    inputs: Vec<PathBuf>,
    receiver: Receiver,
    data_dir: PathBuf,
}

impl Request {
    async fn new(args: &JobArgs, carried: Option<Carried>, stop: &Stop) -> Result<Self, CliError> {
        let source = read_source(&args.source)?;
        let (inputs, data_dir) = (stdin::inputs(args)?, home::data_dir(args.data.clone())?);
        let receiver = match carried {
            Some(carried) => Receiver::Folder(carried),
            None => Receiver::User(Output::open(args.output.as_deref(), stop).await?),
        };
        Ok(Self { source, inputs, receiver, data_dir })
    }
}

/// A job that is ready to be submitted.
struct Job {
    manifest: Manifest,
    key: Keypair,
    outline: Outline,
    receiver: Receiver,
}

async fn prepare(args: &JobArgs, mesh: &Mesh, request: Request, display: &Arc<Display>) -> Result<Job, CliError> {
    let Request { source, inputs, receiver, data_dir } = request;
    let name = args.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let input =
        if inputs.iter().any(|input| input.as_os_str() == stdin::STDIN) { "standard input" } else { "the input" };
    display.phase(&format!("compiling {name} and reading {input}"));
    let options = Options {
        chunk: args.chunk.as_u64(),
        csv: args.csv,
        whole_files: args.whole_files,
        docs_per_task: args.docs_per_task,
        numbers: args.tasks.unwrap_or(inputs::NUMBERS),
        spool_dir: data_dir.join("spool"),
        output: receiver.path(),
        data_dir: Some(data_dir.clone()),
        skip_unreadable: args.skip_unreadable,
        threads: cores(),
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
    Ok(Job { manifest: map_reduce(&options, facts), key: home::owner_key(&data_dir)?, outline, receiver })
}

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
        .map_err(|e| CliError::Failed(format!("reading the inputs ended in a panic: {e}")))?
        .map_err(|why| stdin::error(why, args))
}

impl Job {
    /// Submits the job and sees it through; a `stop` on the way cancels it.
    async fn run(mut self, mesh: &Mesh, display: &Display, stop: &Stop) -> Result<(), CliError> {
        let job = self.follow(&mesh.home().node, display, stop).await?;
        display.phase("merging the result");
        let results = mesh.home().host.take_results(job);
        let results =
            results.ok_or_else(|| CliError::Failed(format!("job {job} is done, but its result is not here")))?;
        let stats = match self.receiver {
            Receiver::User(output) => output.write(results, stop).await?,
            Receiver::Folder(carried) => {
                let (file, sum) = (carried.result()?, Checksum::default());
                let stats = output::merge(results, sum.writer(file.writer()?), stop).await?;
                carried.seal(&sum)?;
                file.finish()?;
                Some(stats)
            }
        };
        if let Some(stats) = stats {
            display.written(stats);
        }
        Ok(())
    }

    /// Submits the job and follows it until it is done.
    async fn follow(&mut self, node: &Node, display: &Display, stop: &Stop) -> Result<JobId, CliError> {
        let named = |job| match &mut self.receiver {
            Receiver::Folder(carried) => carried.name(job).map_err(|why| why.to_string()),
            Receiver::User(_) => Ok(()),
        };
        let shown = (display, &self.outline);
        Ok(submit::follow(node, self.manifest.clone(), &self.key, shown, stop.told(), named).await?)
    }
}
