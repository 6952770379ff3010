//! The memory budget for frames of this process.
//!
//! A frame reserves its length before it is read or written. Reservations are granted in the order of the requests, and
//! the holder of one can always finish, so there is no circular wait. A reservation allocates nothing: memory is
//! allocated as bytes arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counters::Meter;
use super::limits;
use crate::platform;

/// Bytes for each permit of the semaphores.
const UNIT: usize = 1024;

/// Bytes shared by all peers.
#[derive(Debug)]
pub(super) struct Budget {
    all: Arc<Semaphore>,
    total: u32,
    pressure: Pressure,
    held: Arc<Meter>,
}

/// The part of the budget that one peer may hold.
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
    held: Arc<Meter>,
}

/// Whether somebody has waited long for the budget because others hold all of it. A peer that waits for its own share
/// does not count.
#[derive(Clone, Debug, Default)]
pub(super) struct Pressure(Arc<AtomicUsize>);

impl Pressure {
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn raise(&self) -> PressureGuard<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        PressureGuard(self)
    }
}

/// Keeps the pressure on until dropped.
struct PressureGuard<'a>(&'a Pressure);

impl Drop for PressureGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Share {
    /// Waits until half of the share is free, without taking any.
    pub(super) async fn wait_until_half_free(&self) {
        // Fails only if the semaphore is closed, which never happens.
        drop(self.part.acquire_many(self.total / 2).await);
    }
}

impl Budget {
    pub(super) fn new(bytes: usize, pressure: Pressure, held: Arc<Meter>) -> Self {
        let total = units(bytes).max(1);
        Self { all: Arc::new(Semaphore::new(total as usize)), total, pressure, held }
    }

    /// A peer's share: one part in `parts`.
    pub(super) fn share(&self, parts: u32) -> Share {
        let total = (self.total / parts).max(1);
        Share { part: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until `bytes` may be held. A frame larger than the share or the budget waits for all of it.
    pub(super) async fn reserve(&self, share: &Share, bytes: usize) -> Reservation {
        let mut permits = None;
        if bytes > limits::SMALL_FRAME {
            let part = Arc::clone(&share.part).acquire_many_owned(units(bytes).min(share.total)).await;
            let all = self.wait(units(bytes).min(self.total)).await;
            permits = part.ok().zip(all); // `None` only for a closed semaphore, which never happens
        }
        self.held.add(bytes);
        Reservation { permits, bytes, held: Arc::clone(&self.held) }
    }

    async fn wait(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        let all = Arc::clone(&self.all).acquire_many_owned(units);
        futures::pin_mut!(all);
        let soon = platform::timeout(limits::PRESSURE_DELAY, &mut all).await;
        let permits = match soon {
            Some(permits) => permits,
            None => {
                let _guard = self.pressure.raise();
                all.await
            }
        };
        permits.ok()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.held.sub(self.bytes);
        self.permits.take();
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn a_peer_cannot_reserve_more_than_its_share() {
        let budget = Budget::new(16 * MIB, Pressure::default(), Arc::default());
        let (greedy, other) = (budget.share(8), budget.share(8));
        let held = budget.reserve(&greedy, 2 * MIB).await;
        assert!(budget.reserve(&greedy, MIB).now_or_never().is_none(), "its share is spent");
        assert!(budget.reserve(&greedy, limits::SMALL_FRAME).now_or_never().is_some(), "control is not held up");
        assert!(budget.reserve(&other, 2 * MIB).now_or_never().is_some());
        drop(held);
        assert!(budget.reserve(&greedy, MIB).now_or_never().is_some());
    }

    #[tokio::test]
    async fn pressure_is_on_while_a_reservation_waits_for_other_peers() {
        let (pressure, meter) = (Pressure::default(), Arc::default());
        let budget = Arc::new(Budget::new(MIB, pressure.clone(), meter));
        let held = budget.reserve(&budget.share(1), MIB).await;
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { drop(budget.reserve(&budget.share(1), MIB).await) }
        });
        assert!(!pressure.is_on(), "a moment is not long");
        let on = async {
            while !pressure.is_on() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(limits::PRESSURE_DELAY * 10, on).await.expect("the pressure comes on");
        drop(held);
        waiting.await.unwrap();
        assert!(!pressure.is_on());
    }
}
