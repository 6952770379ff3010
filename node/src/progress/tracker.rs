//! Turns the engine's notices about a job into events. Takes the time as an argument.

use std::time::Duration;

use webmesh_protocol::io::{Notice, Progress};
use webmesh_protocol::message::Outcome;
use webmesh_protocol::{JobId, StageId};

use super::event::{Ending, JobProgress, ProgressEvent, StageProgress};
use super::names;
use super::outline::Outline;
use super::rate::Rate;
use crate::platform::Instant;
use crate::results::Stats;

/// This peer's connections and its traffic so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Number of connected peers.
    pub peers: u32,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// The state of the reported job.
pub(super) struct Tracker {
    begun: Instant,
    job: Option<(JobId, Instant)>,
    rates: Vec<Rate>,
    pub(super) outline: Option<Outline>,
    pub(super) traffic: Option<Traffic>,
}

impl Tracker {
    /// The tracker of a job that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self { begun: now, job: None, rates: Vec::new(), outline: None, traffic: None }
    }

    /// The event for a notice; `None` if the notice is internal or about another job than the one submitted last.
    pub(super) fn notice(&mut self, now: Instant, notice: &Notice) -> Option<ProgressEvent> {
        let ours = self.job.map(|(job, _)| job);
        Some(match notice {
            Notice::Submitted { job } => {
                (self.job, self.rates) = (Some((*job, now)), Vec::new());
                self.submitted(*job)
            }
            Notice::Progress(progress) if ours == Some(progress.job) => {
                ProgressEvent::Progress(self.progress(now, progress))
            }
            Notice::TaskFailed { failure, worker, retries_left } if ours == Some(failure.job) => {
                ProgressEvent::TaskFailed {
                    stage: names::stage(failure.stage),
                    task: failure.task.0,
                    document: failure.document,
                    input: self.outline.as_ref().and_then(|outline| outline.input_of(failure)),
                    why: failure.why.clone(),
                    limit: names::limit(failure.cause),
                    help: names::remedy(failure).map(str::to_owned),
                    worker: worker.short(),
                    retries_left: *retries_left,
                }
            }
            Notice::Waiting { job, peer, why, quiet } if ours == Some(*job) => ProgressEvent::Waiting {
                peer: peer.map(|peer| peer.short()),
                why: why.clone(),
                seconds: quiet.as_secs_f64(),
            },
            Notice::WaitingOver { job, quiet } if ours == Some(*job) => {
                ProgressEvent::WaitingOver { seconds: quiet.as_secs_f64() }
            }
            Notice::Revoked { job, stage, tasks } if ours == Some(*job) => {
                ProgressEvent::Revoked { stage: names::stage(*stage), tasks: *tasks }
            }
            Notice::Ended { job, outcome, failure } if ours == Some(*job) => {
                let elapsed = self.job.take().map_or(Duration::ZERO, |(_, since)| now - since);
                let (outcome, why) = match outcome {
                    Outcome::Done => (Ending::Done, None),
                    Outcome::Cancelled => (Ending::Cancelled, None),
                    Outcome::Failed(why) => {
                        let explained = failure.as_ref().map(|failure| match &self.outline {
                            Some(outline) => outline.explain(failure),
                            None => names::explanation(failure, None),
                        });
                        (Ending::Failed, Some(explained.unwrap_or_else(|| why.clone())))
                    }
                };
                ProgressEvent::Ended { outcome, why, seconds: elapsed.as_secs_f64() }
            }
            _ => return None,
        })
    }

    /// The event for a written result.
    pub(super) fn written(&self, now: Instant, stats: Stats) -> ProgressEvent {
        let Stats { lines, keys, bytes } = stats;
        ProgressEvent::Result { lines, keys, bytes, seconds: (now - self.begun).as_secs_f64() }
    }

    fn submitted(&self, job: JobId) -> ProgressEvent {
        let known = self.outline.as_ref();
        ProgressEvent::Submitted {
            job,
            name: known.map(|outline| outline.name.clone()),
            documents: known.map(|outline| outline.documents),
            tasks: known.map(|outline| outline.tasks),
            bytes: known.map(|outline| outline.bytes),
            files: known.map(|outline| outline.files),
        }
    }

    fn progress(&mut self, now: Instant, progress: &Progress) -> JobProgress {
        self.rates.resize_with(progress.stages.len(), Rate::default);
        let stages = self.rates.iter_mut().zip(&progress.stages).enumerate();
        let stages = stages.map(|(i, (rate, &(done, tasks)))| {
            rate.update(now, done, tasks);
            StageProgress {
                name: names::stage(StageId::of_index(i)),
                done,
                tasks,
                per_second: rate.per_second(),
                seconds_left: rate.left(done, tasks).map(|left| left.as_secs_f64()),
            }
        });
        let stages: Vec<StageProgress> = stages.collect();
        let read = self.outline.as_ref().map(|outline| outline.bytes).filter(|bytes| *bytes > 0);
        JobProgress {
            seconds: self.job.map_or(0.0, |(_, since)| (now - since).as_secs_f64()),
            // Tasks of a job have about the same size.
            input_bytes: read.zip(stages.first()).map(|(bytes, map)| (map.share() * bytes as f64) as u64),
            stages,
            workers: progress.workers,
            shufflers: progress.shufflers,
            failures: progress.failures,
            peers: self.traffic.map(|traffic| traffic.peers),
            sent_bytes: self.traffic.map(|traffic| traffic.sent),
            received_bytes: self.traffic.map(|traffic| traffic.received),
        }
    }
}
