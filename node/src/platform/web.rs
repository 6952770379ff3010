//! The platform in a tab: one thread, the browser's timers and random numbers, no sockets, no disk.

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
pub(crate) use transport::swarm;
pub use transport::{
    Acceptor, Discovered, LocalDiscovery, TransportError, check_port, discovered, local_discovery, needs_certificate,
    new_certificate,
};

/// Spawns a task.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    wasm_bindgen_futures::spawn_local(task);
}

/// Runs work after the current task. It must be short: there is no other thread.
pub fn spawn_blocking(work: impl FnOnce() + 'static) {
    spawn(async { work() });
}

/// Sleeps for `time`.
pub async fn sleep(time: Duration) {
    Delay::new(time).await;
}

/// Waits for `future`, for at most `patience`.
pub async fn timeout<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    match select(std::pin::pin!(future), Delay::new(patience).fuse()).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Wall-clock time in microseconds since 1970.
pub fn wall_micros() -> u64 {
    (js_sys::Date::now() * 1000.0) as u64
}

/// Cryptographically secure random bytes.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    rand::random()
}

/// A random number below `n`, which must be above zero.
pub fn random_below(n: usize) -> usize {
    rand::random_range(0..n)
}

/// Always `None`: the browser resolves names, and does not say why it failed.
pub fn name_error(_: &(dyn std::error::Error + 'static)) -> Option<String> {
    None
}

/// An empty path: there is no disk.
pub fn temporary_dir() -> std::path::PathBuf {
    std::path::PathBuf::new()
}
