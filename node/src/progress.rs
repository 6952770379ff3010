//! What a person, or a program, sees of a job while it runs.
//!
//! Everything here goes to standard error: standard output carries the result and nothing else. There are
//! three faces. On a terminal, bars. Otherwise lines, at most one every two seconds. With `--json`, an object
//! a line, each with an `event`:
//!
//! | `event` | Further fields |
//! |---|---|
//! | `phase` | `text` |
//! | `reading` | `bytes`, `of` |
//! | `warnings` | `text`: what clang had to say of a job that it compiled |
//! | `note` | `text`: what to know of the inputs, such as files that are compressed |
//! | `submitted` | `job`, `name`, `documents`, `tasks`, `bytes`, `files` |
//! | `progress` | `seconds`, `stages` (each `name`, `done`, `tasks`, `per_second`, `seconds_left`), `input_bytes`, `workers`, `shufflers`, `failures`, `peers`, `sent_bytes`, `received_bytes` |
//! | `task_failed` | `stage`, `task`, `document`, `input`, `why`, `worker`, `retries_left` |
//! | `waiting` | `peer`, `why`: what the job waits for, once no task has ended for `seconds`; told again when the cause changes |
//! | `waiting_over` | `seconds` for which no task had ended |
//! | `ended` | `outcome` (`done`, `cancelled`, `failed`), `why`, `seconds` |
//! | `result` | `lines`, `keys`, `bytes`, `seconds` |
//!
//! A number that is not known is `null`. Whatever a command fails with, in the midst of a job or before it, is an
//! object of the same kind: `error`, with `why`; what the log has to say is a `log`, with `level`, `text` and `fields`.

#[cfg(not(target_family = "wasm"))]
mod bars;
mod json;
#[cfg(not(target_family = "wasm"))]
mod lines;
mod names;
mod rate;
#[cfg(test)]
mod tests;
#[cfg(not(target_family = "wasm"))]
mod words;

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use webmesh_protocol::JobId;
use webmesh_protocol::io::{Notice, Progress};
use webmesh_protocol::message::{Failure, Outcome};

use crate::inputs::{PackSource, Plan, Planned};
use crate::platform::Instant;
use crate::results::Stats;
use rate::Rate;

/// How progress is shown.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bars that move.
    Bars,
    /// A line now and then.
    Lines,
    /// JSON, a line each.
    Json,
}

#[cfg(not(target_family = "wasm"))]
impl Style {
    /// What fits standard error.
    pub fn of_stderr(json: bool) -> Self {
        use std::io::IsTerminal;
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        }
    }
}

/// What is known of a job when it starts.
#[derive(Clone, Debug)]
pub struct Outline {
    /// What people call it.
    pub name: String,
    /// How many documents it reads.
    pub documents: u64,
    /// How many tasks its first stage has.
    pub tasks: u32,
    /// How many bytes it reads.
    pub bytes: u64,
    /// How many files these are.
    pub files: u32,
    /// Where the names of documents are to be had.
    pub source: Option<Arc<PackSource>>,
}

impl Outline {
    /// The outline of the job `name` over planned inputs.
    pub fn new(name: &str, plan: &Plan) -> Self {
        Self {
            name: name.to_owned(),
            documents: plan.documents,
            tasks: plan.tasks,
            bytes: plan.bytes,
            files: plan.files,
            source: plan.source.clone(),
        }
    }

    /// Says which task failed, or which document made it fail, how, and what to do about it.
    pub fn explain(&self, failure: &Failure) -> String {
        names::explanation(failure, self.input_of(failure).as_deref())
    }

    /// What people call the document that made a task fail, or all that it may have been.
    pub fn input_of(&self, failure: &Failure) -> Option<String> {
        let source = self.source.as_ref().filter(|_| failure.stage == 0)?;
        if let Some(document) = failure.document {
            return source.name_of(failure.task, document);
        }
        let mut names = (0..).map_while(|document| source.name_of(failure.task, document));
        let first = names.next()?;
        let (more, last) = names.fold((0, None), |(count, _), name| (count + 1, Some(name)));
        Some(match last {
            None => first,
            Some(last) => format!("one or several of {} documents, {first} to {last}", more + 1),
        })
    }
}

