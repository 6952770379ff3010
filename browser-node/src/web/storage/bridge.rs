//! The engine's side of the storage Worker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use webmesh_protocol::io::{BlobAction, NotStored, ReadError, SegmentAction, StoreAction};
use webmesh_protocol::message::Response;

use super::report::{self, Report, Requester};
use crate::web::log_error;
use crate::web::sender::Sender;

/// Most bytes of actions that wait for the Worker; beyond, this peer stops reading from the network.
const BACKLOG_BYTES: usize = 32 << 20;
/// Weight of an action beside its bytes, so that many small ones count, too.
const ACTION_WEIGHT: usize = 512;

#[wasm_bindgen]
extern "C" {
    /// The page's Worker for this: `web/src/storage.ts`. It is started by the first action.
    pub type StorageWorker;

    /// Whether it may hold anything: it was started, and has not failed.
    #[wasm_bindgen(method, getter, js_name = isStarted)]
    fn is_started(this: &StorageWorker) -> bool;

    /// Sends an action. Its answer comes to [`Tab::stored`](crate::web::Tab::stored).
    #[wasm_bindgen(method)]
    fn order(this: &StorageWorker, head: Uint8Array, body: Uint8Array);
}

/// An action that has no answer yet.
struct Waiting {
    weight: usize,
    /// The report if the Worker ends before it answers.
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

    /// Passes an action on to the Worker.
    pub(in crate::web) fn send(&self, mut action: StoreAction) {
        let otherwise = otherwise(&action);
        if self.broken.borrow().is_some() {
            return self.fail(otherwise);
        }
        let body = action.body_mut().map(std::mem::take).unwrap_or_default();
        match report::encode(&action) {
            Ok(head) => {
                let weight = ACTION_WEIGHT + head.len() + body.len();
                self.waiting.borrow_mut().push_back(Waiting { weight, otherwise });
                self.backlog.set(self.backlog.get() + weight);
                self.worker.order(Uint8Array::from(&head[..]), Uint8Array::from(&body[..]));
            }
            Err(why) => log_error(&format!("an action for the storage Worker is lost: {why}")),
        }
    }

    pub(in crate::web) fn is_overloaded(&self) -> bool {
        self.backlog.get() > BACKLOG_BYTES
    }

    /// The answer to the oldest action; an empty head says that there is nothing to report.
    pub(in crate::web) fn answered(&self, head: &[u8], body: Bytes) {
        let weight = self.waiting.borrow_mut().pop_front().map_or(0, |waiting| waiting.weight);
        self.backlog.set(self.backlog.get().saturating_sub(weight));
        if head.is_empty() {
            return;
        }
        match report::decode::<Report>(head) {
            Ok(report) => report.into_outputs(body).into_iter().for_each(|output| self.sender.send(output)),
            Err(why) => log_error(&format!("an answer of the storage Worker is lost: {why}")),
        }
    }

    /// The Worker has failed, and its data is lost. Pending orders are answered with that.
    pub(in crate::web) fn broke(&self, why: String) {
        *self.broken.borrow_mut() = Some(why);
        self.backlog.set(0);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(|waiting| self.fail(waiting.otherwise));
    }

    fn fail(&self, otherwise: Option<Report>) {
        let why = self.broken.borrow().clone().unwrap_or_default();
        let Some(report) = otherwise.map(|report| report.because(&why)) else { return };
        report.into_outputs(Bytes::new()).into_iter().for_each(|output| self.sender.send(output));
    }
}

/// The report on an action that the Worker cannot carry out; `None` if nobody waits for one.
fn otherwise(action: &StoreAction) -> Option<Report> {
    let why = String::new();
    Some(match action {
        StoreAction::Blobs(BlobAction::Load { hash }) => Report::missing(Requester::Engine(*hash)),
        StoreAction::Blobs(BlobAction::Serve { token, .. })
        | StoreAction::Segments(SegmentAction::ServeBucket { token, .. } | SegmentAction::ServePull { token, .. }) => {
            Report::missing(Requester::Peer(*token))
        }
        StoreAction::Segments(SegmentAction::Stage { push, .. }) => Report::StoreFailed { job: push.job, why },
        StoreAction::Segments(SegmentAction::ReadBucket { read, .. }) => {
            Report::BucketRead { read: *read, ends: Err(ReadError::Failed(why)) }
        }
        StoreAction::StoreOutput { job, task, .. } => {
            Report::OutputStored { job: *job, task: *task, result: Err(NotStored::Failed(why)) }
        }
        StoreAction::Blobs(BlobAction::Store { .. })
        | StoreAction::Segments(SegmentAction::Drop { .. } | SegmentAction::DropJob { .. })
        | StoreAction::Persist { .. }
        | StoreAction::DropJob { .. } => return None,
    })
}

impl Report {
    fn missing(requester: Requester) -> Self {
        match requester {
            Requester::Peer(token) => Self::Respond { token, response: Response::Missing },
            Requester::Engine(hash) => Self::BlobLoaded { hash, found: false },
        }
    }

    /// The same report, with the reason.
    fn because(self, reason: &str) -> Self {
        let why = reason.to_owned();
        match self {
            Self::StoreFailed { job, .. } => Self::StoreFailed { job, why },
            Self::OutputStored { job, task, .. } => {
                Self::OutputStored { job, task, result: Err(NotStored::Failed(why)) }
            }
            Self::BucketRead { read, .. } => Self::BucketRead { read, ends: Err(ReadError::Failed(why)) },
            other => other,
        }
    }
}
