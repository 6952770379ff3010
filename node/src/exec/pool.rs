//! The threads that run tasks.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::CancelToken;
use super::error::RuntimeError;
use super::limits::{QUEUED_UNITS_PER_THREAD, THREAD_STACK};
use super::unit::Unit;

/// A fixed number of threads and a short queue of units. Dropping it cancels running units and drops queued ones.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    closing: CancelToken,
    capacity: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Unit>,
    running: usize,
}

/// The queue is full: submit the unit again when an earlier one has made its last delivery.
#[derive(Debug, thiserror::Error)]
#[error("the task queue is full")]
pub struct SubmitError(pub Box<Unit>);

impl Pool {
    /// Starts `threads` threads. The runtime of the modules should be created for as many.
    ///
    /// # Errors
    /// Fails if the system cannot start a thread.
    pub fn new(threads: NonZeroUsize) -> Result<Self, RuntimeError> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            closing: CancelToken::new(),
            capacity: threads.get().saturating_mul(QUEUED_UNITS_PER_THREAD),
        });
        // Created first, so that threads already started end if a later one fails to start.
        let mut pool = Self { shared, threads: Vec::with_capacity(threads.get()) };
        for index in 0..threads.get() {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new()
                .name(format!("webmesh-task-{index}"))
                .stack_size(THREAD_STACK)
                .spawn(move || work(&shared))
                .map_err(RuntimeError::Thread)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Queues `unit`; never blocks.
    ///
    /// # Errors
    /// Fails if the queue is full; returns the unit.
    pub fn submit(&self, unit: Unit) -> Result<(), SubmitError> {
        let mut state = self.shared.lock();
        if state.waiting.len() >= self.shared.capacity {
            return Err(SubmitError(Box::new(unit)));
        }
        state.waiting.push_back(unit);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The number of units that run or wait.
    pub fn load(&self) -> usize {
        let state = self.shared.lock();
        state.running + state.waiting.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        // Taken out first: dropping a unit makes its last delivery, which must not run under the lock.
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        drop(waiting);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A receiver may hold the last reference to the pool's owner: then the current thread is one of the pool's,
            // and ends when it returns.
            let is_this_one = thread.thread().id() == thread::current().id();
            if !is_this_one && thread.join().is_err() {
                tracing::error!("a task thread panicked");
            }
        }
    }
}

impl Shared {
    /// The state is always consistent, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next unit; `None` when the pool closes.
    fn next(&self) -> Option<Unit> {
        let mut state = self.lock();
        loop {
            if self.closing.is_cancelled() {
                return None;
            }
            if let Some(unit) = state.waiting.pop_front() {
                state.running += 1;
                return Some(unit);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn work(shared: &Shared) {
    while let Some(unit) = shared.next() {
        // Only a receiver of deliveries can panic; that must not end the thread.
        if catch_unwind(AssertUnwindSafe(|| unit.run(&shared.closing))).is_err() {
            tracing::error!("a unit's receiver panicked; its tasks are lost");
        }
        shared.lock().running -= 1;
    }
}
