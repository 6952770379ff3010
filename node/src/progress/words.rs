//! How things are said to people.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

use super::names::failure;
use super::{Event, Outline, StageView, View};
use crate::inputs::Planned;
use crate::results::Stats;

pub(super) fn bytes(n: u64) -> String {
    HumanBytes(n).to_string()
}

pub(super) fn count(n: u64, one: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {one}{plural}", HumanCount(n))
}

/// A length of time, as exact as a guess should be.
pub(super) fn about(time: Duration) -> String {
    match time.as_secs_f64().ceil() as u64 {
        s @ 0..100 => format!("{s} s"),
        s @ 100..6000 => format!("{} min", (s + 30) / 60),
        s => format!("{} h", (s + 1800) / 3600),
    }
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

pub(super) fn reading(planned: Planned) -> String {
    format!("reading inputs: {} of {}", bytes(planned.bytes), bytes(planned.of))
}

pub(super) fn outline(outline: &Outline) -> String {
    let (name, tasks) = (&outline.name, count(u64::from(outline.tasks), "task"));
    if outline.files == 0 {
        return format!("{name}: {tasks}");
    }
    let documents = count(outline.documents, "document");
    let files = count(u64::from(outline.files), "file");
    format!("{name}: {} in {files}, {documents}, {tasks}", bytes(outline.bytes))
}

pub(super) fn pace(stage: &StageView) -> Option<String> {
    let rate = stage.per_second?;
    Some(if rate >= 10.0 { format!("{rate:.0}/s") } else { format!("{rate:.1}/s") })
}

/// Everything about a job but its stages, what matters most first: a narrow terminal cuts the end off.
pub(super) fn status(view: &View) -> String {
    let mut parts = Vec::new();
    if let Some((done, of, rate)) = view.input {
        parts.push(format!("{} of {}", bytes(done), bytes(of)));
        if let Some(rate) = rate {
            parts.push(format!("{}/s", bytes(rate as u64)));
        }
    }
    parts.push(count(u64::from(view.workers), "worker"));
    if view.shufflers > 0 {
        parts.push(count(u64::from(view.shufflers), "shuffler"));
    }
    if view.failures > 0 {
        parts.push(count(u64::from(view.failures), "failed attempt"));
    }
    if let Some(traffic) = view.traffic {
        parts.push(count(u64::from(traffic.peers), "peer"));
        parts.push(format!("{} sent", bytes(traffic.sent)));
        parts.push(format!("{} received", bytes(traffic.received)));
    }
    let known = parts.join(", ");
    match &view.waiting {
        Some((why, quiet)) => format!("waiting for {} s: {why}; {known}", quiet.as_secs()),
        None => known,
    }
}

/// The line for an event that has one in both faces for people.
pub(super) fn line(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Note(text) => format!("note: {text}"),
        Event::Submitted(_, known) => (*known).map(outline)?,
        Event::TaskFailed { failure: what, input, retries_left, .. } => {
            let what = failure(what, input.as_deref());
            match retries_left {
                0 => format!("failed for the last time: {what}"),
                n => format!("failed, to be tried again ({n} left): {what}"),
            }
        }
        Event::Waiting { why, .. } => format!("waiting: {why}"),
        Event::WaitingOver { quiet } => format!("the job makes progress again, after {}", seconds(*quiet)),
        Event::Written { stats, elapsed } => written(stats, *elapsed),
        _ => return None,
    })
}

fn written(stats: &Stats, elapsed: Duration) -> String {
    let (lines, keys) = (count(stats.lines, "line"), count(stats.keys, "key"));
    format!("done: {lines}, {keys}, {} in {}", bytes(stats.bytes), seconds(elapsed))
}
