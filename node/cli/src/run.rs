//! `webmesh run` and `webmesh submit`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use libp2p::Multiaddr;
use webmesh_node::client::{Client, JobSpec, Options};
use webmesh_node::job_folder;
use webmesh_node::signals::Stop;
use webmesh_protocol::limits;

use crate::args::{JobArgs, RunArgs};
use crate::detached::Carried;
use crate::error::{CliError, interruptible};
use crate::job::{Destination, show_until_end};
use crate::output::Output;
use crate::{compiler, home, stdin};

/// Runs a job on an embedded mesh, or on the mesh of the peers given with `--bootstrap`.
pub(crate) async fn run(args: RunArgs, stop: &Stop) -> Result<(), CliError> {
    if !args.bootstrap.is_empty() {
        return submit(args.job, args.bootstrap, None, stop).await;
    }
    let request = Request::new(&args.job, None, stop).await?;
    let (peers, threads) = (Some(args.peers.get()), args.threads.map(usize::from));
    let start = async {
        let compiler = Some(compiler::start(&request.data_dir).await?);
        let data_dir = Some(request.data_dir.clone());
        Ok(Client::connect(Options { peers, threads, compiler, data_dir, ..Options::default() }).await?)
    };
    let client = interruptible(stop, start).await?;
    run_request(&args.job, client, request, stop).await
}

/// Runs a job on an existing mesh. With `carried`, this process is the carrier of a detached job.
pub(crate) async fn submit(
    job: JobArgs,
    bootstrap: Vec<Multiaddr>,
    carried: Option<Carried>,
    stop: &Stop,
) -> Result<(), CliError> {
    let request = Request::new(&job, carried, stop).await?;
    let join = async {
        let data_dir = Some(request.data_dir.clone());
        Ok(Client::connect(Options { bootstrap, data_dir, ..Options::default() }).await?)
    };
    let client = interruptible(stop, join).await?;
    run_request(&job, client, request, stop).await
}

async fn run_request(args: &JobArgs, client: Client, request: Request, stop: &Stop) -> Result<(), CliError> {
    let Request { spec, destination, .. } = request;
    let shown = destination.shown()?;
    let job = client.submit_to(spec, Box::new(destination));
    let outcome = show_until_end(job, shown, stop).await;
    if matches!(outcome, Err(CliError::Stopped)) {
        // Dropping the client would send a goodbye, at which peers discard their data of the job.
        std::mem::forget(client);
    } else {
        client.leave().await;
    }
    outcome.map_err(|why| stdin::with_advice(why, args))
}

fn read_source(path: &Path) -> Result<Bytes, CliError> {
    let wrong = |why: String| CliError::Failed(format!("cannot read the job's source {}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > limits::SOURCE_BYTES as u64 {
        return Err(wrong(format!("it has {length} bytes, more than the limit of {}", limits::SOURCE_BYTES)));
    }
    std::fs::read(path).map(Bytes::from).map_err(|e| wrong(e.to_string()))
}

/// The parts of a job that do not depend on the mesh, from the command line.
struct Request {
    spec: JobSpec,
    destination: Destination,
    data_dir: PathBuf,
}

impl Request {
    async fn new(args: &JobArgs, carried: Option<Carried>, stop: &Stop) -> Result<Self, CliError> {
        let source = read_source(&args.source)?;
        let (inputs, data_dir) = (stdin::inputs(args)?, home::data_dir(args.data.clone())?);
        let destination = match carried {
            Some(carried) => Destination::Folder(carried),
            None => Destination::user(Output::open(args.output.as_deref(), stop).await?, args.json),
        };
        job_folder::sweep(&data_dir);
        let usual = JobSpec::default();
        let spec = JobSpec {
            source,
            name: args.source.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            inputs,
            tasks: args.tasks.unwrap_or(usual.tasks),
            chunk: args.chunk.as_u64(),
            csv: args.csv,
            whole_files: args.whole_files,
            documents_per_task: args.docs_per_task,
            skip_unreadable: args.skip_unreadable,
            partitions: args.partitions,
            replicas: args.replicas,
            retries: args.retries,
            task_timeout: args.task_timeout,
            task_memory: args.task_memory.as_u64(),
            piped_command: Some(stdin::this_command(args)),
            ..usual
        };
        Ok(Self { spec, destination, data_dir })
    }
}
