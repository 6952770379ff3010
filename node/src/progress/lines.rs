//! Progress without a terminal: a line every few seconds.

use std::io::Write;
use std::time::{Duration, Instant};

use super::event::{JobProgress, ProgressEvent};
use super::renderer::Renderer;
use super::words;
use crate::terminal;

/// Minimum interval between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(2);
/// Number of failures that are shown one by one; every progress line contains the total.
pub(super) const FAILURES: u32 = 5;

pub(super) struct Lines {
    out: Box<dyn Write + Send>,
    last: Option<Instant>,
    failures: u32,
    /// Size of the job's input in bytes.
    input: u64,
}

impl Lines {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, last: None, failures: 0, input: 0 }
    }

    fn print(&mut self, text: &str) {
        // In one write: results may go to the same place from another thread.
        let line = format!("{}\n", terminal::text(text));
        // The job continues if the reader is gone.
        let _ = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
    }

    fn print_if_due(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if *self.last.get_or_insert(now) + INTERVAL <= now {
            self.last = Some(now);
            self.print(&text());
        }
    }
}

impl Renderer for Lines {
    fn show(&mut self, now: Instant, event: &ProgressEvent) {
        match event {
            ProgressEvent::Phase { text } => self.print(text),
            ProgressEvent::Reading { bytes, of } => self.print_if_due(now, || words::reading(*bytes, *of)),
            ProgressEvent::Warnings { text } => self.print(&terminal::diagnostics(text, false)),
            ProgressEvent::Progress(progress) => {
                let input = self.input;
                self.print_if_due(now, || line(progress, input));
            }
            ProgressEvent::TaskFailed { .. } if self.failures >= FAILURES => {}
            other => {
                match other {
                    ProgressEvent::Submitted { bytes, .. } => self.input = bytes.unwrap_or(0),
                    ProgressEvent::TaskFailed { .. } => self.failures += 1,
                    _ => {}
                }
                if let Some(text) = words::line(other) {
                    self.print(&text);
                }
            }
        }
    }
}

fn line(progress: &JobProgress, input: u64) -> String {
    let mut parts: Vec<String> = Vec::new();
    for stage in &progress.stages {
        let mut part = format!("{} {}/{}", stage.name, stage.done, stage.tasks);
        if let Some(pace) = words::pace(stage) {
            part += &format!(" ({pace})");
        }
        if let Some(left) = stage.seconds_left {
            part += &format!(", about {} left", words::about(left));
        }
        parts.push(part);
    }
    // A separate line has said what the job waits for.
    parts.push(words::status(progress, input, None));
    parts.join("; ")
}
