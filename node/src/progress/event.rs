//! Progress events of a job, in the one format that all interfaces share.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use webmesh_protocol::JobId;

use crate::terminal;

/// A progress event of a job. In JSON, an object whose `event` field names the variant: one per line with `--json` and
/// in the log of a detached job, and passed to JavaScript by a tab.
///
/// A later version may add variants and fields; readers must ignore unknown ones.
///
/// ```
/// # use webmesh_node::progress::ProgressEvent;
/// let event: ProgressEvent = serde_json::from_str(r#"{ "event": "phase", "text": "compiling wordcount.cpp" }"#)?;
/// assert_eq!(event, ProgressEvent::Phase { text: "compiling wordcount.cpp".to_owned() });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProgressEvent {
    /// A step before or after the job's run, such as "compiling wordcount.cpp".
    Phase {
        /// The step, as text for users.
        text: String,
    },
    /// Progress of reading the inputs.
    Reading {
        /// Bytes read so far.
        bytes: u64,
        /// Total bytes.
        of: u64,
    },
    /// clang's warnings about a source that compiled.
    Warnings {
        /// clang's output. JSON omits its colours.
        #[serde(serialize_with = "without_colours")]
        text: String,
    },
    /// clang's errors about a source that does not compile.
    Diagnostics {
        /// clang's output. JSON omits its colours.
        #[serde(serialize_with = "without_colours")]
        text: String,
    },
    /// A remark on the inputs, such as compressed files.
    Note {
        /// The remark, as text for users.
        text: String,
    },
    /// The job was announced. All fields but the id are absent if unknown.
    Submitted {
        /// The job's id.
        #[serde(with = "as_text")]
        job: JobId,
        /// The job's name for users.
        name: Option<String>,
        /// Number of input documents.
        documents: Option<u64>,
        /// Number of tasks of the first stage.
        tasks: Option<u32>,
        /// Size of the input in bytes.
        bytes: Option<u64>,
        /// Number of input files; 0 for a job without input.
        files: Option<u32>,
    },
    /// The job's progress.
    Progress(JobProgress),
    /// An attempt of a task failed.
    TaskFailed {
        /// The name of the task's stage.
        stage: String,
        /// The task's number within its stage.
        task: u32,
        /// The index within the task of the document that caused the failure, if known.
        document: Option<u32>,
        /// The input file or files that the task read, if known.
        input: Option<String>,
        /// The reason, as text for users.
        why: String,
        /// The limit that the attempt exceeded, if any.
        limit: Option<Limit>,
        /// How to stay within the limit, as text for users.
        help: Option<String>,
        /// The abbreviated key of the worker that ran the attempt.
        worker: String,
        /// Retries left for the task; at 0, the job fails.
        retries_left: u8,
    },
    /// No task has ended for some seconds. Sent again when the cause changes.
    Waiting {
        /// The abbreviated key of the peer that the job waits for, if it waits for one.
        peer: Option<String>,
        /// What the job waits for and what happens next, as text for users.
        why: String,
        /// Seconds since a task last ended, or since the job was submitted if none has.
        seconds: f64,
    },
    /// A task ended after a [`Waiting`](Self::Waiting) event.
    WaitingOver {
        /// Seconds in which no task ended.
        seconds: f64,
    },
    /// The results of finished tasks are revoked: a shuffler was lost, and other attempts did not reproduce its data.
    /// These tasks, and those computed from them, run again.
    Revoked {
        /// The name of the first affected stage.
        stage: String,
        /// Number of tasks that run again, including those of later stages.
        tasks: u32,
    },
    /// The job ended.
    Ended {
        /// Whether the job succeeded.
        outcome: Ending,
        /// Why the job failed, as text for users; absent if it did not.
        why: Option<String>,
        /// Seconds since the job was submitted.
        seconds: f64,
    },
    /// The job's result was written.
    Result {
        /// Number of lines.
        lines: u64,
        /// Number of distinct keys.
        keys: u64,
        /// Size in bytes.
        bytes: u64,
        /// Seconds since the start, before the source was compiled.
        seconds: f64,
    },
    /// A command failed, with or without having started a job. Always the last event.
    Error {
        /// The reason, as text for users.
        why: String,
    },
    /// A line of the log.
    Log {
        /// Timestamp in RFC 3339 format.
        time: String,
        /// `error`, `warn`, `info`, `debug` or `trace`.
        level: String,
        /// The message.
        text: String,
        /// The structured fields of the line.
        fields: Map<String, Value>,
    },
}

