//! What shows events.

#[cfg(not(target_family = "wasm"))]
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::ProgressEvent;
use super::json;
#[cfg(not(target_family = "wasm"))]
use super::{bars, lines};
use crate::platform::Instant;

/// How progress is shown.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bars that move.
    Bars,
    /// A line now and then.
    Lines,
    /// JSON, a line each.
    Json,
}

#[cfg(not(target_family = "wasm"))]
impl Style {
    /// What fits standard error.
    pub fn of_stderr(json: bool) -> Self {
        use std::io::IsTerminal;
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        }
    }
}

/// Shows the events of one job. What bars have drawn is taken away when this is dropped.
pub struct Display {
    face: Mutex<Box<dyn Face + Send>>,
}

/// A way to show events.
pub(super) trait Face {
    fn show(&mut self, now: Instant, event: &ProgressEvent);
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

    /// A display that writes elsewhere. Bars, which need a terminal, become lines.
    pub fn to(style: Style, mut out: Box<dyn Write + Send>) -> Self {
        match style {
            Style::Bars | Style::Lines => Self::with(lines::Lines::new(out)),
            Style::Json => Self::json(move |line| {
                // In one write, so that whoever reads along never sees half a line.
                let line = format!("{line}\n");
                // Nobody listens any more; the job goes on.
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }),
        }
    }
}

impl Display {
    /// A display for programs: `out` is given each event as JSON.
    pub fn json(out: impl FnMut(&str) + Send + 'static) -> Self {
        Self::with(json::Json::new(out))
    }

    fn with(face: impl Face + Send + 'static) -> Self {
        Self { face: Mutex::new(Box::new(face)) }
    }

    pub(super) fn face(&self) -> MutexGuard<'_, Box<dyn Face + Send>> {
        // A panic of another holder leaves it usable.
        self.face.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows an event.
    pub fn show(&self, event: &ProgressEvent) {
        self.face().show(Instant::now(), event);
    }
}
