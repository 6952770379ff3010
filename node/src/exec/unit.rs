//! A unit of work: some tasks of one module, run one after the other on one thread.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use webmesh_protocol::TaskId;

use super::CancelToken;
use super::error::{TaskError, TaskErrorKind};
use super::module::Module;
use super::outbox::{Deliver, Outbox, TaskDone, TaskOutput};
use super::params::{TaskLimits, TaskParams};
use super::watch::Overseer;

/// The seed of a task's random numbers, by the task's index; the same on every worker.
pub type SeedOf = Arc<dyn Fn(TaskId) -> [u8; 32] + Send + Sync>;

/// The segments of a bucket in the order of their tasks, read as they are needed; each holds whole records.
pub type Chunks = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// Some tasks of one module. Its creator should size it to a second or so of work, since it stays on one thread.
pub struct Unit {
    /// The job's code.
    pub module: Arc<Module>,
    /// The limits of each task.
    pub limits: TaskLimits,
    /// Each task's seed.
    pub seed: SeedOf,
    /// Cancels the unit: its running task stops within about 20 ms, the rest are not started.
    pub cancel: CancelToken,
    /// The tasks.
    pub work: Work,
    /// Receives finished tasks.
    pub deliver: Deliver,
}

/// The tasks of a unit.
#[derive(Debug)]
pub enum Work {
    /// Map tasks over one pack of documents.
    Map {
        /// The documents' bytes.
        pack: Bytes,
        /// The range of each document in `pack`, in bytes.
        documents: Vec<Range<u32>>,
        /// The number of buckets of the job.
        buckets: NonZeroU32,
        /// The tasks.
        tasks: Vec<MapTask>,
    },
    /// Reduce tasks.
    Reduce(Vec<ReduceTask>),
}

/// A map task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapTask {
    /// Its index within its stage.
    pub task: TaskId,
    /// Indexes of its documents within the unit.
    pub documents: Range<u32>,
}

/// A reduce task.
pub struct ReduceTask {
    /// Its index within its stage.
    pub task: TaskId,
    /// Its input.
    pub chunks: Chunks,
}

impl fmt::Debug for ReduceTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReduceTask").field("task", &self.task).finish_non_exhaustive()
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").field("module", &self.module).field("work", &self.work).finish_non_exhaustive()
    }
}

impl Unit {
    /// Runs the tasks on this thread until all are done, the unit is cancelled, or `closing` is.
    pub(super) fn run(self, closing: &CancelToken) {
        let Self { module, limits, seed, cancel, work, deliver } = self;
        let outbox = Outbox::new(deliver, closing.clone());
        let mut params = TaskParams { seed: [0; 32], limits, cancel: cancel.clone() };
        let _ticking = module.keep_ticking();
        let mut run = |task: TaskId, body: &mut dyn FnMut(&TaskParams, Arc<dyn Overseer>) -> Finished| {
            if cancel.is_cancelled() || closing.is_cancelled() {
                return false;
            }
            params.seed = seed(task);
            let started = Instant::now();
            let result = body(&params, Arc::clone(&outbox) as Arc<dyn Overseer>);
            let cancelled = result.as_ref().is_err_and(|error| error.kind == TaskErrorKind::Cancelled);
            if !cancelled {
                outbox.push(TaskDone { task, result, elapsed: started.elapsed() });
            }
            !cancelled
        };
        match work {
            Work::Map { pack, documents, buckets, tasks } => {
                for MapTask { task, documents: range } in tasks {
                    let more = run(task, &mut |params, overseer| {
                        let documents = slices(&pack, &documents, &range).ok_or_else(|| bad_range(&range))?;
                        let documents: Vec<&[u8]> = documents.collect();
                        module
                            .map_overseen(documents.iter().copied(), buckets, params, Some(overseer))
                            .map(TaskOutput::Map)
                            .map_err(|error| module.blame(error, &documents, buckets, params))
                    });
                    if !more {
                        break;
                    }
                }
            }
            Work::Reduce(tasks) => {
                for ReduceTask { task, mut chunks } in tasks {
                    let more = run(task, &mut |params, overseer| {
                        module.reduce_overseen(&mut chunks, params, Some(overseer)).map(TaskOutput::Reduce)
                    });
                    if !more {
                        break;
                    }
                }
            }
        }
        outbox.finish();
    }
}

type Finished = Result<TaskOutput, TaskError>;

/// The documents of `range`; `None` if any of them is outside the pack.
fn slices<'p>(
    pack: &'p [u8],
    documents: &'p [Range<u32>],
    range: &Range<u32>,
) -> Option<impl Iterator<Item = &'p [u8]>> {
    let documents = documents.get(range.start as usize..range.end as usize)?;
    let place = |document: &Range<u32>| pack.get(document.start as usize..document.end as usize);
    documents.iter().all(|document| place(document).is_some()).then(|| documents.iter().filter_map(place))
}

fn bad_range(range: &Range<u32>) -> TaskError {
    TaskError {
        document: None,
        apart: 0,
        kind: TaskErrorKind::Input(format!("documents {range:?} are not all inside their pack")),
        log_tail: String::new(),
    }
}
