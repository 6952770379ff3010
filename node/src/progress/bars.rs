//! Progress on a terminal: a bar for each stage and a status line.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::event::{Ending, JobProgress, ProgressEvent};
use super::renderer::Renderer;
use super::{lines, words};
use crate::terminal;

/// Maximum redraws per second: smooth, at negligible CPU cost.
const DRAWS_PER_SECOND: u8 = 10;
/// Interval of the status line's spinner, which shows that the process is alive while nothing else changes.
const SPINNER_INTERVAL: Duration = Duration::from_millis(120);
const BAR: &str = "{prefix:<9} {bar:32.cyan/blue} {human_pos:>9}/{human_len} {msg}";
const STATUS: &str = "{spinner:.cyan} {wide_msg}";

pub(super) struct Bars {
    all: MultiProgress,
    stages: Vec<ProgressBar>,
    status: ProgressBar,
    failures: u32,
    /// Size of the job's input in bytes.
    input: u64,
    /// What the job waits for, and since when no task has ended; `None` while it makes progress.
    waiting: Option<(String, Instant)>,
    is_cleared: bool,
}

impl Bars {
    pub(super) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let status = all.add(ProgressBar::new_spinner().with_style(style(STATUS)));
        status.enable_steady_tick(SPINNER_INTERVAL);
        Self { all, stages: Vec::new(), status, failures: 0, input: 0, waiting: None, is_cleared: false }
    }

    fn progress(&mut self, now: Instant, progress: &JobProgress) {
        for (i, stage) in progress.stages.iter().enumerate() {
            if self.stages.len() <= i {
                let bar = ProgressBar::new(u64::from(stage.tasks)).with_style(style(BAR));
                self.stages.push(self.all.insert_before(&self.status, bar));
            }
            let bar = &self.stages[i];
            bar.set_length(u64::from(stage.tasks));
            bar.set_prefix(stage.name.clone());
            bar.set_position(u64::from(stage.done));
            let pace = words::pace(stage).unwrap_or_default();
            let left = stage.seconds_left.map(|left| format!("about {} left", words::about(left)));
            bar.set_message([pace, left.unwrap_or_default()].join("  "));
        }
        let waiting = self.waiting.as_ref().map(|(why, since)| (&why[..], now - *since));
        self.status.set_message(terminal::line(&words::status(progress, self.input, waiting)));
    }

    /// Prints `text`, already safe for a terminal, above the bars.
    fn print(&self, text: String) {
        // The job continues if the terminal is gone.
        let _ = self.all.println(text);
    }

    fn print_event(&self, event: &ProgressEvent) {
        if let Some(text) = words::line(event) {
            self.print(terminal::text(&text));
        }
    }
}

impl Renderer for Bars {
    fn clear(&mut self) {
        self.is_cleared = true;
        for bar in self.stages.drain(..).chain([self.status.clone()]) {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, now: Instant, event: &ProgressEvent) {
        match event {
            ProgressEvent::Phase { .. } | ProgressEvent::Reading { .. } | ProgressEvent::Progress(_)
                if self.is_cleared => {}
            ProgressEvent::Phase { text } => self.status.set_message(terminal::line(text)),
            ProgressEvent::Reading { bytes, of } => self.status.set_message(words::reading(*bytes, *of)),
            ProgressEvent::Warnings { text } => self.print(terminal::diagnostics(text, terminal::has_colours())),
            ProgressEvent::Progress(progress) => self.progress(now, progress),
            // Shown in the status line with the next progress event.
            ProgressEvent::Waiting { why, seconds, .. } => {
                let quiet = Duration::try_from_secs_f64(*seconds).unwrap_or_default();
                // An `Instant` cannot precede the clock's origin.
                self.waiting = Some((why.clone(), now.checked_sub(quiet).unwrap_or(now)));
            }
            ProgressEvent::WaitingOver { .. } => self.waiting = None,
            ProgressEvent::TaskFailed { .. } => {
                if self.failures < lines::FAILURES {
                    self.failures += 1;
                    self.print_event(event);
                }
            }
            ProgressEvent::Ended { outcome: Ending::Done, .. } => self.status.set_message("writing the result"),
            // The caller reports how the job ended.
            ProgressEvent::Ended { .. } => self.clear(),
            ProgressEvent::Result { .. } => {
                self.print_event(event);
                self.clear();
            }
            other => {
                if let ProgressEvent::Submitted { bytes, .. } = other {
                    (self.input, self.waiting) = (bytes.unwrap_or(0), None);
                }
                self.print_event(other);
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are valid").progress_chars("━╸─")
}
