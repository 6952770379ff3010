//! Tests of progress events and their displays.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use webmesh_protocol::io::{Notice, Progress};
use webmesh_protocol::message::{Cause, Failure, Outcome};
use webmesh_protocol::{JobId, PeerKey, StageId, TaskId};

use super::tracker::Tracker;
use super::{Display, Ending, JobProgress, Limit, Outline, ProgressEvent, Reporter, Style, Traffic};
use crate::inputs::Planned;
use crate::results::Stats;

const JOB: JobId = JobId([1; 32]);

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
    fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn progress(job: JobId, map: u32, reduce: u32) -> Notice {
    let stages = vec![(map, 1000), (reduce, 256)];
    Notice::Progress(Progress { job, stages, workers: 3, shufflers: 2, failures: 1 })
}

/// A tracker and a display of its events, with explicit times.
struct Shown {
    tracker: Tracker,
    display: Display,
    out: Written,
}

impl Shown {
    fn new(style: Style, start: Instant) -> Self {
        let out = Written::default();
        Self { tracker: Tracker::new(start), display: Display::to(style, Box::new(out.clone())), out }
    }

    fn notice(&mut self, now: Instant, notice: &Notice) {
        if let Some(event) = self.tracker.notice(now, notice) {
            self.display.renderer().show(now, &event);
        }
    }
}

/// A job of ten seconds with progress notices ten times a second, interleaved with those of another job.
fn run(style: Style) -> Written {
    let start = Instant::now();
    let mut shown = Shown::new(style, start);
    shown.display.renderer().show(start, &ProgressEvent::Phase { text: "compiling wc.cpp".to_owned() });
    shown.display.renderer().show(start, &ProgressEvent::Reading { bytes: 5, of: 10 });
    let (name, documents, tasks) = ("wc.cpp".to_owned(), 5000, 1000);
    shown.tracker.outline = Some(Outline { name, documents, tasks, bytes: 1 << 30, files: 70, source: None });
    shown.tracker.traffic = Some(Traffic { peers: 4, sent: 1 << 20, received: 2 << 20 });
    shown.notice(start, &Notice::Submitted { job: JOB });
    for i in 0..=100 {
        let now = start + Duration::from_millis(i * 100);
        shown.notice(now, &progress(JOB, (i * 10) as u32, 0));
        shown.notice(now, &progress(JobId([2; 32]), 7, 7));
    }
    for task in 0..100 {
        let failure = Failure {
            job: JOB,
            stage: StageId(0),
            task: TaskId(task),
            document: None,
            why: "it trapped".into(),
            cause: Cause::Job,
        };
        shown.notice(start, &Notice::TaskFailed { failure, worker: PeerKey([9; 32]), retries_left: 2 });
    }
    let outcome = Outcome::Done;
    shown.notice(start + Duration::from_secs(10), &Notice::Ended { job: JOB, outcome, failure: None });
    let stats = Stats { lines: 12_345, keys: 12_000, bytes: 100_000 };
    shown.display.show(&shown.tracker.written(start + Duration::from_secs(11), stats));
    shown.out
}

/// The events that a reporter makes of these notices.
fn events_of(notices: &[Notice]) -> Vec<ProgressEvent> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = events.clone();
    let reporter = Reporter::new(move |event| sink.lock().unwrap().push(event));
    notices.iter().for_each(|notice| reporter.notice(notice));
    drop(reporter);
    Arc::into_inner(events).unwrap().into_inner().unwrap()
}

#[test]
fn lines_come_every_two_seconds_with_the_time_left() {
    let text = run(Style::Lines).text();
    let lines: Vec<&str> = text.lines().collect();
    let progress: Vec<&&str> = lines.iter().filter(|line| line.starts_with("map")).collect();
    assert_eq!(progress.len(), 5, "{text}");
    assert!(
        progress[1].contains("map 400/1000 (100/s), about 6 s left; reduce 0/256; 409.60 MiB of 1.00 GiB"),
        "{text}"
    );
    assert!(progress[1].contains("3 workers, 2 shufflers"), "{text}");
    assert!(progress[1].contains("4 peers") && progress[1].contains("1 failed attempt"), "{text}");
    assert!(text.contains("wc.cpp: 1.00 GiB in 70 files, 5,000 documents, 1,000 tasks"), "{text}");
    assert_eq!(text.matches("it trapped").count(), 5, "the number of failures shown is limited");
    assert!(lines.last().unwrap().contains("12,345 lines"), "{text}");
}

#[test]
fn json_reports_every_event_in_an_object_of_one_line() {
    let events = run(Style::Json).json();
    let of = |name: &str| events.iter().filter(|e| e["event"] == name).collect::<Vec<_>>();
    assert_eq!(of("submitted")[0]["documents"], 5000);
    assert_eq!(of("submitted")[0]["tasks"], 1000);
    let progress = of("progress");
    assert!((18..=23).contains(&progress.len()), "{}", progress.len());
    assert_eq!(progress[0]["stages"][0]["seconds_left"], Value::Null);
    let last = progress.last().unwrap();
    assert_eq!(last["stages"][0]["done"], 1000, "the last progress is always written");
    assert_eq!(last["input_bytes"], 1u64 << 30);
    assert_eq!(of("task_failed").len(), 100);
    assert_eq!(of("ended")[0]["outcome"], "done");
    assert_eq!(of("result")[0]["lines"], 12_345);
}

