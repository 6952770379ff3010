//! Progress for programs: a JSON object a line, as the table in [`super`] says.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use webmesh_protocol::message::Outcome;

use super::{Event, Face, View, names};
use crate::platform::Instant;
use crate::terminal;

/// The shortest time between two objects of progress.
const INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Json {
    out: Box<dyn Write + Send>,
    last: Option<Instant>,
    /// Progress that was held back, so that the last one is always told.
    held: Option<Value>,
}

impl Json {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, last: None, held: None }
    }

    fn say(&mut self, value: &Value) {
        // In one write, so that whoever reads along never sees half a line.
        let line = format!("{value}\n");
        // Nobody listens any more; the job goes on.
        let _ = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Face for Json {
    fn show(&mut self, now: Instant, event: &Event<'_>) {
        let value = to_json(event);
        if matches!(event, Event::Progress(_) | Event::Reading(_)) {
            if self.last.is_some_and(|last| now < last + INTERVAL) {
                self.held = Some(value);
                return;
            }
            self.last = Some(now);
            self.held = None;
        } else if let Some(held) = self.held.take() {
            self.say(&held);
        }
        self.say(&value);
    }
}

fn to_json(event: &Event<'_>) -> Value {
    match event {
        Event::Phase(text) => json!({ "event": "phase", "text": text }),
        Event::Reading(planned) => json!({ "event": "reading", "bytes": planned.bytes, "of": planned.of }),
        Event::Warnings(text) => json!({ "event": "warnings", "text": terminal::diagnostics(text, false) }),
        Event::Note(text) => json!({ "event": "note", "text": text }),
        Event::Submitted(job, outline) => json!({
            "event": "submitted",
            "job": job.to_string(),
            "name": outline.map(|o| &o.name),
            "documents": outline.map(|o| o.documents),
            "tasks": outline.map(|o| o.tasks),
            "bytes": outline.map(|o| o.bytes),
            "files": outline.map(|o| o.files),
        }),
        Event::Progress(view) => progress(view),
        Event::TaskFailed { failure, input, worker, retries_left } => json!({
            "event": "task_failed",
            "stage": names::stage(usize::from(failure.stage)),
            "task": failure.task,
            "document": failure.document,
            "input": input,
            "why": failure.why,
            "limit": names::limit(failure.cause),
            "help": names::remedy(failure),
            "worker": worker,
            "retries_left": retries_left,
        }),
        Event::Waiting { peer, why, quiet } => {
            json!({ "event": "waiting", "peer": peer, "why": why, "seconds": quiet.as_secs_f64() })
        }
        Event::WaitingOver { quiet } => json!({ "event": "waiting_over", "seconds": quiet.as_secs_f64() }),
        Event::Ended { outcome, why, elapsed } => {
            let name = match outcome {
                Outcome::Done => "done",
                Outcome::Cancelled => "cancelled",
                Outcome::Failed(_) => "failed",
            };
            json!({ "event": "ended", "outcome": name, "why": why, "seconds": elapsed.as_secs_f64() })
        }
        Event::Written { stats, elapsed } => json!({
            "event": "result",
            "lines": stats.lines,
            "keys": stats.keys,
            "bytes": stats.bytes,
            "seconds": elapsed.as_secs_f64(),
        }),
    }
}

fn progress(view: &View) -> Value {
    let stages: Vec<Value> = view
        .stages
        .iter()
        .map(|stage| {
            json!({
                "name": stage.name,
                "done": stage.done,
                "tasks": stage.tasks,
                "per_second": stage.per_second,
                "seconds_left": stage.left.map(|left| left.as_secs_f64()),
            })
        })
        .collect();
    json!({
        "event": "progress",
        "seconds": view.elapsed.as_secs_f64(),
        "stages": stages,
        "input_bytes": view.input.map(|(done, _, _)| done),
        "workers": view.workers,
        "shufflers": view.shufflers,
        "failures": view.failures,
        "peers": view.traffic.map(|t| t.peers),
        "sent_bytes": view.traffic.map(|t| t.sent),
        "received_bytes": view.traffic.map(|t| t.received),
    })
}
