//! Displays of progress events.

#[cfg(not(target_family = "wasm"))]
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::ProgressEvent;
use super::json;
use super::renderer::Renderer;
#[cfg(not(target_family = "wasm"))]
use super::{bars, lines};
use crate::platform::Instant;

/// The style of a display.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Progress bars on a terminal.
    Bars,
    /// A line of text every few seconds.
    Lines,
    /// One JSON object per line.
    Json,
}

#[cfg(not(target_family = "wasm"))]
impl Style {
    /// JSON if requested, else bars if standard error is a terminal, else lines.
    pub fn of_stderr(json: bool) -> Self {
        use std::io::IsTerminal;
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        }
    }
}

/// Shows the events of one job. Dropping it removes its bars from the terminal.
pub struct Display {
    renderer: Mutex<Box<dyn Renderer + Send>>,
}

#[cfg(not(target_family = "wasm"))]
impl Display {
    /// A display on standard error.
    pub fn new(style: Style) -> Self {
        match style {
            Style::Bars => Self::with(bars::Bars::new()),
            Style::Lines | Style::Json => Self::to(style, Box::new(std::io::stderr())),
        }
    }

    /// A display that writes to `out`. Bars need a terminal and become lines.
    pub fn to(style: Style, mut out: Box<dyn Write + Send>) -> Self {
        match style {
            Style::Bars | Style::Lines => Self::with(lines::Lines::new(out)),
            Style::Json => Self::json(move |line| {
                // In one write, so that a concurrent reader never sees half a line.
                let line = format!("{line}\n");
                // The job continues if the reader is gone.
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }),
        }
    }
}

impl Display {
    /// A display for programs: calls `out` with each event as JSON.
    pub fn json(out: impl FnMut(&str) + Send + 'static) -> Self {
        Self::with(json::Json::new(out))
    }

    fn with(renderer: impl Renderer + Send + 'static) -> Self {
        Self { renderer: Mutex::new(Box::new(renderer)) }
    }

    pub(super) fn renderer(&self) -> MutexGuard<'_, Box<dyn Renderer + Send>> {
        // A panic while the lock was held leaves the value usable.
        self.renderer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes bars from the screen for good, before something else is written there.
    pub fn clear(&self) {
        self.renderer().clear();
    }

    /// Shows an event.
    pub fn show(&self, event: &ProgressEvent) {
        self.renderer().show(Instant::now(), event);
    }
}
