//! Minimum throughput of a frame.

use std::time::Duration;

use webmesh_protocol::limits::REQUEST_TIMEOUT;

use super::activity::Activity;
use crate::net::limits::{FRAME_TIMEOUT_UNDER_PRESSURE, MIN_THROUGHPUT};
use crate::platform::Instant;

/// Checks the throughput of one frame, read or written: otherwise a peer could hold its part of the budget for years by
/// moving a byte now and then.
pub(super) struct Pace<'a> {
    started: Instant,
    moved: u64,
    len: u64,
    activity: Option<&'a Activity>,
}

impl<'a> Pace<'a> {
    /// For a frame of `len` bytes that begins now, and holds as many of a budget.
    pub(super) fn new(len: usize, activity: &'a Activity) -> Self {
        Self { started: Instant::now(), moved: 0, len: len as u64, activity: Some(activity) }
    }

    /// For a frame that only its receiver waits for.
    pub(super) fn unbudgeted() -> Self {
        Self { started: Instant::now(), moved: 0, len: 0, activity: None }
    }

    /// Counts `n` more bytes. `false` if the average throughput is too low.
    pub(super) fn keeps(&mut self, n: usize) -> bool {
        self.moved += n as u64;
        let pressed = self.activity.is_some_and(Activity::is_under_pressure);
        self.started.elapsed() <= allowed(self.moved, self.len, pressed)
    }
}

/// Time limit for the first `moved` bytes of a frame of `len`.
fn allowed(moved: u64, len: u64, pressed: bool) -> Duration {
    let pace = if pressed { MIN_THROUGHPUT.max(len / FRAME_TIMEOUT_UNDER_PRESSURE.as_secs()) } else { MIN_THROUGHPUT };
    REQUEST_TIMEOUT + Duration::from_secs(moved / pace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::limits::REQUEST_BODY_BYTES;

    #[test]
    fn a_frame_that_others_wait_for_is_done_within_minutes_or_cut_off() {
        let len = REQUEST_BODY_BYTES as u64;
        let alone = allowed(len, len, false);
        assert!(alone > Duration::from_secs(3600), "a slow peer has all the time while nobody waits: {alone:?}");
        let pressed = allowed(len, len, true);
        assert!(pressed <= REQUEST_TIMEOUT + FRAME_TIMEOUT_UNDER_PRESSURE + Duration::from_secs(1), "{pressed:?}");
        assert_eq!(allowed(1, len, true), REQUEST_TIMEOUT, "it must move all along, not only at the end");
    }

    #[test]
    fn a_usual_push_of_a_slow_peer_is_not_cut_off_under_pressure() {
        let len = webmesh_protocol::limits::PUSH_BYTES as u64;
        assert!(allowed(len, len, true) >= Duration::from_secs(60));
    }
}
