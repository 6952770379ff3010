//! The storage of a tab, on a thread of its own: segments of a shuffle, results of its own jobs, and the files that
//! they read.
//!
//! The stores are those of native peers and synchronous, as is reading a file. So they are in a Worker with its own
//! instance of this module. The engine's side sends each [`StoreAction`](webmesh_protocol::io::StoreAction) with its
//! bytes beside it, and gets one answer for each, in order.

mod bridge;
mod report;
mod worker;

pub(super) use bridge::{Bridge, StorageWorker};
pub(super) use worker::inputs_of;
