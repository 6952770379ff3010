//! Progress on a terminal: a bar for each stage and a line about the rest.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use webmesh_protocol::message::Outcome;

use super::{Event, Face, View, lines, words};
use crate::terminal;

/// Draws a second, at most: smooth to the eye, nothing to the processor.
const DRAWS_PER_SECOND: u8 = 10;
/// How often the line about the rest moves when nothing else does, to show that somebody is alive.
const BEAT: Duration = Duration::from_millis(120);
const BAR: &str = "{prefix:<9} {bar:32.cyan/blue} {human_pos:>9}/{human_len} {msg}";
const STATUS: &str = "{spinner:.cyan} {wide_msg}";

pub(super) struct Bars {
    all: MultiProgress,
    stages: Vec<ProgressBar>,
    status: ProgressBar,
    failures: u32,
}

impl Bars {
    pub(super) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let status = all.add(ProgressBar::new_spinner().with_style(style(STATUS)));
        status.enable_steady_tick(BEAT);
        Self { all, stages: Vec::new(), status, failures: 0 }
    }

    fn progress(&mut self, view: &View) {
        for (i, stage) in view.stages.iter().enumerate() {
            if self.stages.len() <= i {
                let bar = ProgressBar::new(u64::from(stage.tasks)).with_style(style(BAR));
                self.stages.push(self.all.insert_before(&self.status, bar));
            }
            let bar = &self.stages[i];
            bar.set_length(u64::from(stage.tasks));
            bar.set_prefix(stage.name.clone());
            bar.set_position(u64::from(stage.done));
            let pace = words::pace(stage).unwrap_or_default();
            let left = stage.left.map(|left| format!("about {} left", words::about(left)));
            bar.set_message([pace, left.unwrap_or_default()].join("  "));
        }
        self.status.set_message(words::status(view));
    }

    /// Takes the bars away for good.
    fn clear(&mut self) {
        for bar in self.stages.drain(..).chain([self.status.clone()]) {
            bar.finish_and_clear();
        }
    }

    /// Writes above the bars what is fit for a terminal.
    fn say(&self, text: String) {
        // A terminal that is gone is no reason to stop the job.
        let _ = self.all.println(text);
    }
}

impl Face for Bars {
    fn show(&mut self, _: Instant, event: &Event<'_>) {
        match event {
            Event::Phase(text) => self.status.set_message(terminal::line(text)),
            Event::Reading(planned) => self.status.set_message(words::reading(*planned)),
            Event::Warnings(text) => self.say(terminal::diagnostics(text, terminal::has_colours())),
            Event::Progress(view) => self.progress(view),
            Event::TaskFailed { .. } if self.failures >= lines::FAILURES => {}
            Event::TaskFailed { .. } | Event::Note(_) | Event::Submitted(..) => {
                self.failures += u32::from(matches!(event, Event::TaskFailed { .. }));
                if let Some(text) = words::line(event) {
                    self.say(terminal::text(&text));
                }
            }
            // The status line tells of it, with the next progress.
            Event::Waiting { .. } | Event::WaitingOver { .. } => {}
            Event::Ended { outcome: Outcome::Done, .. } => self.status.set_message("writing the result"),
            // Whoever runs the job says how it ended.
            Event::Ended { .. } => self.clear(),
            Event::Written { .. } => {
                if let Some(text) = words::line(event) {
                    self.say(terminal::text(&text));
                }
                self.clear();
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
    ProgressStyle::with_template(template).expect("a template of this file").progress_chars("━╸─")
}
