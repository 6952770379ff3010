//! State shared by a job's handle and the task that runs the job.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use webmesh_protocol::JobId;

use super::error::JobError;
use crate::progress::Reporter;

/// State shared by a job's handle and the task that runs the job.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) reporter: Arc<Reporter>,
    pub(super) cancelled: Cancelled,
    id: Arc<OnceLock<JobId>>,
}

/// Cancellation flag of a job: set by its handle, also when the handle is dropped.
#[derive(Clone)]
pub(super) struct Cancelled(watch::Receiver<bool>);

impl Link {
    pub(super) fn new(reporter: Arc<Reporter>, cancelled: watch::Receiver<bool>, id: Arc<OnceLock<JobId>>) -> Self {
        Self { reporter, cancelled: Cancelled(cancelled), id }
    }

    /// Sets the job's id, once.
    pub(super) fn named(&self, job: JobId) {
        // Already set for a resumed job, whose id is known before its announcement.
        let _ = self.id.set(job);
    }

    /// The job's id; `None` until it is set.
    pub(super) fn id(&self) -> Option<JobId> {
        self.id.get().copied()
    }

    /// Runs `work`, but drops it when the job is cancelled.
    pub(super) async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, JobError> {
        tokio::select! {
            done = work => Ok(done),
            () = self.cancelled.wait() => Err(JobError::Interrupted),
        }
    }
}

impl Cancelled {
    /// Whether the job is cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the job is cancelled.
    pub(super) async fn wait(&self) {
        if self.0.clone().wait_for(|cancelled| *cancelled).await.is_err() {
            // The handle was dropped without cancelling: the job was abandoned.
            std::future::pending().await
        }
    }
}
