//! The engine's side.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use webmesh_protocol::io::Action;

use super::order::{self, Order, Report};
use crate::web::complain;
use crate::web::host::Sender;

/// Bytes of orders that wait for the Worker; beyond, peers are left waiting.
const BACKLOG_BYTES: usize = 32 << 20;
/// What an order weighs beside its bytes.
const ORDER_WEIGHT: usize = 512;

#[wasm_bindgen]
extern "C" {
    /// The page's Worker for this: `web/src/storage.ts`. It is started by the first order.
    pub type StorageWorker;

    /// Sends an order. Its answer comes to [`Tab::stored`](crate::web::Tab::stored).
    #[wasm_bindgen(method)]
    fn order(this: &StorageWorker, head: Uint8Array, body: Uint8Array);
}

/// The way to the Worker.
pub(in crate::web) struct Bridge {
    worker: StorageWorker,
    sender: Sender,
    /// The weights of the orders that have no answer yet, the oldest first.
    weights: RefCell<VecDeque<usize>>,
    backlog: Cell<usize>,
}

impl Bridge {
    pub(in crate::web) fn new(worker: StorageWorker, sender: Sender) -> Self {
        Self { worker, sender, weights: RefCell::default(), backlog: Cell::new(0) }
    }

    /// Passes an action on that is the Worker's.
    pub(in crate::web) fn send(&self, action: Action) {
        let Some((order, body)) = Order::of(action) else { return };
        match order::encode(&order) {
            Ok(head) => {
                let weight = ORDER_WEIGHT + head.len() + body.len();
                self.weights.borrow_mut().push_back(weight);
                self.backlog.set(self.backlog.get() + weight);
                self.worker.order(Uint8Array::from(&head[..]), Uint8Array::from(&body[..]));
            }
            Err(why) => complain(&format!("an order to the storage Worker is lost: {why}")),
        }
    }

    pub(in crate::web) fn is_overloaded(&self) -> bool {
        self.backlog.get() > BACKLOG_BYTES
    }

    /// The answer to the oldest order; an empty head says that there is nothing to report.
    pub(in crate::web) fn answered(&self, head: &[u8], body: Bytes) {
        let weight = self.weights.borrow_mut().pop_front().unwrap_or_default();
        self.backlog.set(self.backlog.get().saturating_sub(weight));
        if head.is_empty() {
            return;
        }
        match order::decode::<Report>(head) {
            Ok(report) => report.into_outputs(body).into_iter().for_each(|output| self.sender.tell(output)),
            Err(why) => complain(&format!("an answer of the storage Worker is lost: {why}")),
        }
    }
}
