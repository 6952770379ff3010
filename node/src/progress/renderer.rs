//! What each style of showing progress does.

use super::event::ProgressEvent;
use crate::platform::Instant;

/// One style of showing events.
pub(super) trait Renderer {
    fn show(&mut self, now: Instant, event: &ProgressEvent);

    /// Removes what it has drawn on the screen, for good.
    fn clear(&mut self) {}
}
