//! A job that this process runs: starts or resumes it, follows it to its end, and writes its result.

use std::path::PathBuf;

use webmesh_node::driver::Node;
use webmesh_node::job_folder::JobFolder;
use webmesh_node::progress::{Display, Outline, Style};
use webmesh_node::results::{Checksum, ResultStore, Stats};
use webmesh_node::signals::Stop;
use webmesh_node::submit::{self, Begin, FollowError};
use webmesh_protocol::JobId;
use webmesh_protocol::sign::Keypair;

use crate::detached::Carried;
use crate::error::CliError;
use crate::mesh::Mesh;
use crate::output::{self, Output};

/// The destination of a job's result.
pub(crate) enum Receiver {
    /// The user's file or standard output.
    User(Output),
    /// The folder of a detached job, where its owner fetches it.
    Folder(Carried),
}

impl Receiver {
    /// The display of the job's progress.
    pub(crate) fn display(&self, json: bool) -> Result<Display, CliError> {
        match self {
            Self::Folder(carried) => carried.display(),
            Self::User(_) => Ok(Display::new(Style::of_stderr(json))),
        }
    }

    /// The file that the result is written to, which must not be one of the job's inputs.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::User(output) => output.path(),
            Self::Folder(_) => None,
        }
    }

    /// Merges the results into it; `None` if the reader of standard output has closed it.
    pub(crate) async fn write(self, results: ResultStore, stop: &Stop) -> Result<Option<Stats>, CliError> {
        match self {
            Self::User(output) => output.write(results, stop).await,
            Self::Folder(carried) => {
                let (file, sum) = (carried.result()?, Checksum::default());
                let stats = output::merge(results, sum.writer(file.writer()?), stop).await?;
                carried.seal(&sum)?;
                file.finish()?;
                Ok(Some(stats))
            }
        }
    }
}

/// The folder from which the job can be resumed if this process is killed. Removed when the user ends the job.
pub(crate) struct Kept {
    folder: Option<JobFolder>,
    stop: Stop,
}

impl Kept {
    pub(crate) fn new(folder: JobFolder, stop: &Stop) -> Self {
        Self { folder: Some(folder), stop: stop.clone() }
    }

    /// Removes the folder: the job cannot be resumed any more.
    pub(crate) fn discard(&mut self) {
        if let Some(Err(why)) = self.folder.take().map(JobFolder::remove) {
            tracing::warn!("cannot remove the folder of the job: {why}");
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.stop.is_told() {
            self.discard();
        }
    }
}

/// A job that is ready to start.
pub(crate) struct Job {
    pub(crate) begin: Begin,
    pub(crate) key: Keypair,
    pub(crate) outline: Outline,
    pub(crate) receiver: Receiver,
    pub(crate) kept: Kept,
}

impl Job {
    /// Runs the job to its end and writes its result; `stop` cancels it.
    pub(crate) async fn run(mut self, mesh: &Mesh, display: &Display, stop: &Stop) -> Result<(), CliError> {
        let job = match self.follow(&mesh.home().node, display, stop).await {
            Ok(job) => job,
            Err(why) => {
                // All other errors mean that the job has ended.
                if !matches!(why, FollowError::Gone) {
                    self.kept.discard();
                }
                return Err(why.into());
            }
        };
        let results = mesh.home().host.take_results(job);
        let results = results
            .ok_or_else(|| CliError::Failed(format!("job {job} is done, but its result is missing on this machine")))?;
        write(job, results, self.receiver, self.kept, display, stop).await
    }

    /// Starts the job and follows it until it is done.
    async fn follow(&mut self, node: &Node, display: &Display, stop: &Stop) -> Result<JobId, FollowError> {
        let told = |job| match &mut self.receiver {
            Receiver::Folder(carried) => carried.name(job).map_err(|why| why.to_string()),
            Receiver::User(_) => Ok(()),
        };
        let begin = std::mem::replace(&mut self.begin, Begin::Resumed(JobId([0; 32])));
        submit::follow(node, begin, &self.key, (display, &self.outline), stop.told(), told).await
    }
}

/// Writes the result of a job that is done, then removes the job's folder.
pub(crate) async fn write(
    job: JobId,
    results: ResultStore,
    receiver: Receiver,
    mut kept: Kept,
    display: &Display,
    stop: &Stop,
) -> Result<(), CliError> {
    display.phase("merging the result");
    let option = if matches!(receiver, Receiver::User(_)) { " -o FILE" } else { "" };
    let stats = receiver.write(results, stop).await.map_err(|why| match why {
        CliError::Interrupted => why,
        why => {
            let begins = &job.to_string()[..8];
            CliError::Failed(format!("{why}; the job is done, and `webmesh resume {begins}{option}` writes its result"))
        }
    })?;
    if let Some(stats) = stats {
        display.written(stats);
    }
    kept.discard();
    Ok(())
}
