//! `webmesh resume`: continues a job whose process was killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use webmesh_node::inputs::{self, Plan};
use webmesh_node::job_folder::{self, JobFolder, Loaded, Origin, Record};
use webmesh_node::net::parse_address;
use webmesh_node::peer::ResumedJob;
use webmesh_node::progress::{Display, Outline};
use webmesh_node::signals::Stop;
use webmesh_node::store::source::BlobSource;
use webmesh_node::submit::Begin;
use webmesh_protocol::JobId;
use webmesh_protocol::decisions::State;
use webmesh_protocol::io::Resumption;
use webmesh_protocol::manifest::Inputs;
use webmesh_protocol::message::Outcome;

use crate::args::ResumeArgs;
use crate::detached::{self, Carried};
use crate::error::{CliError, interruptible};
use crate::job::{self, Job, Kept, Receiver};
use crate::mesh::{Home, Mesh, cores};
use crate::output::Output;
use crate::{ask, home, out};

/// Number of files that an error names; the others are counted.
const NAMED: usize = 20;

/// Resumes a job, lists the jobs that can be resumed, or removes the files of one. With `carry`, this process is the
/// carrier of a detached job, whose folder in `detached` it is.
pub(crate) async fn resume(args: ResumeArgs, carry: Option<PathBuf>, stop: &Stop) -> Result<(), CliError> {
    let data_dir = home::data_dir(args.data.clone())?;
    job_folder::sweep(&data_dir);
    let Some(wanted) = &args.job else { return list(&data_dir, args.json) };
    let folder = JobFolder::find(&data_dir, wanted)?;
    let job = folder.job();
    if args.discard {
        folder.remove()?;
        out::complain(&format!("removed the files of job {job}"));
        return Ok(());
    }
    let record = folder.record()?;
    let receiver = match carry {
        Some(folder) => Receiver::Folder(Carried::take(folder)?),
        None if record.detached => {
            if args.output.is_some() {
                return Err(CliError::Usage(format!(
                    "job {job} was submitted with --detach and continues in the background: leave out -o, and fetch its \
                     result with `webmesh results {} --wait -o FILE`",
                    begins(&job)
                )));
            }
            drop(folder);
            return detached::restart(&data_dir, &job, args.json, stop).await;
        }
        None => {
            let path = args.output.clone().or_else(|| record.output());
            Receiver::User(Output::open(path.as_deref(), stop).await?)
        }
    };
    let display = Arc::new(receiver.display(args.json)?);
    let outcome = go_on(args, &data_dir, folder, receiver, &display, stop).await;
    display.end();
    outcome
}

async fn go_on(
    args: ResumeArgs,
    data_dir: &Path,
    folder: JobFolder,
    receiver: Receiver,
    display: &Arc<Display>,
    stop: &Stop,
) -> Result<(), CliError> {
    let loaded = folder.load()?;
    let job = folder.job();
    let kept = Kept::new(folder, stop);
    tell_damage(&loaded, display);
    let Loaded { record, state, results, lost, module, files, .. } = loaded;
    match state.outcome() {
        None => {}
        Some(Outcome::Done) if lost.is_empty() => {
            return job::write(job, results, receiver, kept, display, stop).await;
        }
        Some(Outcome::Done) => {
            return Err(CliError::Failed(format!(
                "job {job} is done, but its result on this disk is damaged: submit it again, and remove the files of this \
                 one with `webmesh resume {} --discard`",
                begins(&job)
            )));
        }
        Some(outcome) => {
            let why = match outcome {
                Outcome::Failed(why) => format!("it failed: {why}"),
                _ => "it was cancelled".to_owned(),
            };
            let mut kept = kept;
            kept.discard();
            return Err(CliError::Failed(format!("job {job} has ended: {why}")));
        }
    }
    display.phase(&format!("resuming {} {}", state.manifest().name, begins(&job)));
    let planning = plan_again(&record, &state, files, display, receiver.path());
    let plan = interruptible(stop, planning).await?;
    let outline = Outline::new(&state.manifest().name, &plan);
    display.outline(outline.clone());
    let key = home::owner_key(data_dir)?;
    let resumption = Resumption { state, key: key.clone(), lost };
    let inputs = plan.source.map(|source| source as Arc<dyn BlobSource>);
    let home = Home::resuming(record.home(), ResumedJob { resumption, module, inputs, results });
    let mesh = interruptible(stop, mesh(args, &record.origin, data_dir, home)).await?;
    let job = Job { begin: Begin::Resumed(job), key, outline, receiver, kept };
    let outcome = job.run(&mesh, display, stop).await;
    display.end();
    mesh.leave().await;
    outcome
}