/// Progress of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Seconds since the job was submitted.
    pub seconds: f64,
    /// Progress of each stage, in order.
    pub stages: Vec<StageProgress>,
    /// Input bytes mapped so far, estimated from the share of finished tasks; absent for a job without input.
    pub input_bytes: Option<u64>,
    /// Number of peers that have worked on the job.
    pub workers: u32,
    /// Number of shufflers that hold its intermediate data.
    pub shufflers: u32,
    /// Number of failed attempts so far.
    pub failures: u32,
    /// Number of peers that this peer is connected to.
    pub peers: Option<u32>,
    /// Bytes sent by this peer.
    pub sent_bytes: Option<u64>,
    /// Bytes received by this peer.
    pub received_bytes: Option<u64>,
}

/// Progress of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageProgress {
    /// `map`, `reduce`, then `reduce 2`, `reduce 3` and so on.
    pub name: String,
    /// Number of finished tasks. It can decrease: see [`ProgressEvent::Revoked`].
    pub done: u32,
    /// Number of all tasks known so far.
    pub tasks: u32,
    /// Tasks per second; absent until measured.
    pub per_second: Option<f64>,
    /// Estimated seconds until the stage is done; absent if there is no reliable estimate.
    pub seconds_left: Option<f64>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All tasks finished.
    Done,
    /// The owner cancelled the job.
    Cancelled,
    /// The job failed.
    Failed,
}

/// A limit of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Wall-clock time.
    Time,
    /// Memory.
    Memory,
    /// Bytes of output.
    Output,
    /// Bytes of input.
    Input,
}

impl StageProgress {
    /// The share of finished tasks, from 0 to 1.
    pub fn share(&self) -> f64 {
        f64::from(self.done) / f64::from(self.tasks.max(1))
    }
}

impl ProgressEvent {
    /// The event as JSON, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and text keys are JSON")
    }
}

fn without_colours<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&terminal::diagnostics(text, false))
}

