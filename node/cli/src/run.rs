//! `webmesh run` and `webmesh submit`: from a source and inputs to a result.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use libp2p::Multiaddr;
use webmesh_node::driver::Node;
use webmesh_node::inputs::{self, Options, Plan};
use webmesh_node::job::{JobFacts, JobOptions, map_reduce};
use webmesh_node::progress::{Display, Outline, Style};
use webmesh_node::results::{OutputFile, ResultError, ResultStore, Stats};
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
use crate::{compiler, home, out};

/// Where a job's result goes.
enum Output {
    Stdout,
    File(OutputFile),
    /// To the folder of a detached job, where its owner fetches it.
    Kept(Carried),
}

/// Runs a job on an embedded mesh, or through the peers that were named.
pub(crate) async fn run(args: RunArgs, stop: &Stop) -> Result<(), CliError> {
    if !args.bootstrap.is_empty() {
        return submit(args.job, args.bootstrap, None, stop).await;
    }
    let data_dir = home::data_dir(args.job.data.clone())?;
    let source = read_source(&args.job.source)?;
    let start = async {
        let compiler = compiler::start(&data_dir).await?;
        Mesh::embedded(args.peers.get(), args.threads.map(usize::from), &data_dir, compiler).await
    };
    let mesh = interruptible(stop, start).await?;
    carry_through(&args.job, mesh, source, &data_dir, None, stop).await
}

/// Runs a job through a mesh that exists; with `carried`, as the carrier of a detached job.
pub(crate) async fn submit(
    job: JobArgs,
    bootstrap: Vec<Multiaddr>,
    carried: Option<Carried>,
    stop: &Stop,
) -> Result<(), CliError> {
    let source = read_source(&job.source)?;
    let data_dir = home::data_dir(job.data.clone())?;
    let mesh = interruptible(stop, Mesh::join(bootstrap, &data_dir)).await?;
    carry_through(&job, mesh, source, &data_dir, carried, stop).await
}

async fn carry_through(
    args: &JobArgs,
    mesh: Mesh,
    source: Bytes,
    data_dir: &Path,
    carried: Option<Carried>,
    stop: &Stop,
) -> Result<(), CliError> {
    let display = Arc::new(match &carried {
        Some(carried) => carried.display()?,
        None => Display::new(Style::of_stderr(args.json)),
    });
    let outcome = match interruptible(stop, prepare(args, &mesh, source, data_dir, carried, &display)).await {
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

/// A job that is ready to be submitted.
struct Job {
    manifest: Manifest,
    key: Keypair,
    outline: Outline,
    output: Output,
}

async fn prepare(
    args: &JobArgs,
    mesh: &Mesh,
    source: Bytes,
    data_dir: &Path,
    carried: Option<Carried>,
    display: &Arc<Display>,
) -> Result<Job, CliError> {
    // The output is opened first: better to hear now than after an hour that it cannot be written.
    let output = match (carried, &args.output) {
        (Some(carried), _) => Output::Kept(carried),
        (None, Some(path)) => Output::File(OutputFile::create(path)?),
        (None, None) => Output::Stdout,
    };
    let name = args.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    display.phase(&format!("compiling {name} and reading the input"));
    let compiled = async {
        let compilers = mesh.compilers().await;
        Ok(compile(&mesh.home().node, compilers, &name, source, display).await?)
    };
    let (plan, module) = tokio::try_join!(plan_inputs(args, data_dir, display), compiled)?;
    let outline = Outline::new(&name, &plan);
    display.outline(outline.clone());
    let host = &mesh.home().host;
    host.put(&module.hash, &module.bytes).map_err(|why| CliError::Failed(why.to_string()))?;
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
    Ok(Job { manifest: map_reduce(&options, facts), key: home::owner_key(data_dir)?, outline, output })
}

async fn plan_inputs(args: &JobArgs, data_dir: &Path, display: &Arc<Display>) -> Result<Plan, CliError> {
    let options = Options {
        chunk: args.chunk.as_u64(),
        whole_files: args.whole_files,
        docs_per_task: args.docs_per_task,
        numbers: args.tasks.unwrap_or(inputs::NUMBERS),
        spool_dir: data_dir.join("spool"),
        threads: cores(),
    };
    let paths = args.inputs.clone();
    let display = display.clone();
    let planned =
        tokio::task::spawn_blocking(move || inputs::plan(&paths, &options, &|planned| display.reading(planned))).await;
    Ok(planned.map_err(|e| CliError::Failed(format!("reading the inputs ended in a panic: {e}")))??)
}

impl Job {
    /// Submits the job and sees it through; a `stop` on the way cancels it.
    async fn run(mut self, mesh: &Mesh, display: &Display, stop: &Stop) -> Result<(), CliError> {
        let job = self.follow(&mesh.home().node, display, stop).await?;
        display.phase("merging the result");
        let results = mesh.home().host.take_results(job);
        let results =
            results.ok_or_else(|| CliError::Failed(format!("job {job} is done, but its result is not here")))?;
        if let Some(stats) = write(results, self.output, stop).await? {
            display.written(stats);
        }
        Ok(())
    }

    /// Submits the job and follows it until it is done.
    async fn follow(&mut self, node: &Node, display: &Display, stop: &Stop) -> Result<JobId, CliError> {
        let named = |job| match &mut self.output {
            Output::Kept(carried) => carried.name(job).map_err(|why| why.to_string()),
            _ => Ok(()),
        };
        let shown = (display, &self.outline);
        Ok(submit::follow(node, self.manifest.clone(), &self.key, shown, stop.told(), named).await?)
    }
}

/// Merges the results into the output; `None` if its reader has seen enough.
async fn write(results: ResultStore, output: Output, stop: &Stop) -> Result<Option<Stats>, CliError> {
    let file = match output {
        Output::Stdout => {
            return match merge(results, io::stdout(), stop).await {
                Err(CliError::Results(ResultError::Write(why))) => out::unless_closed(Err(why)),
                merged => merged.map(Some),
            };
        }
        Output::File(file) => file,
        Output::Kept(carried) => carried.result()?,
    };
    let stats = merge(results, file.writer()?, stop).await?;
    file.finish()?;
    Ok(Some(stats))
}

async fn merge(results: ResultStore, out: impl Write + Send + 'static, stop: &Stop) -> Result<Stats, CliError> {
    let mut out = UntilTold { out, stop: stop.clone() };
    let merging = tokio::task::spawn_blocking(move || results.merge(&mut out));
    let merged = async {
        Ok(merging.await.map_err(|e| CliError::Failed(format!("writing the result ended in a panic: {e}")))??)
    };
    interruptible(stop, merged).await
}

/// A writer on a thread that nobody can interrupt, which ends at the first signal by itself.
struct UntilTold<W> {
    out: W,
    stop: Stop,
}

impl<W: Write> Write for UntilTold<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.is_told() {
            return Err(io::Error::other("interrupted"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
