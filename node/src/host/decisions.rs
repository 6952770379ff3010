//! The logs of this peer's own jobs, written on a thread of their own, in the order in which batches come.

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

/// Orders that wait for the disk. The engine has one batch of each job written at a time, and a last one when it ends.
const WAITING: usize = 3 * limits::JOBS;

/// Sync interval of batches that need not be synced at once: a power cut costs at most this much of a job.
const SYNC_AFTER: Duration = Duration::from_secs(1);

/// The way to the logs. The thread starts with the first batch: most peers keep no job of their own.
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

    /// Appends a batch, and syncs it where it is `binding`; the answer is [`Event::Persisted`].
    pub(super) fn append(&mut self, job: JobId, number: u64, bytes: Bytes, binding: bool) {
        let started = match &self.orders {
            Some(orders) => Ok(orders.clone()),
            None => start(self.dir.clone(), self.outputs.clone(), self.sender.clone()),
        };
        let sent = started.map_err(|why| why.to_string()).and_then(|orders| {
            let sent = orders.try_send(Order::Append { job, number, bytes, binding });
            self.orders = Some(orders);
            sent.map_err(|_| "too much waits for the disk".to_owned())
        });
        if let Err(why) = sent {
            let persisted = Event::Persisted { job, number, result: Err(why) };
            // The driver is the one who calls: it takes outputs again once this has returned.
            let sender = self.sender.clone();
            crate::platform::spawn(async move {
                let _ = sender.send(HostOutput::Event(persisted)).await;
            });
        }
    }

    /// A job is over: nothing more is appended.
    pub(super) fn close(&self, job: JobId) {
        if let Some(orders) = &self.orders {
            // Otherwise its file stays open for as long as this peer lives.
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

/// Makes what was written survive the loss of power. That it cannot costs nothing as long as there is power.
fn sync(logs: &mut DecisionLogs, outputs: &Outputs) {
    for job in logs.unsynced() {
        // The results first: the log names them.
        if let Err(why) = outputs.sync(&job).and_then(|()| logs.sync(&job)) {
            tracing::debug!("the log of job {} is not synced: {why}", job.short());
        }
    }
}
