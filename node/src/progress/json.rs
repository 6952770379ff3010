//! Progress for programs: events as lines of JSON.

use std::time::Duration;

use super::event::ProgressEvent;
use super::renderer::Renderer;
use crate::platform::Instant;

/// Minimum interval between two progress events.
const INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Json<F> {
    out: F,
    last: Option<Instant>,
    /// The latest suppressed progress event, written before the next event of another kind.
    held: Option<ProgressEvent>,
}

impl<F: FnMut(&str)> Json<F> {
    pub(super) fn new(out: F) -> Self {
        Self { out, last: None, held: None }
    }
}

impl<F: FnMut(&str)> Renderer for Json<F> {
    fn show(&mut self, now: Instant, event: &ProgressEvent) {
        if matches!(event, ProgressEvent::Progress(_) | ProgressEvent::Reading { .. }) {
            if self.last.is_some_and(|last| now < last + INTERVAL) {
                self.held = Some(event.clone());
                return;
            }
            self.last = Some(now);
            self.held = None;
        } else if let Some(held) = self.held.take() {
            (self.out)(&held.to_json());
        }
        (self.out)(&event.to_json());
    }
}
