//! The native platform: tokio, sockets, a disk.

mod accepted;
mod dial_last;
mod file_list;
pub mod files;
mod gated;
mod handshakes;
mod names;
pub mod private;
mod spill;
mod transport;
pub mod unnamed;

use std::time::Duration;

pub use std::time::Instant;

pub use accepted::{Acceptor, Bytestream};
pub use file_list::{FileList, Measured, OpenFile};
pub use names::name_error;
pub use spill::{SPILL_ADVICE, Spill};
pub(crate) use transport::swarm;
pub use transport::{
    Discovered, LocalDiscovery, TransportError, check_port, discovered, local_discovery, needs_certificate,
    new_certificate,
};

/// Spawns a task.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Runs blocking work (disk IO) on a thread for such work.
pub fn spawn_blocking(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work);
}

/// Sleeps for `time`.
pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Waits for `future`, for at most `patience`.
pub async fn timeout<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(patience, future).await.ok()
}

/// Wall-clock time in microseconds since 1970; zero before that.
pub fn wall_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Cryptographically secure random bytes.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    rand::random()
}

/// A random number below `n`, which must be above zero.
pub fn random_below(n: usize) -> usize {
    rand::random_range(0..n)
}

/// Directory for temporary files.
pub fn temporary_dir() -> std::path::PathBuf {
    std::env::temp_dir()
}

/// Selects the cryptography provider for TLS, once for each process: rustls has no default.
pub fn install_crypto() {
    // Fails only if one was selected before, which serves as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
