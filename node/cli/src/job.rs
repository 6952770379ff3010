//! Shows the progress of a job that this process runs, and writes its result.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

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
    User {
        output: Output,
        /// Shows the job's progress, perhaps on the terminal that the result goes to.
        display: Arc<Display>,
    },
    /// The folder of a detached job, from which the user fetches it with `webmesh results`.
    Folder(Carried),
}

/// Where a job's progress is shown.
pub(crate) struct Shown {
    display: Arc<Display>,
    /// Whether this process is the carrier of a detached job; the display then writes to its log.
    is_detached: bool,
}

impl Destination {
    /// The user's output, with progress on standard error.
    pub(crate) fn user(output: Output, json: bool) -> Self {
        Self::User { output, display: Arc::new(Display::new(Style::of_stderr(json))) }
    }

    /// Where the job's progress is shown.
    pub(crate) fn shown(&self) -> Result<Shown, CliError> {
        let display = match self {
            Self::Folder(carried) => Arc::new(carried.display()?),
            Self::User { display, .. } => display.clone(),
        };
        Ok(Shown { display, is_detached: self.is_detached() })
    }
}

impl Receiver for Destination {
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::User { output, .. } => output.path(),
            Self::Folder(_) => None,
        }
    }

    fn is_detached(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    fn named(&mut self, job: JobId) -> Result<(), String> {
        match self {
            Self::Folder(carried) => carried.name(job).map_err(|why| why.to_string()),
            Self::User { .. } => Ok(()),
        }
    }

    fn write(self: Box<Self>, results: Results) -> Result<Option<Stats>, Box<dyn Error + Send + Sync>> {
        match *self {
            Self::User { output, display } => Ok(output.write(results, &display)?),
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

/// Shows a job's progress until it ends. A `stop` signal cancels the job, except that SIGTERM stops the carrier of a
/// detached job without cancelling the job, which can then be resumed: the machine may just be shutting down.
pub(crate) async fn show_until_end(job: JobHandle, shown: Shown, stop: &Stop) -> Result<(), CliError> {
    let Shown { display, is_detached } = shown;
    let mut events = job.events();
    let show = async {
        while let Some(event) = events.next().await {
            display.show(&event);
        }
    };
    let cancel = async {
        stop.first_signal().await;
        // A job without an id cannot be resumed.
        if is_detached && stop.is_by_service() && job.id().is_some() {
            return;
        }
        job.cancel().await;
        // The remaining events show when the job has ended.
        std::future::pending::<()>().await;
    };
    let is_abandoned = tokio::select! {
        () = show => false,
        () = cancel => true,
    };
    // Removes the bars before the outcome is printed.
    display.clear();
    if is_abandoned {
        job.abandon();
        return Err(CliError::Stopped);
    }
    match job.result().await {
        Ok(_) => Ok(()),
        Err(JobError::Interrupted) => Err(CliError::Interrupted),
        Err(JobError::Write { job, why }) => {
            let (begins, option) = (job.short(), if is_detached { "" } else { " -o FILE" });
            Err(CliError::Failed(format!(
                "{why}; the job is done, and `webmesh resume {begins}{option}` writes its result"
            )))
        }
        Err(why) => Err(why.into()),
    }
}
