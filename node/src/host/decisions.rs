//! The logs of this peer's own jobs, written on a thread of their own, in the order in which batches come.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc as std_mpsc;
use std::thread;

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::io::Event;
use webmesh_protocol::{JobId, limits};

use crate::driver::HostOutput;
use crate::store::decisions::DecisionLogs;

/// Orders that wait for the disk. The engine has one batch of each job written at a time, and a last one when it ends.
const WAITING: usize = 3 * limits::JOBS;

/// The way to the logs. The thread starts with the first batch: most peers keep no job of their own.
pub(super) struct DecisionThread {
    dir: PathBuf,
    sender: mpsc::Sender<HostOutput>,
    orders: Option<std_mpsc::SyncSender<Order>>,
}

enum Order {
    Append { job: JobId, number: u64, bytes: Bytes },
    Close(JobId),
}

impl DecisionThread {
    pub(super) fn new(dir: PathBuf, sender: mpsc::Sender<HostOutput>) -> Self {
        Self { dir, sender, orders: None }
    }

    /// Appends a batch; the answer is [`Event::Persisted`].
    pub(super) fn append(&mut self, job: JobId, number: u64, bytes: Bytes) {
        let started = match &self.orders {
            Some(orders) => Ok(orders.clone()),
            None => start(self.dir.clone(), self.sender.clone()),
        };
        let sent = started.map_err(|why| why.to_string()).and_then(|orders| {
            let sent = orders.try_send(Order::Append { job, number, bytes });
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

fn start(dir: PathBuf, sender: mpsc::Sender<HostOutput>) -> io::Result<std_mpsc::SyncSender<Order>> {
    let (orders, receiver) = std_mpsc::sync_channel(WAITING);
    thread::Builder::new().name("webmesh-decisions".to_owned()).spawn(move || {
        let mut logs = DecisionLogs::new(dir);
        for order in receiver {
            match order {
                Order::Append { job, number, bytes } => {
                    let path = logs.path(&job);
                    let result = logs.append(job, &bytes).map_err(|why| {
                        format!("{}: {why}; free some space there or choose another folder with --data", path.display())
                    });
                    // Fails only when the driver has ended.
                    let _ = sender.blocking_send(HostOutput::Event(Event::Persisted { job, number, result }));
                }
                Order::Close(job) => logs.close(&job),
            }
        }
    })?;
    Ok(orders)
}
