//! The clock of running guests: a thread that advances wasmtime's epoch while tasks run, and sleeps otherwise.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

use wasmtime::Engine;

use super::limits::TICK;

struct Shared {
    active: AtomicUsize,
    stop: AtomicBool,
}

/// Owns the ticking thread, which ends with it.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread, initially asleep.
    pub(super) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared { active: AtomicUsize::new(0), stop: AtomicBool::new(false) });
        let seen = Arc::clone(&shared);
        let handle = thread::Builder::new().name("webmesh-ticker".into()).spawn(move || {
            while !seen.stop.load(Ordering::SeqCst) {
                if seen.active.load(Ordering::SeqCst) == 0 {
                    // A wake-up between the load and this line is kept by the thread's token.
                    thread::park();
                } else {
                    thread::sleep(TICK);
                    engine.increment_epoch();
                }
            }
        })?;
        Ok(Self { shared, thread: handle.thread().clone(), handle: Some(handle) })
    }

    /// Keeps the clock going until the guard is dropped.
    pub(super) fn keep_going(&self) -> Ticking<'_> {
        if self.shared.active.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Ticking(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take() {
            // The thread cannot panic, and there is nobody to report to.
            let _ = handle.join();
        }
    }
}

/// While it exists, running guests are interrupted at every [`TICK`].
pub(super) struct Ticking<'a>(&'a Shared);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}
