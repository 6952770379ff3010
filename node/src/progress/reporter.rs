//! Where events come from.

use std::sync::{Mutex, MutexGuard, PoisonError};

use webmesh_protocol::io::Notice;

use super::event::ProgressEvent;
use super::outline::Outline;
use super::tracker::{Tracker, Traffic};
use crate::inputs::Planned;
use crate::platform::Instant;
use crate::results::Stats;

/// Tells of one job as [`ProgressEvent`]s. All methods may be called from any thread.
pub struct Reporter {
    inner: Mutex<Inner>,
}

struct Inner {
    tracker: Tracker,
    /// `None` once nothing more is told.
    sink: Option<Box<dyn FnMut(ProgressEvent) + Send>>,
}

impl Reporter {
    /// Tells `sink` of a job on which work begins now. The sink must not call the reporter.
    pub fn new(sink: impl FnMut(ProgressEvent) + Send + 'static) -> Self {
        let inner = Inner { tracker: Tracker::new(Instant::now()), sink: Some(Box::new(sink)) };
        Self { inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic of another holder leaves it usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of an event.
    pub fn tell(&self, event: ProgressEvent) {
        self.inner().tell(event);
    }

    /// Tells what is done before the job runs, or after, such as "compiling wordcount.cpp".
    pub fn phase(&self, text: &str) {
        self.tell(ProgressEvent::Phase { text: text.to_owned() });
    }

    /// Tells how far the inputs are read.
    pub fn reading(&self, planned: Planned) {
        let Planned { bytes, of } = planned;
        self.tell(ProgressEvent::Reading { bytes, of });
    }

    /// Tells what clang warns of.
    pub fn warnings(&self, text: &str) {
        self.tell(ProgressEvent::Warnings { text: text.to_owned() });
    }

    /// Tells what to know of the inputs, such as files that are compressed.
    pub fn note(&self, text: &str) {
        self.tell(ProgressEvent::Note { text: text.to_owned() });
    }

    /// Takes note of what the job is that is about to be submitted.
    pub fn outline(&self, outline: Outline) {
        self.inner().tracker.outline = Some(outline);
    }

    /// Tells what the engine says. Notices about other jobs than the one submitted last are left out.
    pub fn notice(&self, notice: &Notice) {
        let mut inner = self.inner();
        if let Some(event) = inner.tracker.notice(Instant::now(), notice) {
            inner.tell(event);
        }
    }

    /// Takes note of the network; it is told with the next progress.
    pub fn traffic(&self, traffic: Traffic) {
        self.inner().tracker.traffic = Some(traffic);
    }

    /// Tells that the result is written.
    pub fn written(&self, stats: Stats) {
        let mut inner = self.inner();
        let event = inner.tracker.written(Instant::now(), stats);
        inner.tell(event);
    }

    /// Drops the sink: nothing is told from now on, whatever other threads still do for the job.
    pub fn end(&self) {
        self.inner().sink = None;
    }
}

impl Inner {
    fn tell(&mut self, event: ProgressEvent) {
        if let Some(sink) = &mut self.sink {
            sink(event);
        }
    }
}