#[test]
fn a_failed_job_reports_the_reason() {
    let failure = Failure {
        job: JOB,
        stage: StageId(1),
        task: TaskId(4),
        document: None,
        why: "out of memory".into(),
        cause: Cause::Job,
    };
    let outcome = Outcome::Failed("a task failed".into());
    let ended = Notice::Ended { job: JOB, outcome, failure: Some(failure) };
    let last = events_of(&[Notice::Submitted { job: JOB }, ended]).pop();
    let Some(ProgressEvent::Ended { outcome: Ending::Failed, why: Some(why), .. }) = last else { panic!("{last:?}") };
    assert_eq!(why, "reduce task 4: out of memory");
}

#[test]
fn a_task_over_a_limit_reports_the_limit_and_a_remedy() {
    let why = "it took longer than 30 s".to_owned();
    let failure =
        Failure { job: JOB, stage: StageId(0), task: TaskId(4), document: None, why, cause: Cause::TimeLimit };
    let failed = Notice::TaskFailed { failure, worker: PeerKey([9; 32]), retries_left: 2 };
    let last = events_of(&[Notice::Submitted { job: JOB }, failed]).pop();
    let Some(ProgressEvent::TaskFailed { limit, help, .. }) = last else { panic!("{last:?}") };
    assert_eq!(limit, Some(Limit::Time));
    assert!(help.unwrap().contains("--task-timeout"));
}

#[test]
fn revoked_results_are_reported() {
    let revoked = |job| Notice::Revoked { job, stage: StageId(0), tasks: 3 };
    let events = events_of(&[Notice::Submitted { job: JOB }, revoked(JobId([2; 32])), revoked(JOB)]);
    assert_eq!(events[1..], [ProgressEvent::Revoked { stage: "map".to_owned(), tasks: 3 }]);
}

#[test]
fn text_from_other_peers_cannot_control_the_terminal() {
    let start = Instant::now();
    let mut shown = Shown::new(Style::Lines, start);
    shown.notice(start, &Notice::Submitted { job: JOB });
    let why = "trap\x1b]0;owned\x07\r\nsecond line".to_owned();
    let failure = Failure { job: JOB, stage: StageId(0), task: TaskId(4), document: None, why, cause: Cause::Job };
    shown.notice(start, &Notice::TaskFailed { failure, worker: PeerKey([9; 32]), retries_left: 2 });
    shown.display.show(&ProgressEvent::Warnings { text: "\x1b[0;1;35mwarning: \x1b[0munused\x1b[2J".to_owned() });
    let text = shown.out.text();
    assert!(text.contains(r"trap\u{1b}]0;owned\u{7}\r") && text.contains("\nsecond line\n"), "{text}");
    assert!(text.contains(r"warning: unused\u{1b}[2J"), "{text}");
}

#[test]
fn a_reporter_sends_no_events_after_its_end() {
    let events = Arc::new(Mutex::new(0));
    let sink = events.clone();
    let reporter = Reporter::new(move |_| *sink.lock().unwrap() += 1);
    reporter.phase("compiling wc.cpp");
    reporter.end();
    reporter.reading(Planned { bytes: 5, of: 10 });
    reporter.warnings("late");
    assert_eq!(*events.lock().unwrap(), 1);
}

/// The output of a style for a job that stalls for some seconds.
fn stand_still(style: Style) -> Written {
    let start = Instant::now();
    let mut shown = Shown::new(style, start);
    shown.notice(start, &Notice::Submitted { job: JOB });
    let why = "shuffler abc: it has not answered for 4 s".to_owned();
    let (peer, quiet) = (Some(PeerKey([9; 32])), Duration::from_secs(4));
    for job in [JobId([2; 32]), JOB] {
        let why = if job == JOB { why.clone() } else { "another job".to_owned() };
        shown.notice(start + quiet, &Notice::Waiting { job, peer, why, quiet });
    }
    shown.notice(start + Duration::from_secs(7), &progress(JOB, 5, 0));
    shown.notice(start + Duration::from_secs(9), &Notice::WaitingOver { job: JOB, quiet: Duration::from_secs(9) });
    shown.notice(start + Duration::from_secs(9), &progress(JOB, 6, 0));
    shown.out
}

#[test]
fn lines_and_json_show_what_a_job_waits_for() {
    let text = stand_still(Style::Lines).text();
    assert_eq!(text.matches("waiting: shuffler abc: it has not answered for 4 s").count(), 1, "{text}");
    assert!(text.contains("makes progress again after 9.0 s") && !text.contains("another job"), "{text}");
    let events = stand_still(Style::Json).json();
    let of = |name: &str| events.iter().filter(|e| e["event"] == name).collect::<Vec<_>>();
    let [waiting] = of("waiting")[..] else { panic!("{events:?}") };
    assert_eq!(
        (&waiting["why"], &waiting["seconds"]),
        (&"shuffler abc: it has not answered for 4 s".into(), &4.0.into())
    );
    assert_eq!(waiting["peer"], PeerKey([9; 32]).short());
    assert_eq!(of("waiting_over")[0]["seconds"], 9.0);
}

#[test]
fn the_status_line_begins_with_what_a_job_waits_for_and_how_long() {
    let progress = JobProgress { workers: 3, shufflers: 2, ..JobProgress::default() };
    let status = |waiting| super::words::status(&progress, 0, waiting);
    let waiting = Some(("no worker is connected", Duration::from_millis(7_300)));
    assert_eq!(status(waiting), "waiting for 7 s: no worker is connected; 3 workers, 2 shufflers");
    assert_eq!(status(None), "3 workers, 2 shufflers");
}
