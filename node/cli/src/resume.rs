//! `webmesh resume`: resumes a job whose process was killed.

use std::path::{Path, PathBuf};

use serde_json::Value;
use webmesh_node::client::Client;
use webmesh_node::job_folder::{self, JobFolder};
use webmesh_node::signals::Stop;

use crate::args::ResumeArgs;
use crate::detached::{self, Carried};
use crate::error::CliError;
use crate::job::{Destination, show_until_end};
use crate::output::Output;
use crate::{ask, home, out};

/// Resumes a job, lists the jobs that can be resumed, or removes the files of one. With `carry`, the folder of a
/// detached job in `detached`, this process is its carrier.
pub(crate) async fn resume(args: ResumeArgs, carry: Option<PathBuf>, stop: &Stop) -> Result<(), CliError> {
    let data_dir = home::data_dir(args.data.clone())?;
    job_folder::sweep(&data_dir);
    let Some(wanted) = &args.job else { return list(&data_dir, args.json) };
    let folder = JobFolder::find(&data_dir, wanted)?;
    let job = folder.job();
    if args.discard {
        folder.remove()?;
        out::print_to_stderr(&format!("removed the files of job {job}"));
        return Ok(());
    }
    let record = folder.record()?;
    let destination = match carry {
        Some(folder) => Destination::Folder(Carried::take(folder)?),
        None if record.detached => {
            if args.output.is_some() {
                return Err(CliError::Usage(format!(
                    "job {job} was submitted with --detach and resumes in the background: leave out -o, and fetch its \
                     result with `webmesh results {} --wait -o FILE`",
                    job.short()
                )));
            }
            drop(folder);
            return detached::restart(&data_dir, &job, args.json, stop).await;
        }
        None => {
            let path = args.output.clone().or_else(|| record.output());
            Destination::user(Output::open(path.as_deref(), stop).await?, args.json)
        }
    };
    let shown = destination.shown()?;
    let job = Client::resume(folder, args.bootstrap, Box::new(destination));
    show_until_end(job, shown, stop).await
}

/// Lists the jobs that can be resumed.
fn list(data_dir: &Path, as_json: bool) -> Result<(), CliError> {
    let stopped = job_folder::stopped(data_dir);
    if as_json {
        return out::print(&format!("{}\n", Value::Array(stopped.iter().map(ask::stopped_json).collect())));
    }
    if stopped.is_empty() {
        out::print_to_stderr("there are no stopped jobs on this machine");
    }
    out::print(&stopped.iter().map(ask::stopped_line).collect::<String>())
}