/// Serializes a job id as hexadecimal text.
mod as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use webmesh_protocol::JobId;

    pub(super) fn serialize<S: Serializer>(job: &JobId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(job)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JobId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        "(\\PC|\n|\t|\"|\\\\){0,20}"
    }

    fn maybe<T: Clone + std::fmt::Debug + 'static>(
        of: impl Strategy<Value = T> + 'static,
    ) -> impl Strategy<Value = Option<T>> {
        prop::option::of(of)
    }

    /// Numbers with a short exact decimal form.
    fn seconds() -> impl Strategy<Value = f64> {
        (0u32..1 << 24).prop_map(|eighths| f64::from(eighths) / 8.0)
    }

    fn stage() -> impl Strategy<Value = StageProgress> {
        let fields = (text(), any::<u32>(), any::<u32>(), maybe(seconds()), maybe(seconds()));
        fields.prop_map(|(name, done, tasks, per_second, seconds_left)| StageProgress {
            name,
            done,
            tasks,
            per_second,
            seconds_left,
        })
    }

    fn progress() -> impl Strategy<Value = ProgressEvent> {
        let job = (seconds(), prop::collection::vec(stage(), 0..4), maybe(any::<u64>()), any::<[u32; 3]>());
        (job, maybe(any::<u32>()), maybe(any::<[u64; 2]>())).prop_map(|(job, peers, bytes)| {
            let (seconds, stages, input_bytes, [workers, shufflers, failures]) = job;
            let [sent_bytes, received_bytes] = [0, 1].map(|i| bytes.map(|bytes| bytes[i]));
            ProgressEvent::Progress(JobProgress {
                seconds,
                stages,
                input_bytes,
                workers,
                shufflers,
                failures,
                peers,
                sent_bytes,
                received_bytes,
            })
        })
    }

    fn task_failed() -> impl Strategy<Value = ProgressEvent> {
        let limits = vec![Limit::Time, Limit::Memory, Limit::Output, Limit::Input];
        let place = (text(), any::<u32>(), maybe(any::<u32>()), maybe(text()));
        let limit = maybe(prop::sample::select(limits));
        (place, text(), limit, maybe(text()), text(), any::<u8>()).prop_map(
            |((stage, task, document, input), why, limit, help, worker, retries_left)| ProgressEvent::TaskFailed {
                stage,
                task,
                document,
                input,
                why,
                limit,
                help,
                worker,
                retries_left,
            },
        )
    }

    fn submitted() -> impl Strategy<Value = ProgressEvent> {
        let known = (maybe(text()), maybe(any::<[u64; 2]>()), maybe(any::<[u32; 2]>()));
        (any::<[u8; 32]>(), known).prop_map(|(job, (name, long, short))| ProgressEvent::Submitted {
            job: JobId(job),
            name,
            documents: long.map(|n| n[0]),
            tasks: short.map(|n| n[0]),
            bytes: long.map(|n| n[1]),
            files: short.map(|n| n[1]),
        })
    }

    fn event() -> impl Strategy<Value = ProgressEvent> {
        let endings = vec![Ending::Done, Ending::Cancelled, Ending::Failed];
        let ended = (prop::sample::select(endings), maybe(text()), seconds());
        let fields = prop::collection::vec((text(), text()), 0..3);
        prop_oneof![
            text().prop_map(|text| ProgressEvent::Phase { text }),
            any::<[u64; 2]>().prop_map(|[bytes, of]| ProgressEvent::Reading { bytes, of }),
            text().prop_map(|text| ProgressEvent::Note { text }),
            submitted(),
            progress(),
            task_failed(),
            (maybe(text()), text(), seconds()).prop_map(|(peer, why, seconds)| ProgressEvent::Waiting {
                peer,
                why,
                seconds
            }),
            seconds().prop_map(|seconds| ProgressEvent::WaitingOver { seconds }),
            (text(), any::<u32>()).prop_map(|(stage, tasks)| ProgressEvent::Revoked { stage, tasks }),
            ended.prop_map(|(outcome, why, seconds)| ProgressEvent::Ended { outcome, why, seconds }),
            (any::<[u64; 3]>(), seconds()).prop_map(|([lines, keys, bytes], seconds)| ProgressEvent::Result {
                lines,
                keys,
                bytes,
                seconds
            }),
            text().prop_map(|why| ProgressEvent::Error { why }),
            (text(), text(), text(), fields).prop_map(|(time, level, text, fields)| ProgressEvent::Log {
                time,
                level,
                text,
                fields: fields.into_iter().map(|(name, value)| (name, Value::String(value))).collect(),
            }),
        ]
    }

    proptest! {
        #[test]
        fn an_event_survives_a_round_trip_through_json(event in event()) {
            let line = event.to_json();
            prop_assert!(!line.contains('\n'), "{line}");
            prop_assert_eq!(serde_json::from_str::<ProgressEvent>(&line).unwrap(), event);
        }
    }

    /// Every variant with its documented JSON.
    fn documented() -> Vec<(ProgressEvent, Value)> {
        let job = JobId([0xab; 32]);
        let id = "ab".repeat(32);
        let text = || "text".to_owned();
        let stages = [("map", 3, Some(1.5)), ("reduce", 0, None)].map(|(name, done, per_second)| StageProgress {
            name: name.to_owned(),
            done,
            tasks: 8,
            per_second,
            seconds_left: None,
        });
        let text_event = |name: &str| json!({ "event": name, "text": "text" });
        vec![
            (ProgressEvent::Phase { text: text() }, text_event("phase")),
            (ProgressEvent::Reading { bytes: 5, of: 10 }, json!({ "event": "reading", "bytes": 5, "of": 10 })),
            (ProgressEvent::Warnings { text: text() }, text_event("warnings")),
            (ProgressEvent::Diagnostics { text: text() }, text_event("diagnostics")),
            (ProgressEvent::Note { text: text() }, text_event("note")),
            (
                ProgressEvent::Submitted {
                    job,
                    name: Some("wc.cpp".to_owned()),
                    documents: Some(7),
                    tasks: Some(8),
                    bytes: Some(9),
                    files: Some(1),
                },
                json!({
                    "event": "submitted", "job": id, "name": "wc.cpp", "documents": 7, "tasks": 8, "bytes": 9, "files": 1,
                }),
            ),
            (
                ProgressEvent::Submitted { job, name: None, documents: None, tasks: None, bytes: None, files: None },
                json!({
                    "event": "submitted", "job": id, "name": null, "documents": null, "tasks": null, "bytes": null,
                    "files": null,
                }),
            ),
            (
                ProgressEvent::Progress(JobProgress {
                    seconds: 2.5,
                    stages: stages.to_vec(),
                    workers: 2,
                    sent_bytes: Some(4),
                    ..JobProgress::default()
                }),
                json!({
                    "event": "progress", "seconds": 2.5, "stages": [
                        { "name": "map", "done": 3, "tasks": 8, "per_second": 1.5, "seconds_left": null },
                        { "name": "reduce", "done": 0, "tasks": 8, "per_second": null, "seconds_left": null },
                    ],
                    "input_bytes": null, "workers": 2, "shufflers": 0, "failures": 0, "peers": null, "sent_bytes": 4,
                    "received_bytes": null,
                }),
            ),
            (
                ProgressEvent::TaskFailed {
                    stage: "map".to_owned(),
                    task: 4,
                    document: Some(1),
                    input: Some("a.txt".to_owned()),
                    why: "it took too long".to_owned(),
                    limit: Some(Limit::Time),
                    help: Some("allow more".to_owned()),
                    worker: "12ab".to_owned(),
                    retries_left: 2,
                },
                json!({
                    "event": "task_failed", "stage": "map", "task": 4, "document": 1, "input": "a.txt",
                    "why": "it took too long", "limit": "time", "help": "allow more", "worker": "12ab", "retries_left": 2,
                }),
            ),
            (
                ProgressEvent::Waiting { peer: None, why: text(), seconds: 4.0 },
                json!({ "event": "waiting", "peer": null, "why": "text", "seconds": 4.0 }),
            ),
            (ProgressEvent::WaitingOver { seconds: 9.5 }, json!({ "event": "waiting_over", "seconds": 9.5 })),
            (
                ProgressEvent::Revoked { stage: "map".to_owned(), tasks: 3 },
                json!({ "event": "revoked", "stage": "map", "tasks": 3 }),
            ),
            (
                ProgressEvent::Ended { outcome: Ending::Failed, why: Some(text()), seconds: 1.5 },
                json!({ "event": "ended", "outcome": "failed", "why": "text", "seconds": 1.5 }),
            ),
            (
                ProgressEvent::Ended { outcome: Ending::Cancelled, why: None, seconds: 1.5 },
                json!({ "event": "ended", "outcome": "cancelled", "why": null, "seconds": 1.5 }),
            ),
            (
                ProgressEvent::Result { lines: 3, keys: 2, bytes: 30, seconds: 1.5 },
                json!({ "event": "result", "lines": 3, "keys": 2, "bytes": 30, "seconds": 1.5 }),
            ),
            (ProgressEvent::Error { why: text() }, json!({ "event": "error", "why": "text" })),
            (
                ProgressEvent::Log { time: text(), level: "warn".to_owned(), text: text(), fields: Map::new() },
                json!({ "event": "log", "time": "text", "level": "warn", "text": "text", "fields": {} }),
            ),
        ]
    }

    #[test]
    fn every_event_has_its_documented_json() {
        for (event, form) in documented() {
            assert_eq!(serde_json::to_value(&event).unwrap(), form);
            assert_eq!(serde_json::from_value::<ProgressEvent>(form).unwrap(), event);
        }
    }

    /// `browser-node/web/src/events.ts` describes the same JSON to TypeScript.
    #[test]
    fn the_type_for_typescript_has_every_event_and_field() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../browser-node/web/src/events.ts");
        let source = std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{path}: {why}"));
        for (_, form) in documented() {
            let name = form["event"].to_string();
            let is_named = |member: &&str| member.split(';').next().is_some_and(|tag| tag.contains(&name));
            let member = source.split("\n  | ").find(is_named).unwrap_or_else(|| panic!("{path} lacks {name}"));
            for field in form.as_object().unwrap().keys() {
                assert!(member.contains(&format!("{field}:")), "{path} lacks `{field}` of {name}");
            }
            for field in
                form["stages"].as_array().into_iter().flatten().flat_map(|stage| stage.as_object().unwrap().keys())
            {
                assert!(source.contains(&format!("{field}:")), "{path} lacks `{field}` of a stage");
            }
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_optional_ones_may_be_absent() {
        let of_a_later_version = json!({
            "event": "waiting", "why": "no worker", "seconds": 4, "since": "noon",
        });
        let event: ProgressEvent = serde_json::from_value(of_a_later_version).unwrap();
        assert_eq!(event, ProgressEvent::Waiting { peer: None, why: "no worker".to_owned(), seconds: 4.0 });
    }

    #[test]
    fn json_omits_clang_colours_and_escapes_other_control_characters() {
        let text = "\x1b[0;1;35mwarning: \x1b[0munused\x1b[2J".to_owned();
        for event in [ProgressEvent::Warnings { text: text.clone() }, ProgressEvent::Diagnostics { text }] {
            assert_eq!(serde_json::to_value(&event).unwrap()["text"], r"warning: unused\u{1b}[2J");
        }
    }
}
