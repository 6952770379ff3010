//! Minimum throughput of a frame.

use std::time::Duration;

use webmesh_protocol::limits::REQUEST_TIMEOUT;

use super::pulse::Pulse;
use crate::net::limits::{FRAME_UNDER_PRESSURE, SLOWEST_PACE};
use crate::platform::Instant;

/// Checks the throughput of one frame, read or written: otherwise a peer could hold its part of the budget for years by
/// moving a byte now and then.
pub(super) struct Pace<'a> {
    started: Instant,
    moved: u64,
    len: u64,
    pulse: Option<&'a Pulse>,
}

impl<'a> Pace<'a> {
    /// For a frame of `len` bytes that begins now, and holds as many of a budget.
    pub(super) fn new(len: usize, pulse: &'a Pulse) -> Self {
        Self { started: Instant::now(), moved: 0, len: len as u64, pulse: Some(pulse) }
    }

    /// For a frame that only its receiver waits for.
    pub(super) fn calm() -> Self {
        Self { started: Instant::now(), moved: 0, len: 0, pulse: None }
    }

    /// Counts `n` more bytes. `false` if the average throughput is too low.
    pub(super) fn keeps(&mut self, n: usize) -> bool {
        self.moved += n as u64;
        let pressed = self.pulse.is_some_and(Pulse::is_pressed);
        self.started.elapsed() <= allowed(self.moved, self.len, pressed)
    }
}

/// Time limit for the first `moved` bytes of a frame of `len`.
fn allowed(moved: u64, len: u64, pressed: bool) -> Duration {
    let pace = if pressed { SLOWEST_PACE.max(len / FRAME_UNDER_PRESSURE.as_secs()) } else { SLOWEST_PACE };
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
        assert!(pressed <= REQUEST_TIMEOUT + FRAME_UNDER_PRESSURE + Duration::from_secs(1), "{pressed:?}");
        assert_eq!(allowed(1, len, true), REQUEST_TIMEOUT, "it must move all along, not only at the end");
    }

    #[test]
    fn a_usual_push_of_a_slow_peer_is_not_cut_off_under_pressure() {
        let len = webmesh_protocol::limits::PUSH_BYTES as u64;
        assert!(allowed(len, len, true) >= Duration::from_secs(60));
    }
}
