//! A job that this process runs: shows its progress and writes its result.

use std::error::Error;
use std::path::PathBuf;

use webmesh_node::client::{JobError, JobHandle, Receiver, Results};
use webmesh_node::progress::{Display, Style};
use webmesh_node::results::{Checksum, Stats};
use webmesh_node::signals::Stop;
use webmesh_protocol::JobId;

use crate::detached::Carried;
use crate::error::CliError;
use crate::output::Output;

/// The destination of a job's result.
pub(crate) enum Destination {
    /// The user's file or standard output.
    User(Output),
    /// The folder of a detached job, where its owner fetches it.
    Folder(Carried),
}

impl Destination {
    /// The display of the job's progress.
    pub(crate) fn display(&self, json: bool) -> Result<Display, CliError> {
        match self {
            Self::Folder(carried) => carried.display(),
            Self::User(_) => Ok(Display::new(Style::of_stderr(json))),
        }
    }

    /// How `webmesh resume` is told where to write the result.
    pub(crate) fn resume_option(&self) -> &'static str {
        if matches!(self, Self::User(_)) { " -o FILE" } else { "" }
    }
}

impl Receiver for Destination {
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::User(output) => output.path(),
            Self::Folder(_) => None,
        }
    }

    fn is_detached(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    fn named(&mut self, job: JobId) -> Result<(), String> {
        match self {
            Self::Folder(carried) => carried.name(job).map_err(|why| why.to_string()),
            Self::User(_) => Ok(()),
        }
    }

    fn write(self: Box<Self>, results: Results) -> Result<Option<Stats>, Box<dyn Error + Send + Sync>> {
        match *self {
            Self::User(output) => Ok(output.write(results)?),
            Self::Folder(carried) => {
                let (file, sum) = (carried.result()?, Checksum::default());
                let stats = results.merge(sum.writer(file.writer()?))?;
                carried.seal(&sum)?;
                file.finish()?;
                Ok(Some(stats))
            }
        }
    }
}

/// Shows how far a job is until it ends; a `stop` on the way cancels it. `resume_option` is what `webmesh resume` is given to
/// write its result.
pub(crate) async fn see_through(
    job: JobHandle,
    display: Display,
    resume_option: &str,
    stop: &Stop,
) -> Result<(), CliError> {
    let mut events = job.events();
    let show = async {
        while let Some(event) = events.next().await {
            display.show(&event);
        }
    };
    let cancel = async {
        stop.told().await;
        job.cancel().await;
        // What is still to be shown says when it has ended.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = show => {}
        () = cancel => {}
    }
    // Standard error is free for the last word.
    drop(display);
    match job.result().await {
        Ok(_) => Ok(()),
        Err(JobError::Interrupted) => Err(CliError::Interrupted),
        Err(JobError::Write { job, why }) => {
            let begins = &job.to_string()[..8];
            Err(CliError::Failed(format!(
                "{why}; the job is done, and `webmesh resume {begins}{resume_option}` writes its result"
            )))
        }
        Err(why) => Err(why.into()),
    }
}
