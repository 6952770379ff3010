//! The source of progress events.

use std::sync::{Mutex, MutexGuard, PoisonError};

use webmesh_protocol::io::Notice;

use super::event::ProgressEvent;
use super::outline::Outline;
use super::tracker::{Tracker, Traffic};
use crate::inputs::Planned;
use crate::platform::Instant;
use crate::results::Stats;

/// Reports one job as [`ProgressEvent`]s. All methods may be called from any thread.
pub struct Reporter {
    inner: Mutex<Inner>,
}

struct Inner {
    tracker: Tracker,
    /// `None` after [`Reporter::end`].
    sink: Option<Box<dyn FnMut(ProgressEvent) + Send>>,
}

impl Reporter {
    /// A reporter of a job that starts now, which passes its events to `sink`. The sink must not call the reporter.
    pub fn new(sink: impl FnMut(ProgressEvent) + Send + 'static) -> Self {
        let inner = Inner { tracker: Tracker::new(Instant::now()), sink: Some(Box::new(sink)) };
        Self { inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves the value usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports an event.
    pub fn report(&self, event: ProgressEvent) {
        self.inner().report(event);
    }

    /// Reports a step before or after the job's run, such as "compiling wordcount.cpp".
    pub fn phase(&self, text: &str) {
        self.report(ProgressEvent::Phase { text: text.to_owned() });
    }

    /// Reports the number of input bytes read so far.
    pub fn reading(&self, planned: Planned) {
        let Planned { bytes, of } = planned;
        self.report(ProgressEvent::Reading { bytes, of });
    }

    /// Reports clang's warnings.
    pub fn warnings(&self, text: &str) {
        self.report(ProgressEvent::Warnings { text: text.to_owned() });
    }

    /// Reports a remark on the inputs, such as compressed files.
    pub fn note(&self, text: &str) {
        self.report(ProgressEvent::Note { text: text.to_owned() });
    }

    /// Sets the outline of the job that is about to be submitted.
    pub fn outline(&self, outline: Outline) {
        self.inner().tracker.outline = Some(outline);
    }

    /// Reports a notice of the engine, unless it is about another job than the one submitted last.
    pub fn notice(&self, notice: &Notice) {
        let mut inner = self.inner();
        if let Some(event) = inner.tracker.notice(Instant::now(), notice) {
            inner.report(event);
        }
    }

    /// Sets the traffic counters, which the next progress event contains.
    pub fn traffic(&self, traffic: Traffic) {
        self.inner().tracker.traffic = Some(traffic);
    }

    /// Reports that the result was written.
    pub fn written(&self, stats: Stats) {
        let mut inner = self.inner();
        let event = inner.tracker.written(Instant::now(), stats);
        inner.report(event);
    }

    /// Drops the sink: no more events, even if other threads still work on the job.
    pub fn end(&self) {
        self.inner().sink = None;
    }
}

impl Inner {
    fn report(&mut self, event: ProgressEvent) {
        if let Some(sink) = &mut self.sink {
            sink(event);
        }
    }
}
