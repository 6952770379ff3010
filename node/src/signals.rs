//! Ctrl-C, SIGTERM, and SIGHUP.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The number of signals at which the process exits immediately: a user who sends so many knows that it hangs.
const PATIENCE: u32 = 3;
/// The exit status after such a signal.
const STATUS: i32 = 130;

/// Whether this process was asked to end: by Ctrl-C, SIGTERM, or closing its terminal. Cheap to clone.
///
/// The first signal asks for an orderly shutdown, the second for an immediate one, which still removes temporary files.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Told>);

/// The signals so far.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    times: u32,
    /// The first was SIGTERM.
    by_service: bool,
}

impl Stop {
    /// Installs the handlers: from now on, these signals do not end the process by themselves, nor does a file that
    /// reaches the shell's size limit (`ulimit -f`); its writer gets an error instead. Must be called on a runtime.
    ///
    /// # Errors
    /// The system cannot install a signal handler.
    pub fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = if outlives_terminal() { None } else { Some(signal(SignalKind::hangup())?) };
        // Installing a handler is enough: the write then fails with an error.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        let (tell, told) = watch::channel(Told::default());
        tokio::spawn(async move {
            for times in 1.. {
                let terminated = tokio::select! {
                    _ = interrupt.recv() => false,
                    _ = terminate.recv() => true,
                    () = heard(&mut hang_up) => false,
                };
                if times >= PATIENCE {
                    std::process::exit(STATUS);
                }
                tell.send_modify(|told| {
                    *told = Told { times, by_service: if times == 1 { terminated } else { told.by_service } };
                });
            }
        });
        Ok(Self(told))
    }

    /// Whether there was a signal.
    pub fn is_told(&self) -> bool {
        self.0.borrow().times > 0
    }

    /// Whether the first signal was SIGTERM, which a machine that shuts down sends, or a service that is stopped: nobody
    /// has said that the work is unwanted.
    pub fn is_by_service(&self) -> bool {
        self.0.borrow().by_service
    }

    /// Waits for the first signal; returns at once if there was one.
    pub async fn told(&self) {
        self.wait_for(1).await;
    }

    /// Waits for the second signal.
    pub async fn told_again(&self) {
        self.wait_for(2).await;
    }

    /// Runs `work`, but drops it at the first signal and returns `None`.
    pub async fn until_told<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.told() => None,
        }
    }

    async fn wait_for(&self, times: u32) {
        if self.0.clone().wait_for(|told| told.times >= times).await.is_err() {
            // The runtime is shutting down, and this with it.
            std::future::pending().await
        }
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process should outlive its terminal, as requested by `nohup`, which makes SIGHUP ignored. This can be
/// read on Linux only; elsewhere, closing the terminal ends the process.
fn outlives_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored & (1 << (SignalKind::hangup().as_raw_value() - 1)) != 0
}
