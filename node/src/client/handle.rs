//! A job under way.

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

/// Events kept for a slow reader; it then misses the oldest.
const EVENTS: usize = 1024;

/// A job that was submitted. One whose handle is dropped is cancelled.
pub struct JobHandle {
    control: Control,
    /// All events so far, for whoever asks first.
    first: Mutex<Option<broadcast::Receiver<ProgressEvent>>>,
    /// Never read, to subscribe by.
    later: broadcast::Receiver<ProgressEvent>,
    task: JoinHandle<Result<JobResult, JobError>>,
    is_abandoned: bool,
}

/// What ends a job, and tells when it has ended.
#[derive(Clone)]
pub(super) struct Control {
    cancelled: Arc<watch::Sender<bool>>,
    /// Closed once it has ended.
    ended: watch::Receiver<()>,
    id: Arc<OnceLock<JobId>>,
}

impl JobHandle {
    /// Starts `work` on a task of its own.
    pub(super) fn start<F>(work: impl FnOnce(Link) -> F) -> Self
    where
        F: Future<Output = Result<JobResult, JobError>> + Send + 'static,
    {
        let (sender, first) = broadcast::channel(EVENTS);
        let later = sender.subscribe();
        // An error says that nobody reads.
        let reporter = Arc::new(Reporter::new(move |event| drop(sender.send(event))));
        let (cancelled, is_cancelled) = watch::channel(false);
        let (alive, ended) = watch::channel(());
        let id = Arc::new(OnceLock::new());
        let link = Link::new(reporter.clone(), is_cancelled, id.clone());
        let work = work(link);
        let task = tokio::spawn(async move {
            let outcome = work.await;
            // After an error, another thread may still be reading inputs; it must not report its progress any more.
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

    /// The job's id; `None` before it is announced.
    pub fn id(&self) -> Option<JobId> {
        self.control.id.get().copied()
    }

    /// What there is to tell of the job, from its beginning at the first call, from now on at any other. It ends with the
    /// job. A slow reader misses the oldest.
    pub fn events(&self) -> Events {
        // A panic of another holder leaves it usable.
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Events(first.unwrap_or_else(|| self.later.resubscribe()))
    }

    /// Waits for the job's end, and gives its result.
    ///
    /// # Errors
    /// [`JobError`]: there is none.
    pub async fn result(mut self) -> Result<JobResult, JobError> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(why) if why.is_panic() => Err(JobError::Panicked("the job", why)),
            // The runtime is ending.
            Err(_) => Err(FollowError::Gone.into()),
        }
    }

    /// Forgets the job without cancelling it, for a process that is about to exit: as if it were killed, a job that is kept
    /// in a data folder can be resumed from it. The client must not [leave](super::Client::leave) then, which would cancel
    /// the job.
    pub fn abandon(mut self) {
        self.is_abandoned = true;
    }

    /// Cancels the job. Ready when it has ended, which it may have done before; [`result`](Self::result) says how.
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
    /// Nobody wants the job any more.
    pub(super) fn stop(&self) {
        self.cancelled.send_replace(true);
    }

    /// Whether the job has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Waits for the job's end.
    pub(super) async fn ended(mut self) {
        while self.ended.changed().await.is_ok() {}
    }
}

/// The events of a job, see [`JobHandle::events`].
pub struct Events(broadcast::Receiver<ProgressEvent>);

impl Events {
    /// The next event; `None` once the job has ended.
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
