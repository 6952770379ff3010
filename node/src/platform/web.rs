//! In a tab: one thread, timers and chance of the browser's, no sockets, no disk.

mod file_list;
pub mod files;
mod spill;
mod transport;

use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use futures_timer::Delay;

pub use web_time::Instant;

pub use file_list::{FileList, OpenFile};
pub use spill::{SPILL_ADVICE, Spill};
pub use transport::{
    Acceptor, Discovered, LocalDiscovery, TransportError, check_port, discovered, local_discovery, needs_certificate,
    new_certificate, swarm,
};

/// Runs a task on its own.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    wasm_bindgen_futures::spawn_local(task);
}

/// Runs work after what is under way. It must be short: there is no other thread.
pub fn spawn_blocking(work: impl FnOnce() + 'static) {
    spawn(async { work() });
}

/// Waits.
pub async fn sleep(time: Duration) {
    Delay::new(time).await;
}

/// Waits for `future`, or gives up after `patience`.
pub async fn timeout<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    match select(std::pin::pin!(future), Delay::new(patience).fuse()).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Microseconds of the wall clock since 1970.
pub fn wall_micros() -> u64 {
    (js_sys::Date::now() * 1000.0) as u64
}

/// Bytes that nobody can guess.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    rand::random()
}

/// A number below `n`, which is above zero.
pub fn random_below(n: usize) -> usize {
    rand::random_range(0..n)
}

/// Nothing: the browser resolves names, and does not tell why it could not.
pub fn name_error(_: &(dyn std::error::Error + 'static)) -> Option<String> {
    None
}

/// Nowhere: there is no disk.
pub fn temporary_dir() -> std::path::PathBuf {
    std::path::PathBuf::new()
}
