//! Progress where there is no terminal: a line now and then.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Event, Face, View, words};
use crate::terminal;

/// The shortest time between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(2);
/// Failed tasks that are told of one by one; the number of the rest is in every line.
pub(super) const FAILURES: u32 = 5;

pub(super) struct Lines {
    out: Box<dyn Write + Send>,
    last: Option<Instant>,
    failures: u32,
}

impl Lines {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, last: None, failures: 0 }
    }

    fn say(&mut self, text: &str) {
        // Nobody listens any more; the job goes on.
        let _ = writeln!(self.out, "{}", terminal::text(text)).and_then(|()| self.out.flush());
    }

    fn say_if_due(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if *self.last.get_or_insert(now) + INTERVAL <= now {
            self.last = Some(now);
            self.say(&text());
        }
    }
}

impl Face for Lines {
    fn show(&mut self, now: Instant, event: &Event<'_>) {
        match event {
            Event::Phase(text) => self.say(text),
            Event::Reading(planned) => self.say_if_due(now, || words::reading(*planned)),
            Event::Warnings(text) => self.say(&terminal::diagnostics(text, false)),
            Event::Progress(view) => self.say_if_due(now, || line(view)),
            Event::TaskFailed { .. } if self.failures >= FAILURES => {}
            Event::TaskFailed { .. }
            | Event::Note(_)
            | Event::Submitted(..)
            | Event::Waiting { .. }
            | Event::WaitingOver { .. }
            | Event::Written { .. } => {
                self.failures += u32::from(matches!(event, Event::TaskFailed { .. }));
                if let Some(text) = words::line(event) {
                    self.say(&text);
                }
            }
            // Whoever runs the job says how it ended.
            Event::Ended { .. } => {}
        }
    }
}

fn line(view: &View) -> String {
    let mut parts: Vec<String> = Vec::new();
    for stage in &view.stages {
        let mut part = format!("{} {}/{}", stage.name, stage.done, stage.tasks);
        if let Some(pace) = words::pace(stage) {
            part += &format!(" ({pace})");
        }
        if let Some(left) = stage.left {
            part += &format!(", about {} left", words::about(left));
        }
        parts.push(part);
    }
    // A line of its own has said what is waited for.
    parts.push(words::status(&View { waiting: None, ..view.clone() }));
    parts.join("; ")
}