/// Joins or starts the mesh that the job was submitted to; `--bootstrap` gives other addresses.
async fn mesh(args: ResumeArgs, origin: &Origin, data_dir: &Path, home: Home) -> Result<Mesh, CliError> {
    match origin {
        Origin::Embedded { peers, threads } if args.bootstrap.is_empty() => {
            let threads = threads.map(|threads| threads as usize);
            Mesh::embedded(*peers as usize, threads, data_dir, None, home).await
        }
        Origin::Mesh(bootstrap) if args.bootstrap.is_empty() => {
            let bootstrap: Result<Vec<_>, _> = bootstrap.iter().map(|address| parse_address(address)).collect();
            let bootstrap = bootstrap.map_err(|why| CliError::Failed(format!("the job's record is damaged: {why}")))?;
            Mesh::join(bootstrap, data_dir, home).await
        }
        _ => Mesh::join(args.bootstrap, data_dir, home).await,
    }
}

/// Reads the inputs again.
///
/// # Errors
/// If they do not give the same tasks as before.
async fn plan_again(
    record: &Record,
    state: &State,
    files: webmesh_node::platform::FileList,
    display: &Arc<Display>,
    output: Option<PathBuf>,
) -> Result<Plan, CliError> {
    let manifest = state.manifest().clone();
    let options = inputs::Options { threads: cores(), output, ..record.cutting.options() };
    if manifest.inputs == Inputs::Numbers {
        return Ok(inputs::plan_numbers(&inputs::Options { numbers: manifest.stages[0].tasks, ..options })?);
    }
    let changes = record.changes();
    if !changes.lost.is_empty() {
        return Err(changed(&state.job(), [changes.lost, changes.touched].concat()));
    }
    let shown = display.clone();
    let planning =
        tokio::task::spawn_blocking(move || inputs::plan_again(files, &options, &|planned| shown.reading(planned)));
    let plan = planning.await.map_err(|e| CliError::Failed(format!("reading the inputs panicked: {e}")))??;
    if plan.inputs == manifest.inputs {
        return Ok(plan);
    }
    let mut names = changes.touched;
    if names.is_empty() {
        names.push("one or more files whose sizes and times are unchanged".to_owned());
    }
    Err(changed(&state.job(), names))
}

fn changed(job: &JobId, mut names: Vec<String>) -> CliError {
    let begins = begins(job);
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    CliError::Failed(format!(
        "the inputs of job {begins} have changed since it was submitted:\n  {}\nput them back as they were and run \
         `webmesh resume {begins}` again, or submit the job again and remove the files of this one with \
         `webmesh resume {begins} --discard`",
        names.join("\n  ")
    ))
}

/// Reports damage to the job's files, and what has to be computed again because of it.
fn tell_damage(loaded: &Loaded, display: &Display) {
    let done: u32 = job_folder::stages(&loaded.state).iter().map(|(done, _)| done).sum();
    if let Some(cut) = &loaded.cut {
        let all = done + cut.tasks;
        display.note(&format!(
            "the job's log was damaged and has been truncated at entry {} ({}). It still has {done} of at least {all} \
             finished tasks; the others are run again, unless peers still hold their output",
            cut.batches, cut.why
        ));
    }
    let lost: u32 = loaded.lost.iter().map(|run| run.len).sum();
    if lost > 0 {
        display.note(&format!("{lost} results of the job are damaged or missing on this disk, and are computed again"));
    }
}

/// Lists the jobs that can be resumed.
fn list(data_dir: &Path, as_json: bool) -> Result<(), CliError> {
    let stopped = job_folder::stopped(data_dir);
    if as_json {
        return out::print(&format!("{}\n", Value::Array(stopped.iter().map(ask::stopped_json).collect())));
    }
    if stopped.is_empty() {
        out::complain("there are no stopped jobs on this machine");
    }
    out::print(&stopped.iter().map(ask::stopped_line).collect::<String>())
}

/// The first 8 characters of a job's id, which suffice to name it.
pub(crate) fn begins(job: &JobId) -> String {
    job.to_string()[..8].to_owned()
}
