//! What a tab holds beside its tasks, on a thread of its own: segments of a shuffle, results of its own jobs, and the
//! files that they read.
//!
//! The stores are those of native peers and synchronous, as reading a file is. So they live in a Worker with an instance
//! of this module of its own. The engine's side sends each [`StoreAction`](webmesh_protocol::io::StoreAction) with its
//! bytes beside it, and gets one answer for each, in their order.

mod bridge;
mod report;
mod worker;

pub(super) use bridge::{Bridge, StorageWorker};
pub(super) use worker::inputs_of;
