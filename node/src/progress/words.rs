//! Texts about progress for users.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

use super::event::{JobProgress, ProgressEvent, StageProgress};
use super::names;

pub(super) fn bytes(n: u64) -> String {
    HumanBytes(n).to_string()
}

pub(super) fn count(n: u64, one: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {one}{plural}", HumanCount(n))
}

/// A duration in seconds as text, rounded as an estimate should be.
pub(super) fn about(seconds: f64) -> String {
    match seconds.ceil() as u64 {
        s @ 0..100 => format!("{s} s"),
        s @ 100..6000 => format!("{} min", (s + 30) / 60),
        s => format!("{} h", (s + 1800) / 3600),
    }
}

pub(super) fn reading(done: u64, of: u64) -> String {
    format!("reading inputs: {} of {}", bytes(done), bytes(of))
}

pub(super) fn pace(stage: &StageProgress) -> Option<String> {
    let rate = stage.per_second?;
    Some(if rate >= 10.0 { format!("{rate:.0}/s") } else { format!("{rate:.1}/s") })
}

/// A job's status apart from its stages, the most important first: a narrow terminal cuts the end off. `input` is the
/// size of its input in bytes; `waiting` is what it waits for, and the time since a task last ended.
pub(super) fn status(progress: &JobProgress, input: u64, waiting: Option<(&str, Duration)>) -> String {
    let mut parts = Vec::new();
    if let Some(done) = progress.input_bytes {
        parts.push(format!("{} of {}", bytes(done), bytes(input)));
        let map = progress.stages.first();
        if let Some((rate, tasks)) = map.and_then(|map| Some((map.per_second?, map.tasks))) {
            parts.push(format!("{}/s", bytes((rate * input as f64 / f64::from(tasks.max(1))) as u64)));
        }
    }
    parts.push(count(u64::from(progress.workers), "worker"));
    if progress.shufflers > 0 {
        parts.push(count(u64::from(progress.shufflers), "shuffler"));
    }
    if progress.failures > 0 {
        parts.push(count(u64::from(progress.failures), "failed attempt"));
    }
    if let Some(peers) = progress.peers {
        parts.push(count(u64::from(peers), "peer"));
    }
    if let (Some(sent), Some(received)) = (progress.sent_bytes, progress.received_bytes) {
        parts.push(format!("{} sent", bytes(sent)));
        parts.push(format!("{} received", bytes(received)));
    }
    let known = parts.join(", ");
    match waiting {
        Some((why, quiet)) => format!("waiting for {} s: {why}; {known}", quiet.as_secs()),
        None => known,
    }
}

/// The line for an event that looks the same in bars and lines; `None` for all other events.
pub(super) fn line(event: &ProgressEvent) -> Option<String> {
    Some(match event {
        ProgressEvent::Note { text } => format!("note: {text}"),
        ProgressEvent::Submitted { name, documents, tasks, bytes: read, files, .. } => {
            let (name, tasks) = (name.as_ref()?, count(u64::from((*tasks)?), "task"));
            match files.unwrap_or(0) {
                0 => format!("{name}: {tasks}"),
                files => {
                    let documents = count(documents.unwrap_or(0), "document");
                    let files = count(u64::from(files), "file");
                    format!("{name}: {} in {files}, {documents}, {tasks}", bytes(read.unwrap_or(0)))
                }
            }
        }
        ProgressEvent::TaskFailed { stage, task, input, why, retries_left, .. } => {
            let what = names::attempt(stage, *task, input.as_deref(), why);
            match retries_left {
                0 => format!("failed, no retries left: {what}"),
                1 => format!("failed, 1 retry left: {what}"),
                n => format!("failed, {n} retries left: {what}"),
            }
        }
        ProgressEvent::Waiting { why, .. } => format!("waiting: {why}"),
        ProgressEvent::WaitingOver { seconds } => format!("the job makes progress again after {seconds:.1} s"),
        ProgressEvent::Revoked { stage, tasks } => {
            let tasks = count(u64::from(*tasks), "finished task");
            format!("results of {stage} were lost and no other attempt reproduces them: running {tasks} again")
        }
        ProgressEvent::Result { lines, keys, bytes: written, seconds } => {
            let (lines, keys) = (count(*lines, "line"), count(*keys, "key"));
            format!("done: {lines}, {keys}, {} in {seconds:.1} s", bytes(*written))
        }
        _ => return None,
    })
}
