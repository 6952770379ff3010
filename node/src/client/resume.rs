//! Resumes a job whose process was killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use libp2p::Multiaddr;
use webmesh_protocol::JobId;
use webmesh_protocol::decisions::State;
use webmesh_protocol::io::Resumption;
use webmesh_protocol::manifest::Inputs;
use webmesh_protocol::message::Outcome;

use super::error::JobError;
use super::link::Link;
use super::mesh::{Home, Mesh};
use super::prepare::{Ready, owner_key};
use super::receiver::Receiver;
use super::result::{JobResult, Kept, Place, Writing};
use crate::inputs::{self, Plan};
use crate::job_folder::{self, JobFolder, Loaded, Origin, Record};
use crate::net::parse_address;
use crate::peer::ResumedJob;
use crate::platform::{self, FileList};
use crate::progress::{Outline, Reporter};
use crate::store::source::BlobSource;
use crate::submit::Begin;

/// Maximum number of files that an error names; the others are counted.
const NAMED: usize = 20;

/// Resumes the job of a folder with a new peer, which leaves when the job ends.
pub(super) async fn resume(
    folder: JobFolder,
    bootstrap: Vec<Multiaddr>,
    receiver: Box<dyn Receiver>,
    link: Link,
) -> Result<JobResult, JobError> {
    let (begun, job, data_dir) = (Instant::now(), folder.job(), folder.data_dir().to_owned());
    link.named(job);
    let loading = tokio::task::spawn_blocking(move || (folder.load(), folder));
    let (loaded, folder) = loading.await.map_err(|why| JobError::Panicked("reading the job's folder", why))?;
    let loaded = loaded?;
    let kept = Kept::new(Some(folder), &link);
    let mut writing = Writing { receiver, place: Place::Elsewhere, kept, begun };
    report_damage(&loaded, &link.reporter);
    let Loaded { record, state, results, lost, module, files, .. } = loaded;
    match state.outcome() {
        None => {}
        Some(Outcome::Done) if lost.is_empty() => return writing.write(job, results, &link).await,
        Some(Outcome::Done) => return Err(JobError::Damaged { job }),
        Some(outcome) => {
            let why = match outcome {
                Outcome::Failed(why) => format!("it failed: {why}"),
                _ => "it was cancelled".to_owned(),
            };
            writing.kept.discard();
            return Err(JobError::Over { job, why });
        }
    }
    let name = &state.manifest().name;
    link.reporter.phase(&format!("resuming {name} {}", job.short()));
    let planning = plan_again(&record, &state, files, &link.reporter, writing.receiver.path());
    let plan = link.unless_cancelled(planning).await??;
    let outline = Outline::new(name, &plan);
    link.reporter.outline(outline.clone());
    let key = owner_key(data_dir.clone()).await?;
    let resumption = Resumption { state, key: key.clone(), lost };
    let inputs = plan.source.map(|source| source as Arc<dyn BlobSource>);
    let home = Home::resuming(record.home(), ResumedJob { resumption, module, inputs, results });
    let mesh = link.unless_cancelled(find_mesh(bootstrap, &record.origin, &data_dir, home)).await??;
    let ready = Ready { begin: Begin::Resumed(job), key, outline, served: Vec::new(), writing };
    let outcome = ready.run(mesh.home(), &link).await;
    // No more events follow: a display need not wait for the goodbyes.
    link.reporter.end();
    mesh.leave().await;
    outcome
}

/// Joins or starts the mesh that the job was submitted to; `bootstrap` overrides its recorded addresses.
async fn find_mesh(bootstrap: Vec<Multiaddr>, origin: &Origin, data_dir: &Path, home: Home) -> Result<Mesh, JobError> {
    let bootstrap = match origin {
        _ if !bootstrap.is_empty() => bootstrap,
        Origin::Embedded { peers, threads } => {
            let threads = threads.map(|threads| threads as usize);
            // No compiler: the job is compiled already.
            return Ok(Mesh::embedded(*peers as usize, threads, data_dir, None, home).await?);
        }
        Origin::Mesh(bootstrap) => {
            let bootstrap: Result<Vec<_>, _> = bootstrap.iter().map(|address| parse_address(address)).collect();
            bootstrap.map_err(|why| JobError::Record(why.to_string()))?
        }
    };
    Ok(Mesh::join(bootstrap, data_dir, home).await?)
}

/// Reads the inputs again.
///
/// # Errors
/// The inputs do not give the same tasks as before.
async fn plan_again(
    record: &Record,
    state: &State,
    files: FileList,
    reporter: &Arc<Reporter>,
    output: Option<PathBuf>,
) -> Result<Plan, JobError> {
    let manifest = state.manifest().clone();
    let options = inputs::Options { threads: platform::cores(), output, ..record.cutting.options() };
    if manifest.inputs == Inputs::Numbers {
        return Ok(inputs::plan_numbers(&inputs::Options { numbers: manifest.stages[0].tasks, ..options })?);
    }
    let changes = record.changes();
    if !changes.lost.is_empty() {
        return Err(changed(state.job(), [changes.lost, changes.touched].concat()));
    }
    let reporter = reporter.clone();
    let planning =
        tokio::task::spawn_blocking(move || inputs::plan_again(files, &options, &|planned| reporter.reading(planned)));
    let plan = planning.await.map_err(|why| JobError::Panicked("reading the inputs", why))??;
    if plan.inputs == manifest.inputs {
        return Ok(plan);
    }
    let mut names = changes.touched;
    if names.is_empty() {
        names.push("one or more files whose sizes and times are unchanged".to_owned());
    }
    Err(changed(state.job(), names))
}

fn changed(job: JobId, mut names: Vec<String>) -> JobError {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    JobError::InputsChanged { job, names }
}

/// Reports damage to the job's files and what must be computed again because of it.
fn report_damage(loaded: &Loaded, reporter: &Reporter) {
    let done: u32 = job_folder::stages(&loaded.state).iter().map(|(done, _)| done).sum();
    if let Some(cut) = &loaded.cut {
        let all = done + cut.tasks;
        reporter.note(&format!(
            "the job's log was damaged and has been truncated at entry {} ({}). It still has {done} of at least {all} \
             finished tasks; the others will run again, unless peers still hold their output",
            cut.batches, cut.why
        ));
    }
    let lost: u32 = loaded.lost.iter().map(|run| run.len).sum();
    if lost > 0 {
        reporter.note(&format!("{lost} stored results of the job are damaged or missing and will be computed again"));
    }
}
