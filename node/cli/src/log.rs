//! The log, on standard error, since standard output is for results only. With `--json` it is JSON too.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, fmt};
use tracing_subscriber::registry::LookupSpan;
use webmesh_node::progress::ProgressEvent;

/// Starts the log; `verbose` is the number of `-v` flags.
pub(crate) fn start(verbose: u8, json: bool) {
    // Warnings of these libraries are transient and need no action.
    let level = ["warn,libp2p_kad=error,libp2p_gossipsub=error,yamux=error", "info,libp2p=warn", "debug"]
        [usize::from(verbose.min(2))];
    let filter = std::env::var("WEBMESH_LOG").unwrap_or_else(|_| level.to_owned());
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if json {
        log.event_format(Json).init();
    } else {
        log.init();
    }
}

/// A [`ProgressEvent::Log`] a line, of the kind that everything else says with `--json`.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut contents = Contents::default();
        event.record(&mut contents);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = event.metadata().level().as_str().to_lowercase();
        let Contents { text, fields } = contents;
        writeln!(out, "{}", ProgressEvent::Log { time, level, text, fields }.to_json())
    }
}

/// The contents of a log event.
#[derive(Default)]
struct Contents {
    text: String,
    fields: Map<String, Value>,
}

impl Contents {
    fn take(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.text = text,
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Contents {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }
}
