//! How many bytes of frames this process holds at a time.
//!
//! A frame reserves its claimed length before it is read. Reservations are granted in the order in which they
//! were asked for, and whoever holds one can always finish, so that nobody waits in a circle. A reservation is
//! only a promise: memory is taken as bytes arrive.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counters::Meters;
use super::limits;

/// A permit of the semaphores stands for so many bytes.
const UNIT: usize = 1024;

/// The budget of the whole process.
#[derive(Debug)]
pub(super) struct Budget {
    all: Arc<Semaphore>,
    total: u32,
    meters: Arc<Meters>,
}

/// What one peer may hold of it.
#[derive(Clone, Debug)]
pub(super) struct Share {
    part: Arc<Semaphore>,
    total: u32,
}

/// Bytes reserved until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
    bytes: usize,
    meters: Arc<Meters>,
}

impl Budget {
    pub(super) fn new(bytes: usize, meters: Arc<Meters>) -> Self {
        let total = units(bytes).max(1);
        Self { all: Arc::new(Semaphore::new(total as usize)), total, meters }
    }

    /// A peer's share.
    pub(super) fn share(&self) -> Share {
        let total = (self.total / limits::BODY_BUDGET_SHARE as u32).max(1);
        Share { part: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until `bytes` may be read. A frame larger than the share or the budget waits for all of it.
    pub(super) async fn reserve(&self, share: &Share, bytes: usize) -> Reservation {
        let mut permits = None;
        if bytes > limits::SMALL_FRAME {
            let part = Arc::clone(&share.part).acquire_many_owned(units(bytes).min(share.total)).await;
            let all = Arc::clone(&self.all).acquire_many_owned(units(bytes).min(self.total)).await;
            permits = part.ok().zip(all.ok()); // `None` only for a closed semaphore, which nobody closes
        }
        self.meters.budget_held.add(bytes);
        Reservation { permits, bytes, meters: Arc::clone(&self.meters) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.meters.budget_held.sub(self.bytes);
        self.permits.take();
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX >> 3)
}
