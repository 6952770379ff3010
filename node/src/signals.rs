//! Shutdown signals: SIGINT (Ctrl-C), SIGTERM and SIGHUP.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Number of signals at which the process exits immediately: a user who sends this many sees that it hangs.
const MAX_SIGNALS: u32 = 3;
/// Exit status of an immediate exit.
const EXIT_STATUS: i32 = 130;

/// Whether this process was asked to stop, by Ctrl-C, SIGTERM or closing its terminal. Cheap to clone.
///
/// The first signal asks for an orderly shutdown, the second for an immediate one, which still removes temporary files.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Received>);

/// The signals so far.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    /// Number of signals.
    times: u32,
    /// Whether the first was SIGTERM.
    by_service: bool,
}

impl Stop {
    /// Installs the signal handlers: these signals no longer end the process by themselves. Nor does a write beyond the
    /// shell's file size limit (`ulimit -f`), which fails with an error instead. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The system cannot install a signal handler.
    pub fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = if outlives_terminal() { None } else { Some(signal(SignalKind::hangup())?) };
        // Installing a handler is enough: the write then fails with an error.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        let (sender, received) = watch::channel(Received::default());
        tokio::spawn(async move {
            for times in 1.. {
                let terminated = tokio::select! {
                    _ = interrupt.recv() => false,
                    _ = terminate.recv() => true,
                    () = receive(&mut hang_up) => false,
                };
                if times >= MAX_SIGNALS {
                    std::process::exit(EXIT_STATUS);
                }
                sender.send_modify(|received| {
                    *received =
                        Received { times, by_service: if times == 1 { terminated } else { received.by_service } };
                });
            }
        });
        Ok(Self(received))
    }

    /// Whether a signal was received.
    pub fn is_signalled(&self) -> bool {
        self.0.borrow().times > 0
    }

    /// Whether the first signal was SIGTERM, as sent when the machine shuts down or a service manager stops the
    /// process: the user has not cancelled the work.
    pub fn is_by_service(&self) -> bool {
        self.0.borrow().by_service
    }

    /// Waits for the first signal; returns at once if one was received.
    pub async fn first_signal(&self) {
        self.wait_for(1).await;
    }

    /// Waits for the second signal.
    pub async fn second_signal(&self) {
        self.wait_for(2).await;
    }

    /// Runs `work`, but drops it at the first signal and returns `None`.
    pub async fn until_signal<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.first_signal() => None,
        }
    }

    async fn wait_for(&self, times: u32) {
        if self.0.clone().wait_for(|received| received.times >= times).await.is_err() {
            // The runtime is shutting down, and this with it.
            std::future::pending().await
        }
    }
}

async fn receive(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process should outlive its terminal: `nohup` starts it with SIGHUP ignored. Only Linux reports this;
/// elsewhere, closing the terminal stops the process.
fn outlives_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored & (1 << (SignalKind::hangup().as_raw_value() - 1)) != 0
}
