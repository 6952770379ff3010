//! `webmesh run` and `webmesh submit`: from a source and inputs to a result.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;
use webmesh_node::driver::Node;
use webmesh_node::inputs::{self, Options, Plan};
use webmesh_node::job::{JobFacts, JobOptions, map_reduce};
use webmesh_node::progress::{Display, Outline, Style, Traffic};
use webmesh_node::results::{OutputFile, ResultStore, Stats};
use webmesh_node::signals;
use webmesh_protocol::io::{Notice, Submission};
use webmesh_protocol::manifest::BlobRef;
use webmesh_protocol::message::{Failure, Outcome, Request, Response};
use webmesh_protocol::sign::Keypair;
use webmesh_protocol::{Hash, JobId, PeerKey, limits};

use crate::args::RunArgs;
use crate::error::CliError;
use crate::mesh::{Mesh, cores};
use crate::{compiler, home};

/// A compiler that is busy is asked again after so long.
const COMPILER_BUSY: Duration = Duration::from_millis(300);
/// And so often.
const COMPILER_TRIES: u32 = 20;

/// Runs a job on an embedded mesh, or through the peers that were named.
pub(crate) async fn run(args: RunArgs) -> Result<(), CliError> {
    let data_dir = home::data_dir(args.data.clone())?;
    if !args.bootstrap.is_empty() {
        return submit(args).await;
    }
    let source = read_source(&args.source)?;
    let compiler = compiler::start(&data_dir)?;
    let mesh = Mesh::embedded(args.peers.get(), args.threads.map(usize::from), &data_dir, compiler).await?;
    carry_through(args, mesh, source, &data_dir).await
}

/// Runs a job through a mesh that exists.
pub(crate) async fn submit(args: RunArgs) -> Result<(), CliError> {
    if args.bootstrap.is_empty() {
        return Err(CliError::Usage("submit needs --bootstrap ADDR; to run on this machine alone, use `run`".into()));
    }
    let source = read_source(&args.source)?;
    let data_dir = home::data_dir(args.data.clone())?;
    let mesh = Mesh::join(args.bootstrap.clone(), &data_dir).await?;
    carry_through(args, mesh, source, &data_dir).await
}

async fn carry_through(args: RunArgs, mesh: Mesh, source: Bytes, data_dir: &Path) -> Result<(), CliError> {
    let stop = signals::stop();
    tokio::pin!(stop);
    let display = Arc::new(Display::new(Style::of_stderr(args.json)));
    let prepared = tokio::select! {
        prepared = prepare(&args, &mesh, source, data_dir, &display) => prepared,
        () = &mut stop => Err(CliError::Failed("interrupted before the job was submitted".to_owned())),
    };
    let outcome = match prepared {
        Ok(job) => job.run(&mesh, &display, stop).await,
        Err(why) => Err(why),
    };
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
    submission: Submission,
    key: Keypair,
    outline: Outline,
    output: Option<OutputFile>,
    results_dir: PathBuf,
}

