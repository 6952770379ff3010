//! What there is to tell of a job: the one format of progress.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use webmesh_protocol::JobId;

use crate::terminal;

/// Something to tell of a job while it runs. As JSON, it is an object whose `event` names the variant: what `--json`
/// writes, a line each, what the log of a detached job holds, and what a tab gives to JavaScript.
///
/// A later version may add variants and fields; a reader ignores those that it does not know.
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
    /// What is done before the job runs, or after, such as "compiling wordcount.cpp".
    Phase {
        /// For people.
        text: String,
    },
    /// How far the inputs are read.
    Reading {
        /// Bytes read.
        bytes: u64,
        /// Bytes in all.
        of: u64,
    },
    /// Warnings of clang about a source that it compiled.
    Warnings {
        /// What clang wrote. Its colours are left out of JSON.
        #[serde(serialize_with = "without_colours")]
        text: String,
    },
    /// What clang said of a source that does not compile.
    Diagnostics {
        /// What clang wrote. Its colours are left out of JSON.
        #[serde(serialize_with = "without_colours")]
        text: String,
    },
    /// What to know of the inputs, such as files that are compressed.
    Note {
        /// For people.
        text: String,
    },
    /// The job was announced. Except for its id, everything is absent where it is not known.
    Submitted {
        /// Its id.
        #[serde(with = "as_text")]
        job: JobId,
        /// What people call it.
        name: Option<String>,
        /// Documents that it reads.
        documents: Option<u64>,
        /// Tasks of its first stage.
        tasks: Option<u32>,
        /// Bytes that it reads.
        bytes: Option<u64>,
        /// Files that they lie in; 0 for a job without input.
        files: Option<u32>,
    },
    /// How far the job is.
    Progress(JobProgress),
    /// An attempt of a task failed.
    TaskFailed {
        /// The name of its stage.
        stage: String,
        /// The task.
        task: u32,
        /// The document within the task, where one is to blame.
        document: Option<u32>,
        /// The file, or the files, that the task read, where they are known.
        input: Option<String>,
        /// What happened, for people.
        why: String,
        /// The limit that it reached, where it reached one.
        limit: Option<Limit>,
        /// How to submit the job so that its tasks stay within the limit, for people.
        help: Option<String>,
        /// The beginning of the key of the worker that ran it.
        worker: String,
        /// How often the task is tried again; at 0, the job ends.
        retries_left: u8,
    },
    /// No task has ended for some seconds. Told again when the cause changes.
    Waiting {
        /// The beginning of the key of the peer that is waited for, where it is one.
        peer: Option<String>,
        /// What is waited for, and what follows, for people.
        why: String,
        /// Seconds since a task last ended, or the job was submitted.
        seconds: f64,
    },
    /// A task ended after [`Waiting`](Self::Waiting) was told.
    WaitingOver {
        /// Seconds for which none had ended.
        seconds: f64,
    },
    /// Results of finished tasks no longer stand, because a shuffler was lost whose data other attempts did not give
    /// again. The tasks, and those that had been computed from them, are run again.
    Revoked {
        /// The name of the stage in which it began.
        stage: String,
        /// How many tasks are open again, those of later stages included.
        tasks: u32,
    },
    /// The job is over.
    Ended {
        /// How.
        outcome: Ending,
        /// Why it failed, for people.
        why: Option<String>,
        /// Seconds since it was submitted.
        seconds: f64,
    },
    /// Its result is written.
    Result {
        /// Lines of the result.
        lines: u64,
        /// Keys that differ.
        keys: u64,
        /// Bytes of the result.
        bytes: u64,
        /// Seconds since the work on the job began, with its source yet to be compiled.
        seconds: f64,
    },
    /// What a command fails with, whether it had begun a job or not. The last that it says.
    Error {
        /// For people.
        why: String,
    },
    /// A line of the log.
    Log {
        /// When, by RFC 3339.
        time: String,
        /// `error`, `warn`, `info`, `debug` or `trace`.
        level: String,
        /// The message.
        text: String,
        /// What else is said with it.
        fields: Map<String, Value>,
    },
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Seconds since it was submitted.
    pub seconds: f64,
    /// Its stages.
    pub stages: Vec<StageProgress>,
    /// Bytes of its input that were mapped, by the number of finished tasks; absent where it reads nothing.
    pub input_bytes: Option<u64>,
    /// Peers that have worked on it.
    pub workers: u32,
    /// Shufflers that hold its intermediate data.
    pub shufflers: u32,
    /// Failed attempts so far.
    pub failures: u32,
    /// Peers that this one is connected to.
    pub peers: Option<u32>,
    /// Bytes that this peer sent.
    pub sent_bytes: Option<u64>,
    /// Bytes that this peer received.
    pub received_bytes: Option<u64>,
}