/// What this peer and the network had to do with each other so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Peers connected.
    pub peers: u32,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// A display of one job. All methods may be called from any thread.
pub struct Display {
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None` once nothing more is to be shown.
    face: Option<Box<dyn Face + Send>>,
    begun: Instant,
    job: Option<(JobId, Instant)>,
    outline: Option<Outline>,
    rates: Vec<Rate>,
    progress: Option<Progress>,
    /// What the job waits for, and since when nothing has been done.
    waiting: Option<(String, Instant)>,
    traffic: Option<Traffic>,
}

/// What a face may be shown.
enum Event<'a> {
    Phase(&'a str),
    Reading(Planned),
    Warnings(&'a str),
    Note(&'a str),
    Submitted(JobId, Option<&'a Outline>),
    Progress(&'a View),
    TaskFailed { failure: &'a Failure, input: Option<String>, worker: String, retries_left: u8 },
    Waiting { peer: Option<String>, why: &'a str, quiet: Duration },
    WaitingOver { quiet: Duration },
    Ended { outcome: &'a Outcome, why: Option<String>, elapsed: Duration },
    Written { stats: Stats, elapsed: Duration },
}

/// How far a job is, ready to be shown.
#[derive(Clone, Debug, PartialEq)]
struct View {
    elapsed: Duration,
    stages: Vec<StageView>,
    /// Bytes of input that were mapped, of how many, and how many a second.
    input: Option<(u64, u64, Option<f64>)>,
    workers: u32,
    shufflers: u32,
    failures: u32,
    /// What the job waits for, and for how long nothing has been done.
    waiting: Option<(String, Duration)>,
    traffic: Option<Traffic>,
}

#[derive(Clone, Debug, PartialEq)]
struct StageView {
    name: String,
    done: u32,
    tasks: u32,
    per_second: Option<f64>,
    left: Option<Duration>,
}

trait Face {
    fn show(&mut self, now: Instant, event: &Event<'_>);
}

#[cfg(not(target_family = "wasm"))]
impl Display {
    /// A display on standard error.
    pub fn new(style: Style) -> Self {
        match style {
            Style::Bars => Self::with(Box::new(bars::Bars::new())),
            Style::Lines | Style::Json => Self::to(style, Box::new(std::io::stderr())),
        }
    }

    /// A display that writes elsewhere. Bars, which need a terminal, become lines.
    pub fn to(style: Style, out: Box<dyn Write + Send>) -> Self {
        match style {
            Style::Bars | Style::Lines => Self::with(Box::new(lines::Lines::new(out))),
            Style::Json => Self::json(out),
        }
    }
}

impl Display {
    /// A display for programs, which writes JSON, a line each.
    pub fn json(out: Box<dyn Write + Send>) -> Self {
        Self::with(Box::new(json::Json::new(out)))
    }

    fn with(face: Box<dyn Face + Send>) -> Self {
        let (job, outline, progress, waiting, traffic) = (None, None, None, None, None);
        let rates = Vec::new();
        let inner = Inner { face: Some(face), begun: Instant::now(), job, outline, rates, progress, waiting, traffic };
        Self { inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is going on before the job runs, as "compiling wordcount.cpp".
    pub fn phase(&self, text: &str) {
        self.inner().show(Instant::now(), &Event::Phase(text));
    }

    /// Shows how far the inputs are read.
    pub fn reading(&self, planned: Planned) {
        self.inner().show(Instant::now(), &Event::Reading(planned));
    }

    /// Shows what clang warns of.
    pub fn warnings(&self, text: &str) {
        self.inner().show(Instant::now(), &Event::Warnings(text));
    }

    /// Shows notes on the inputs, such as files that are compressed.
    pub fn note(&self, text: &str) {
        self.inner().show(Instant::now(), &Event::Note(text));
    }

    /// Tells what the job is that is about to be submitted.
    pub fn outline(&self, outline: Outline) {
        self.inner().outline = Some(outline);
    }

    /// Shows what the engine says. Notices about other jobs than the one submitted last are left out.
    pub fn notice(&self, notice: &Notice) {
        self.inner().notice(Instant::now(), notice);
    }

    /// Takes note of the network; it is shown with the next progress.
    pub fn traffic(&self, traffic: Traffic) {
        self.inner().traffic = Some(traffic);
    }

    /// Says that the result is written.
    pub fn written(&self, stats: Stats) {
        let mut inner = self.inner();
        let now = Instant::now();
        let elapsed = now - inner.begun;
        inner.show(now, &Event::Written { stats, elapsed });
    }

    /// Takes away what is drawn, and shows nothing from now on, whoever still has something to tell: standard error
    /// is free for the last word.
    pub fn end(&self) {
        self.inner().face = None;
    }
}

impl Inner {
    fn show(&mut self, now: Instant, event: &Event<'_>) {
        if let Some(face) = &mut self.face {
            face.show(now, event);
        }
    }

    fn notice(&mut self, now: Instant, notice: &Notice) {
        let is_ours = |job: &JobId| self.job.is_some_and(|(ours, _)| ours == *job);
        match notice {
            Notice::Submitted { job } => {
                self.job = Some((*job, now));
                (self.rates, self.progress, self.waiting) = (Vec::new(), None, None);
                if let Some(face) = &mut self.face {
                    face.show(now, &Event::Submitted(*job, self.outline.as_ref()));
                }
            }
            Notice::Progress(progress) if is_ours(&progress.job) => {
                self.rates.resize_with(progress.stages.len(), Rate::default);
                for (rate, &(done, tasks)) in self.rates.iter_mut().zip(&progress.stages) {
                    rate.update(now, done, tasks);
                }
                self.progress = Some(progress.clone());
                self.show_progress(now);
            }
            Notice::TaskFailed { failure, worker, retries_left } if is_ours(&failure.job) => {
                let input = self.outline.as_ref().and_then(|outline| outline.input_of(failure));
                let (worker, retries_left) = (worker.short(), *retries_left);
                self.show(now, &Event::TaskFailed { failure, input, worker, retries_left });
            }
            Notice::Waiting { job, peer, why, quiet } if is_ours(job) => {
                // A clock that began just now cannot be set back.
                self.waiting = Some((why.clone(), now.checked_sub(*quiet).unwrap_or(now)));
                let peer = peer.map(|peer| peer.short());
                self.show(now, &Event::Waiting { peer, why, quiet: *quiet });
            }
            Notice::WaitingOver { job, quiet } if is_ours(job) => {
                self.waiting = None;
                self.show(now, &Event::WaitingOver { quiet: *quiet });
            }
            Notice::Ended { job, outcome, failure } if is_ours(job) => {
                let elapsed = self.job.map_or(Duration::ZERO, |(_, since)| now - since);
                let why = match (outcome, failure) {
                    (Outcome::Failed(_), Some(failure)) => Some(match &self.outline {
                        Some(outline) => outline.explain(failure),
                        None => names::explanation(failure, None),
                    }),
                    (Outcome::Failed(why), None) => Some(why.clone()),
                    _ => None,
                };
                self.show(now, &Event::Ended { outcome, why, elapsed });
                self.job = None;
            }
            _ => {}
        }
    }

    fn show_progress(&mut self, now: Instant) {
        let (Some(progress), Some((_, since))) = (&self.progress, self.job) else { return };
        let stages: Vec<StageView> = progress
            .stages
            .iter()
            .zip(&self.rates)
            .enumerate()
            .map(|(i, (&(done, tasks), rate))| StageView {
                name: names::stage(i),
                done,
                tasks,
                per_second: rate.per_second(),
                left: rate.left(done, tasks),
            })
            .collect();
        let input = self.outline.as_ref().filter(|outline| outline.bytes > 0).zip(stages.first()).map(|(all, map)| {
            // Tasks of a job are about alike in size.
            let per_task = all.bytes as f64 / f64::from(map.tasks.max(1));
            let done = (per_task * f64::from(map.done)) as u64;
            (done, all.bytes, map.per_second.map(|rate| rate * per_task))
        });
        let view = View {
            elapsed: now - since,
            stages,
            input,
            workers: progress.workers,
            shufflers: progress.shufflers,
            failures: progress.failures,
            waiting: self.waiting.as_ref().map(|(why, since)| (why.clone(), now - *since)),
            traffic: self.traffic,
        };
        self.show(now, &Event::Progress(&view));
    }
}
