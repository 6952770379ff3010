//! The engine's side of the storage Worker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use webmesh_protocol::io::Action;
use webmesh_protocol::message::Response;

use super::order::{self, Asker, Order, Report};
use crate::web::complain;
use crate::web::host::Sender;

/// Bytes of queued orders above which the host counts as overloaded, so that peers wait.
const BACKLOG_BYTES: usize = 32 << 20;
/// Cost of an order besides its bytes.
const ORDER_WEIGHT: usize = 512;

#[wasm_bindgen]
extern "C" {
    /// The page's storage Worker: `web/src/storage.ts`. It is started by the first order.
    pub type StorageWorker;

    /// Whether it may hold anything: it was started, and has not failed.
    #[wasm_bindgen(method, getter, js_name = isStarted)]
    fn is_started(this: &StorageWorker) -> bool;

    /// Sends an order. Its answer comes to [`Tab::stored`](crate::web::Tab::stored).
    #[wasm_bindgen(method)]
    fn order(this: &StorageWorker, head: Uint8Array, body: Uint8Array);
}

/// An order without an answer yet.
struct Waiting {
    weight: usize,
    /// The report if no answer comes.
    otherwise: Option<Report>,
}

/// The connection to the Worker.
pub(in crate::web) struct Bridge {
    worker: StorageWorker,
    sender: Sender,
    /// Oldest first: orders are answered in order.
    waiting: RefCell<VecDeque<Waiting>>,
    backlog: Cell<usize>,
    /// Why the Worker failed, if it did.
    broken: RefCell<Option<String>>,
}

impl Bridge {
    pub(in crate::web) fn new(worker: StorageWorker, sender: Sender) -> Self {
        Self { worker, sender, waiting: RefCell::default(), backlog: Cell::new(0), broken: RefCell::new(None) }
    }

    /// Whether the Worker may hold anything: one that was never needed does not.
    pub(in crate::web) fn is_started(&self) -> bool {
        self.worker.is_started()
    }

    /// Passes on an action that the Worker carries out.
    pub(in crate::web) fn send(&self, action: Action) {
        let Some((order, body)) = Order::of(action) else { return };
        let otherwise = order.otherwise();
        if self.broken.borrow().is_some() {
            return self.lose(otherwise);
        }
        match order::encode(&order) {
            Ok(head) => {
                let weight = ORDER_WEIGHT + head.len() + body.len();
                self.waiting.borrow_mut().push_back(Waiting { weight, otherwise });
                self.backlog.set(self.backlog.get() + weight);
                self.worker.order(Uint8Array::from(&head[..]), Uint8Array::from(&body[..]));
            }
            Err(why) => complain(&format!("an order to the storage Worker is lost: {why}")),
        }
    }

    pub(in crate::web) fn is_overloaded(&self) -> bool {
        self.backlog.get() > BACKLOG_BYTES
    }

    /// Handles the answer to the oldest order; with an empty head, there is nothing to report.
    pub(in crate::web) fn answered(&self, head: &[u8], body: Bytes) {
        let weight = self.waiting.borrow_mut().pop_front().map_or(0, |waiting| waiting.weight);
        self.backlog.set(self.backlog.get().saturating_sub(weight));
        if head.is_empty() {
            return;
        }
        match order::decode::<Report>(head) {
            Ok(report) => report.into_outputs(body).into_iter().for_each(|output| self.sender.tell(output)),
            Err(why) => complain(&format!("an answer of the storage Worker is lost: {why}")),
        }
    }

    /// The Worker has failed, and its data is lost. Pending orders are answered with that.
    pub(in crate::web) fn broke(&self, why: String) {
        *self.broken.borrow_mut() = Some(why);
        self.backlog.set(0);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(|waiting| self.lose(waiting.otherwise));
    }

    fn lose(&self, otherwise: Option<Report>) {
        let why = self.broken.borrow().clone().unwrap_or_default();
        let Some(report) = otherwise.map(|report| report.because(&why)) else { return };
        report.into_outputs(Bytes::new()).into_iter().for_each(|output| self.sender.tell(output));
    }
}

impl Order {
    /// The report if the Worker cannot carry it out.
    fn otherwise(&self) -> Option<Report> {
        let why = String::new();
        Some(match self {
            Self::Stage { push, .. } => Report::StoreFailed { job: push.job, why },
            Self::StoreOutput { job, task } => Report::OutputStored { job: *job, task: *task, result: Err(why) },
            Self::ReadBucket { read, .. } => Report::BucketRead { read: *read, ends: Err(Err(why)) },
            Self::ServeBucket { token, .. } | Self::ServePull { token, .. } | Self::ServeBlob { token, .. } => {
                Report::missing(Asker::Peer(*token))
            }
            Self::LoadBlob { hash } => Report::missing(Asker::Engine(*hash)),
            Self::DropSegment { .. } | Self::DropJob { .. } => return None,
        })
    }
}

impl Report {
    fn missing(asker: Asker) -> Self {
        match asker {
            Asker::Peer(token) => Self::Respond { token, response: Response::Missing },
            Asker::Engine(hash) => Self::BlobLoaded { hash, found: false },
        }
    }

    /// The same report, with the reason.
    fn because(self, reason: &str) -> Self {
        let why = reason.to_owned();
        match self {
            Self::StoreFailed { job, .. } => Self::StoreFailed { job, why },
            Self::OutputStored { job, task, .. } => Self::OutputStored { job, task, result: Err(why) },
            Self::BucketRead { read, .. } => Self::BucketRead { read, ends: Err(Err(why)) },
            other => other,
        }
    }
}