/// How far a stage is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageProgress {
    /// `map`, `reduce`, and further ones `reduce 2`, `reduce 3`.
    pub name: String,
    /// Finished tasks. They can become fewer: see [`ProgressEvent::Revoked`].
    pub done: u32,
    /// All tasks, as far as they are known.
    pub tasks: u32,
    /// Tasks a second, once that is known.
    pub per_second: Option<f64>,
    /// Seconds until the stage is done, once that can be guessed.
    pub seconds_left: Option<f64>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It has a result.
    Done,
    /// Its owner cancelled it.
    Cancelled,
    /// It failed.
    Failed,
}

/// A limit of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Wall time.
    Time,
    /// Memory.
    Memory,
    /// Bytes that it may give.
    Output,
    /// Bytes that it may be given.
    Input,
}

impl StageProgress {
    /// The part of its tasks that are done, from 0 to 1.
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

/// An id as its hexadecimal digits.
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

    /// Numbers that have an exact decimal form of a few digits.
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
        fn an_event_is_read_back_as_it_was(event in event()) {
            let line = event.to_json();
            prop_assert!(!line.contains('\n'), "{line}");
            prop_assert_eq!(serde_json::from_str::<ProgressEvent>(&line).unwrap(), event);
        }
    }

    /// Every variant with the JSON that is documented for it.
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
        let told = |name: &str| json!({ "event": name, "text": "text" });
        vec![
            (ProgressEvent::Phase { text: text() }, told("phase")),
            (ProgressEvent::Reading { bytes: 5, of: 10 }, json!({ "event": "reading", "bytes": 5, "of": 10 })),
            (ProgressEvent::Warnings { text: text() }, told("warnings")),
            (ProgressEvent::Diagnostics { text: text() }, told("diagnostics")),
            (ProgressEvent::Note { text: text() }, told("note")),
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
    fn every_event_has_the_form_that_is_documented() {
        for (event, form) in documented() {
            assert_eq!(serde_json::to_value(&event).unwrap(), form);
            assert_eq!(serde_json::from_value::<ProgressEvent>(form).unwrap(), event);
        }
    }

    #[test]
    fn fields_that_a_reader_does_not_know_are_ignored_and_optional_ones_may_be_absent() {
        let of_a_later_version = json!({
            "event": "waiting", "why": "no worker", "seconds": 4, "since": "noon",
        });
        let event: ProgressEvent = serde_json::from_value(of_a_later_version).unwrap();
        assert_eq!(event, ProgressEvent::Waiting { peer: None, why: "no worker".to_owned(), seconds: 4.0 });
    }

    #[test]
    fn colours_of_clang_are_left_out_of_json_and_nothing_else_controls_a_terminal() {
        let text = "\x1b[0;1;35mwarning: \x1b[0munused\x1b[2J".to_owned();
        for event in [ProgressEvent::Warnings { text: text.clone() }, ProgressEvent::Diagnostics { text }] {
            assert_eq!(serde_json::to_value(&event).unwrap()["text"], r"warning: unused\u{1b}[2J");
        }
    }
}