async fn prepare(
    args: &RunArgs,
    mesh: &Mesh,
    source: Bytes,
    data_dir: &Path,
    display: &Arc<Display>,
) -> Result<Job, CliError> {
    // The output is opened first: better to hear now than after an hour that it cannot be written.
    let output = args.output.as_deref().map(OutputFile::create).transpose().map_err(failed)?;
    let name = args.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    display.phase(&format!("compiling {name} and reading the input"));
    let compiled = compile(mesh, name.clone(), source, display);
    let (plan, module) = tokio::try_join!(plan_inputs(args, data_dir, display), compiled)?;
    let outline = Outline::new(&name, &plan);
    display.outline(outline.clone());
    let host = &mesh.home().host;
    host.put(&module.hash, &module.bytes).map_err(failed)?;
    if let Some(packs) = &plan.source {
        host.attach(packs.clone());
    }
    let options = JobOptions {
        name: name.chars().take(limits::NAME_BYTES / 4).collect(),
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
    let key = home::owner_key(data_dir)?;
    let submission = Submission { manifest: map_reduce(&options, facts), key: key.clone() };
    Ok(Job { submission, key, outline, output, results_dir: data_dir.join("results") })
}

impl Job {
    /// Submits the job and sees it through; a `stop` on the way cancels it.
    async fn run(
        self,
        mesh: &Mesh,
        display: &Display,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), CliError> {
        let node = &mesh.home().node;
        let mut notices = node.notices();
        node.submit(self.submission).await;
        let (mut submitted, mut stopping) = (None, false);
        let end = loop {
            tokio::select! {
                end = follow(node, &mut notices, display, &mut submitted) => break end?,
                () = &mut stop, if !stopping => {
                    stopping = true;
                    let Some(job) = submitted else {
                        return Err(CliError::Failed("interrupted before the job was announced".to_owned()));
                    };
                    node.cancel(job, self.key.clone()).await;
                }
            }
        };
        let job = match end {
            (job, Outcome::Done, _) => job,
            (_, Outcome::Cancelled, _) => return Err(CliError::Failed("the job was cancelled".to_owned())),
            (_, Outcome::Failed(why), failure) => {
                let why = failure.map_or(why, |failure| explain(&failure, &self.outline));
                return Err(CliError::Failed(format!("the job failed: {why}")));
            }
        };
        display.phase("merging the result");
        let none = || ResultStore::new(self.results_dir.clone(), 0);
        let results = mesh.home().host.take_results(job).unwrap_or_else(none);
        display.written(write(results, self.output).await?);
        Ok(())
    }
}

struct Module {
    hash: Hash,
    bytes: Bytes,
}

async fn plan_inputs(args: &RunArgs, data_dir: &Path, display: &Arc<Display>) -> Result<Plan, CliError> {
    let options = Options {
        chunk: args.chunk.as_u64(),
        whole_files: args.whole_files,
        docs_per_task: args.docs_per_task,
        numbers: args.tasks,
        spool_dir: data_dir.join("spool"),
        threads: cores(),
    };
    let paths = args.inputs.clone();
    let display = display.clone();
    let planned =
        tokio::task::spawn_blocking(move || inputs::plan(&paths, &options, &|planned| display.reading(planned))).await;
    Ok(planned.map_err(|e| CliError::Failed(format!("reading the inputs ended in a panic: {e}")))??)
}

/// Has the source compiled by the first compiler that does it.
async fn compile(mesh: &Mesh, name: String, source: Bytes, display: &Display) -> Result<Module, CliError> {
    let node = &mesh.home().node;
    let mut compilers: Vec<PeerKey> = mesh.compilers().await;
    if mesh.peers.len() > 1 || compilers.is_empty() {
        compilers.insert(0, node.net().peer());
    }
    let mut last = "no peer of the mesh has a compiler; start one with `webmesh node --roles compiler`".to_owned();
    for compiler in compilers {
        for _ in 0..COMPILER_TRIES {
            match node.ask(compiler, Request::Compile { name: name.clone() }, source.clone()).await {
                Ok((Response::Compiled { warnings, .. }, bytes)) => {
                    if !warnings.is_empty() {
                        display.aside(|| eprintln!("{warnings}"));
                    }
                    return Ok(Module { hash: Hash::of(&bytes), bytes });
                }
                Ok((Response::CompileFailed { diagnostics }, _)) => {
                    return Err(CliError::Failed(format!("{name} does not compile:\n{diagnostics}")));
                }
                Ok((Response::Busy, _)) => {
                    last = "the compiler is busy; try again shortly".to_owned();
                    tokio::time::sleep(COMPILER_BUSY).await;
                }
                Ok((Response::Refused(why), _)) => {
                    last = why;
                    break;
                }
                Ok(_) => break,
                Err(why) => {
                    last = format!("compiler {}: {why}", compiler.short());
                    break;
                }
            }
        }
    }
    Err(CliError::Failed(format!("{name} cannot be compiled: {last}")))
}

/// Follows a job to its end.
async fn follow(
    node: &Node,
    notices: &mut broadcast::Receiver<Notice>,
    display: &Display,
    submitted: &mut Option<JobId>,
) -> Result<(JobId, Outcome, Option<Failure>), CliError> {
    loop {
        let notice = match notices.recv().await {
            Ok(notice) => notice,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => {
                return Err(CliError::Failed("this peer ended before its job".to_owned()));
            }
        };
        let counters = node.net().counters();
        let peers = node.net().peers().len() as u32;
        display.traffic(Traffic { peers, sent: counters.bytes_out, received: counters.bytes_in });
        display.notice(&notice);
        match notice {
            Notice::Submitted { job } => *submitted = Some(job),
            Notice::SubmitRefused { why } => return Err(CliError::Usage(why)),
            Notice::Ended { job, outcome, failure } if Some(job) == *submitted => return Ok((job, outcome, failure)),
            Notice::Log(text) => tracing::info!("{text}"),
            _ => {}
        }
    }
}

/// Says which document did it, and how.
fn explain(failure: &Failure, outline: &Outline) -> String {
    let stage = if failure.stage == 0 { "map" } else { "reduce" };
    match outline.input_of(failure) {
        Some(name) => format!("{stage} of {name}: {}", failure.why),
        None => format!("{stage} task {}: {}", failure.task, failure.why),
    }
}

/// Merges the results into the output.
async fn write(results: ResultStore, output: Option<OutputFile>) -> Result<Stats, CliError> {
    let merged = tokio::task::spawn_blocking(move || match output {
        Some(mut file) => {
            let stats = results.merge(&mut file)?;
            file.finish().map_err(failed)?;
            Ok(stats)
        }
        None => {
            let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
            let stats = results.merge(&mut out)?;
            std::io::Write::flush(&mut out).map_err(|e| failed(format!("standard output: {e}")))?;
            Ok(stats)
        }
    });
    merged.await.map_err(|e| CliError::Failed(format!("writing the result ended in a panic: {e}")))?
}

fn failed(why: impl ToString) -> CliError {
    CliError::Failed(why.to_string())
}
