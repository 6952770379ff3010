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

/// A fixed number of threads and a short queue of units. Dropping it cancels what runs and forgets what waits.
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

/// The queue is full: hand the unit over again when one of those before it has delivered its last.
#[derive(Debug, thiserror::Error)]
#[error("the task queue is full")]
pub struct SubmitError(pub Box<Unit>);

impl Pool {
    /// Starts `threads` threads. The runtime of the modules should be made for as many.
    ///
    /// # Errors
    /// Where the system gives no more threads.
    pub fn new(threads: NonZeroUsize) -> Result<Self, RuntimeError> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            closing: CancelToken::new(),
            capacity: threads.get().saturating_mul(QUEUED_UNITS_PER_THREAD),
        });
        // Made first, so that the threads already started end if one cannot be.
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
    /// Where the queue is full; the unit comes back.
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

    /// Threads.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Units that run or wait.
    pub fn load(&self) -> usize {
        let state = self.shared.lock();
        state.running + state.waiting.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        // Taken out first: dropping a unit makes its last delivery, which may do anything but wait for the lock.
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        drop(waiting);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A receiver may hold the last reference to whatever holds the pool: then this is one of its threads,
            // which ends when it returns.
            let is_this_one = thread.thread().id() == thread::current().id();
            if !is_this_one && thread.join().is_err() {
                tracing::error!("a task thread had panicked");
            }
        }
    }
}

impl Shared {
    /// The state is whole at any time, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next unit, once there is one; `None` when the pool closes.
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
        // A panic can only come from a receiver of deliveries; it must not take the thread with it.
        if catch_unwind(AssertUnwindSafe(|| unit.run(&shared.closing))).is_err() {
            tracing::error!("a unit's receiver panicked; its tasks are lost");
        }
        shared.lock().running -= 1;
    }
}
