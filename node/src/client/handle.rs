//! The handle of a submitted job.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use webmesh_protocol::JobId;

use super::error::JobError;
use super::link::Link;
use super::result::JobResult;
use crate::progress::{ProgressEvent, Reporter};
use crate::submit::FollowError;

/// Number of events buffered for a slow reader; beyond it, the oldest are dropped.
const EVENTS: usize = 1024;

/// A submitted job. Dropping the handle cancels the job.
pub struct JobHandle {
    control: Control,
    /// All events since the start, for the first subscriber.
    first: Mutex<Option<broadcast::Receiver<ProgressEvent>>>,
    /// Never read; later subscribers are made from it.
    later: broadcast::Receiver<ProgressEvent>,
    task: JoinHandle<Result<JobResult, JobError>>,
    is_abandoned: bool,
}

/// Cancels a job and waits for its end.
#[derive(Clone)]
pub(super) struct Control {
    cancelled: Arc<watch::Sender<bool>>,
    /// Closed once the job has ended.
    ended: watch::Receiver<()>,
    id: Arc<OnceLock<JobId>>,
}

impl JobHandle {
    /// Spawns `work` on its own task.
    pub(super) fn start<F>(work: impl FnOnce(Link) -> F) -> Self
    where
        F: Future<Output = Result<JobResult, JobError>> + Send + 'static,
    {
        let (sender, first) = broadcast::channel(EVENTS);
        let later = sender.subscribe();
        // An error only means that there are no subscribers.
        let reporter = Arc::new(Reporter::new(move |event| drop(sender.send(event))));
        let (cancelled, is_cancelled) = watch::channel(false);
        let (alive, ended) = watch::channel(());
        let id = Arc::new(OnceLock::new());
        let link = Link::new(reporter.clone(), is_cancelled, id.clone());
        let work = work(link);
        let task = tokio::spawn(async move {
            let outcome = work.await;
            // After an error, another thread may still be reading inputs; its progress must no longer be reported.
            reporter.end();
            drop(alive);
            outcome
        });
        let control = Control { cancelled: Arc::new(cancelled), ended, id };
        Self { control, first: Mutex::new(Some(first)), later, task, is_abandoned: false }
    }

    pub(super) fn control(&self) -> Control {
        self.control.clone()
    }

    /// The job's id; `None` until the job is announced.
    pub fn id(&self) -> Option<JobId> {
        self.control.id.get().copied()
    }

    /// The job's progress events: the first call returns them from the job's start, later calls from the time of the
    /// call. The stream ends with the job. A slow reader misses the oldest events.
    pub fn events(&self) -> Events {
        // A panic while the lock was held leaves the value usable.
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Events(first.unwrap_or_else(|| self.later.resubscribe()))
    }

    /// Waits for the job to end and returns its result.
    ///
    /// # Errors
    /// [`JobError`]: why there is no result.
    pub async fn result(mut self) -> Result<JobResult, JobError> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(why) if why.is_panic() => Err(JobError::Panicked("the job", why)),
            // The runtime is shutting down.
            Err(_) => Err(FollowError::Gone.into()),
        }
    }

    /// Drops the handle without cancelling the job, for a process that is about to exit: as after a kill, a job with a
    /// data folder can be resumed. Do not call [`Client::leave`](super::Client::leave) afterwards: it would cancel the
    /// job.
    pub fn abandon(mut self) {
        self.is_abandoned = true;
    }

    /// Cancels the job and waits until it has ended. It may have ended before, so [`result`](Self::result) says how.
    pub async fn cancel(&self) {
        self.control.stop();
        self.control().ended().await;
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        if !self.is_abandoned {
            self.control.stop();
        }
    }
}

impl Control {
    /// Requests cancellation of the job.
    pub(super) fn stop(&self) {
        self.cancelled.send_replace(true);
    }

    /// Whether the job has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Waits for the job to end.
    pub(super) async fn ended(mut self) {
        while self.ended.changed().await.is_ok() {}
    }
}

/// The event stream of a job; see [`JobHandle::events`].
pub struct Events(broadcast::Receiver<ProgressEvent>);

impl Events {
    /// Waits for the next event; `None` once the job has ended.
    pub async fn next(&mut self) -> Option<ProgressEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
