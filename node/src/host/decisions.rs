//! The decision logs of this peer's own jobs, written on a thread of their own, in the order of the batches.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self as std_mpsc, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::io::Event;
use webmesh_protocol::{JobId, limits};

use super::outputs::Outputs;
use crate::advice::for_disk;
use crate::driver::HostOutput;
use crate::store::decisions::DecisionLogs;

/// Queue length of the disk thread. The engine has one batch of each job written at a time, and a last one when it
/// ends.
const WAITING: usize = 3 * limits::JOBS;

/// Sync interval of batches that need not be synced at once: a power failure loses at most this much of a job.
const SYNC_AFTER: Duration = Duration::from_secs(1);

/// Handle of the thread that writes the logs. It starts with the first batch: most peers have no job of their own.
pub(super) struct DecisionThread {
    dir: PathBuf,
    outputs: Arc<Outputs>,
    sender: mpsc::Sender<HostOutput>,
    orders: Option<std_mpsc::SyncSender<Order>>,
}

enum Order {
    Append { job: JobId, number: u64, bytes: Bytes, binding: bool },
    Close(JobId),
}

impl DecisionThread {
    pub(super) fn new(dir: PathBuf, outputs: Arc<Outputs>, sender: mpsc::Sender<HostOutput>) -> Self {
        Self { dir, outputs, sender, orders: None }
    }

    /// Appends a batch, and syncs it if it is `binding`; the answer is [`Event::Persisted`].
    pub(super) fn append(&mut self, job: JobId, number: u64, bytes: Bytes, binding: bool) {
        let started = match &self.orders {
            Some(orders) => Ok(orders.clone()),
            None => start(self.dir.clone(), self.outputs.clone(), self.sender.clone()),
        };
        let sent = started.map_err(|why| why.to_string()).and_then(|orders| {
            let sent = orders.try_send(Order::Append { job, number, bytes, binding });
            self.orders = Some(orders);
            sent.map_err(|_| "the disk cannot keep up with the job's decisions".to_owned())
        });
        if let Err(why) = sent {
            let persisted = Event::Persisted { job, number, result: Err(why) };
            // The caller is the driver, which reads outputs again only after this has returned.
            let sender = self.sender.clone();
            crate::platform::spawn(async move {
                let _ = sender.send(HostOutput::Event(persisted)).await;
            });
        }
    }

    /// Closes the log of a job that has ended.
    pub(super) fn close(&self, job: JobId) {
        if let Some(orders) = &self.orders {
            // Otherwise its file would stay open for as long as this peer runs.
            let _ = orders.try_send(Order::Close(job));
        }
    }
}

fn start(
    dir: PathBuf,
    outputs: Arc<Outputs>,
    sender: mpsc::Sender<HostOutput>,
) -> io::Result<std_mpsc::SyncSender<Order>> {
    let (orders, receiver) = std_mpsc::sync_channel(WAITING);
    thread::Builder::new().name("webmesh-decisions".to_owned()).spawn(move || {
        let mut logs = DecisionLogs::new(dir);
        let mut sync_at = None::<Instant>;
        loop {
            let wait = sync_at.map_or(SYNC_AFTER, |at| at.saturating_duration_since(Instant::now()));
            match receiver.recv_timeout(wait) {
                Ok(Order::Append { job, number, bytes, binding }) => {
                    let path = logs.path(&job);
                    let result = logs.append(job, &bytes, binding).map_err(|why| {
                        format!("{}: {why}; {}", path.display(), for_disk(&why, "choose another folder with --data"))
                    });
                    // Fails only when the driver has ended.
                    let _ = sender.blocking_send(HostOutput::Event(Event::Persisted { job, number, result }));
                    sync_at = sync_at.or_else(|| Some(Instant::now() + SYNC_AFTER));
                }
                Ok(Order::Close(job)) => logs.close(&job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if sync_at.is_some_and(|at| at <= Instant::now()) {
                sync(&mut logs, &outputs);
                sync_at = None;
            }
        }
    })?;
    Ok(orders)
}

/// Syncs what was written. A failure costs nothing unless there is a power failure.
fn sync(logs: &mut DecisionLogs, outputs: &Outputs) {
    for job in logs.unsynced() {
        // The results first: the log refers to them.
        if let Err(why) = outputs.sync(&job).and_then(|()| logs.sync(&job)) {
            tracing::debug!("cannot sync the log of job {}: {why}", job.short());
        }
    }
}
