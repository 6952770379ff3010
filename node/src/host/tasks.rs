//! Passes units of work from the engine to the pool, and their results back.

use std::collections::{HashMap, VecDeque};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::guest;
use webmesh_protocol::io::{self, Event, Port, RunId, TaskFailure, TaskResult, Work};
use webmesh_protocol::manifest::{Manifest, Operator, Sink};
use webmesh_protocol::message::Cause;
use webmesh_protocol::pack::{self, Pack};
use webmesh_protocol::ranges::Run;
use webmesh_protocol::segment::Attempt;
use webmesh_protocol::{Hash, JobId, PeerKey, TaskId};

use crate::driver::HostOutput;
use crate::exec::{
    CancelToken, Deliver, Delivery, MapTask, Module, Pool, ReduceTask, Runtime, RuntimeError, TaskDone, TaskErrorKind,
    TaskLimits, TaskOutput, Unit,
};
use crate::platform;
use crate::store::blobs::Blobs;
use crate::store::source::BlobSource;

/// Modules kept in memory. If more jobs than that run at once, theirs are loaded again from the disk cache.
const MODULES: usize = 16;

/// The tasks of this peer.
pub(super) struct Tasks {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    pool: Pool,
    blobs: Arc<Blobs>,
    sender: mpsc::Sender<HostOutput>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    modules: HashMap<Hash, Loaded>,
    /// Units that the pool had no room for.
    waiting: VecDeque<Unit>,
    /// The units of each job that has begun.
    running: HashMap<JobId, HashMap<RunId, CancelToken>>,
    uses: u64,
}

impl State {
    /// Drops work that waits for its module. The loading of a module ends when no work waits for it.
    fn drop_waiting(&mut self, which: impl Fn(&Work) -> bool) {
        self.modules.retain(|_, loaded| {
            let Loaded::Loading { waiting, cancel, .. } = loaded else { return true };
            waiting.retain(|work| !which(work));
            if waiting.is_empty() {
                cancel.cancel();
            }
            !waiting.is_empty()
        });
    }

    /// Evicts the least recently used module if there are too many. Modules being loaded are never evicted: work waits
    /// for them.
    fn make_room(&mut self) {
        let used = |(hash, loaded): (&Hash, &Loaded)| match loaded {
            Loaded::Ready { used, .. } => Some((*used, *hash)),
            Loaded::Loading { .. } => None,
        };
        if self.modules.len() >= MODULES
            && let Some((_, oldest)) = self.modules.iter().filter_map(used).min()
        {
            self.modules.remove(&oldest);
        }
    }
}

enum Loaded {
    /// Being loaded.
    Loading {
        /// Tells this attempt from a later one.
        attempt: u64,
        /// The work that waits for it.
        waiting: Vec<Work>,
        /// Ends the attempt when no work waits.
        cancel: CancelToken,
    },
    Ready {
        module: Arc<Module>,
        used: u64,
    },
}

impl Tasks {
    pub(super) fn start(
        threads: usize,
        runtime: Runtime,
        blobs: Arc<Blobs>,
        sender: mpsc::Sender<HostOutput>,
    ) -> Result<Self, RuntimeError> {
        let pool = Pool::new(NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN))?;
        Ok(Self { shared: Arc::new(Shared { runtime, pool, blobs, sender, state: Mutex::default() }) })
    }

    /// Runs a unit as soon as its module is loaded and a thread is free.
    pub(super) fn run(&mut self, work: Work) {
        let shared = &self.shared;
        let mut state = shared.lock();
        state.uses += 1;
        let uses = state.uses;
        let hash = work.module;
        match state.modules.get_mut(&hash) {
            Some(Loaded::Ready { module, used }) => {
                *used = uses;
                let module = module.clone();
                let unit = shared.unit(&mut state, module, work);
                shared.submit(&mut state, unit);
            }
            Some(Loaded::Loading { waiting, .. }) => waiting.push(work),
            None => {
                // Work of several owners may wait for a module: it takes the turn of the first one.
                let (attempt, owner, cancel) = (uses, work.owner, CancelToken::new());
                let loading = Loaded::Loading { attempt, waiting: vec![work], cancel: cancel.clone() };
                state.modules.insert(hash, loading);
                let shared = shared.clone();
                platform::spawn_blocking(move || shared.load(hash, attempt, owner, &cancel));
            }
        }
    }

    /// Cancels one unit, running or queued.
    pub(super) fn cancel(&mut self, run: RunId) {
        let mut state = self.shared.lock();
        state.running.values().filter_map(|units| units.get(&run)).for_each(CancelToken::cancel);
        state.drop_waiting(|work| work.run == run);
    }

    /// Cancels a job's running units, and drops its queued ones.
    pub(super) fn stop(&mut self, job: JobId) {
        let mut state = self.shared.lock();
        state.running.remove(&job).iter().flat_map(HashMap::values).for_each(CancelToken::cancel);
        state.drop_waiting(|work| work.job == job);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads a module, then runs the work that waited for it.
    fn load(self: Arc<Self>, hash: Hash, this_attempt: u64, owner: PeerKey, cancel: &CancelToken) {
        // A failure that every peer would have counts against the job; a module missing from this peer's disk does not.
        let loaded = match self.blobs.load(&hash) {
            Ok(Some(wasm)) => self
                .runtime
                .load_for(owner.0, hash.0, &wasm, cancel)
                .map_err(|e| (e.to_string(), if e.is_repeatable() { Cause::Job } else { Cause::Worker })),
            Ok(None) => Err(("the module is not here any more".to_owned(), Cause::Worker)),
            Err(why) => Err((why.to_string(), Cause::Worker)),
        };
        let mut state = self.lock();
        let is_this = |loaded: &Loaded| matches!(loaded, Loaded::Loading { attempt, .. } if *attempt == this_attempt);
        if !state.modules.get(&hash).is_some_and(is_this) {
            return;
        }
        let Some(Loaded::Loading { waiting, .. }) = state.modules.remove(&hash) else { return };
        match loaded {
            Ok(module) => {
                state.make_room();
                let used = state.uses;
                state.modules.insert(hash, Loaded::Ready { module: module.clone(), used });
                for work in waiting {
                    let unit = self.unit(&mut state, module.clone(), work);
                    self.submit(&mut state, unit);
                }
            }
            Err((why, cause)) => {
                drop(state);
                for work in waiting {
                    let why = format!("the module cannot be loaded: {why}");
                    self.refuse(work.run, work.tasks, &why, cause);
                }
            }
        }
    }

    fn submit(&self, state: &mut State, unit: Result<Unit, ()>) {
        let Ok(unit) = unit else { return };
        state.waiting.push_back(unit);
        self.fill_pool(state);
    }

    fn fill_pool(&self, state: &mut State) {
        while let Some(unit) = state.waiting.pop_front() {
            if let Err(full) = self.pool.submit(unit) {
                state.waiting.push_front(*full.0);
                return;
            }
        }
    }

    /// Reports that a unit's tasks cannot be run here.
    fn refuse(&self, run: RunId, tasks: Run<TaskId>, why: &str, cause: Cause) {
        self.send(refusal(run, tasks, why, cause));
    }

    fn send(&self, event: Event) {
        // Fails only if the driver has ended. Blocks while the driver is behind: then the pool waits too.
        let _ = self.sender.blocking_send(HostOutput::Event(event));
    }

    /// Creates a unit for the pool.
    fn unit(self: &Arc<Self>, state: &mut State, module: Arc<Module>, work: Work) -> Result<Unit, ()> {
        let (run, job, stage) = (work.run, work.job, work.stage_ref());
        let limits = TaskLimits { memory: work.limits.memory, time: work.limits.time(), output: work.limits.output };
        let units = state.running.entry(job).or_insert_with(|| {
            // The engine counts units that wait for their module apart.
            let shared = self.clone();
            platform::spawn_blocking(move || shared.send(Event::RunProgress { run, results: Vec::new(), last: false }));
            HashMap::new()
        });
        let cancel = units.entry(run).or_default().clone();
        let (tasks, output) = (work.tasks, work.output);
        let exec_work = match work_of(work) {
            Ok(exec_work) => exec_work,
            Err(why) => {
                let shared = self.clone();
                platform::spawn_blocking(move || shared.refuse(run, tasks, &why, Cause::Worker));
                return Err(());
            }
        };
        let shared = Arc::downgrade(self);
        let deliver = Deliver::new(move |delivery: Delivery| {
            let Some(shared) = shared.upgrade() else { return };
            let results = delivery.done.into_iter().map(|done| result_of(done, output)).collect();
            shared.send(Event::RunProgress { run, results, last: delivery.last });
            if delivery.last {
                let mut state = shared.lock();
                state.running.get_mut(&job).and_then(|units| units.remove(&run));
                shared.fill_pool(&mut state);
            }
        });
        let seed = Arc::new(move |task| Manifest::task_seed(stage.task(task)));
        Ok(Unit { module, limits, seed, cancel, work: exec_work, deliver })
    }
}

/// The report that a unit's tasks cannot be run here.
pub(super) fn refusal(run: RunId, tasks: Run<TaskId>, why: &str, cause: Cause) -> Event {
    let failure = || TaskFailure { document: None, why: why.to_owned(), cause };
    let result = |task| TaskResult { task, elapsed: std::time::Duration::ZERO, outcome: Err(failure()) };
    Event::RunProgress { run, results: tasks.iter().map(result).collect(), last: true }
}

/// A unit of work as guests of interface version 1 do it.
fn work_of(work: Work) -> Result<crate::exec::Work, String> {
    if let Some(what) = work.unsupported(guest::INTERFACE) {
        return Err(format!("the job has {what}"));
    }
    let Work { operator, tasks, mut inputs, output, .. } = work;
    let buckets = output.shuffle().and_then(|shape| NonZeroU32::new(shape.buckets)).unwrap_or(NonZeroU32::MIN);
    match (operator, inputs.pop()) {
        (Operator::Map, Some(Port::Documents { pack, first_document, docs_per_task })) => {
            pack_work(pack, tasks, first_document, docs_per_task, buckets)
        }
        (Operator::Map, Some(Port::Numbers)) => {
            let texts: Vec<String> = tasks.iter().map(|task| task.to_string()).collect();
            let pack = Bytes::from(pack::build(texts.iter().map(|t| t.as_bytes())));
            pack_work(pack, tasks, 0, 1, buckets)
        }
        (Operator::Reduce, Some(Port::Records(records))) => {
            let chunks = Box::new(records.into_iter().map(Ok));
            Ok(crate::exec::Work::Reduce(vec![ReduceTask { task: tasks.start, chunks }]))
        }
        _ => Err("the task reads what its stage does not".to_owned()),
    }
}

fn pack_work(
    pack: Bytes,
    tasks: Run<TaskId>,
    first_document: u32,
    docs_per_task: u32,
    buckets: NonZeroU32,
) -> Result<crate::exec::Work, String> {
    let parsed = Pack::parse(pack.clone()).map_err(|e| e.to_string())?;
    let count = tasks.len.saturating_mul(docs_per_task);
    let last_document = first_document.saturating_add(count).min(parsed.documents());
    let documents: Vec<_> = parsed.ranges(first_document..last_document).collect();
    let found = documents.len() as u32;
    let map_task = |(i, task): (u32, TaskId)| {
        let start = (i * docs_per_task).min(found);
        MapTask { task, documents: start..start.saturating_add(docs_per_task).min(found) }
    };
    let tasks = (0..).zip(tasks.iter()).map(map_task).collect();
    Ok(crate::exec::Work::Map { pack, documents, buckets, tasks })
}

/// Computes the digest of a finished task's output. Runs on the pool's thread, since hashing takes time.
fn result_of(done: TaskDone, output: Sink) -> TaskResult {
    let outcome = match done.result {
        Ok(TaskOutput::Map(mapped)) => {
            let partitions = output.shuffle().map_or(1, |shape| shape.partitions);
            Attempt::cut(&mapped.data, &mapped.offsets, partitions)
                .map(io::TaskOutput::Shuffle)
                .map_err(|e| TaskFailure { document: None, why: e.to_string(), cause: Cause::Job })
        }
        Ok(TaskOutput::Reduce(reduced)) => {
            Ok(io::TaskOutput::Collect { digest: Hash::of(&reduced.data), bytes: reduced.data })
        }
        Err(error) => {
            let mut why = error.to_string();
            if !error.log_tail.is_empty() {
                why = format!("{why}\nit had written:\n{}", error.log_tail);
            }
            Err(TaskFailure { document: error.document, why, cause: cause_of(&error.kind) })
        }
    };
    TaskResult { task: done.task, elapsed: done.elapsed, outcome }
}

/// Which cause a task's error counts as.
fn cause_of(error: &TaskErrorKind) -> Cause {
    match error {
        // Counts against the job, though a faster peer might have finished it.
        TaskErrorKind::TimeLimit(_) => Cause::TimeLimit,
        TaskErrorKind::MemoryLimit(_) => Cause::MemoryLimit,
        TaskErrorKind::OutputLimit(_) => Cause::OutputLimit,
        error if error.is_repeatable() => Cause::Job,
        _ => Cause::Worker,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use webmesh_protocol::{ShuffleShape, StageId};

    use super::*;

    const SHUFFLE: Sink = Sink::Shuffle(ShuffleShape { partitions: 1, buckets: 1 });

    /// Task 7 of some stage.
    fn work(module: Hash, operator: Operator, inputs: Vec<Port>, output: Sink) -> Work {
        let (run, job, owner) = (RunId(1), JobId([1; 32]), PeerKey([2; 32]));
        let limits =
            webmesh_protocol::manifest::TaskLimits { millis: 1_000, memory: 1 << 20, output: 1 << 20, retries: 0 };
        let (stage, tasks) = (StageId(0), Run::new(TaskId(7), 1));
        Work { run, job, owner, stage, module, limits, operator, tasks, inputs, output }
    }

    #[test]
    fn what_guests_of_this_version_cannot_do_is_refused_with_the_reason() {
        let records = || Port::Records(vec![]);
        let made = |operator, inputs, output| work_of(work(Hash([1; 32]), operator, inputs, output));
        assert!(made(Operator::Map, vec![Port::Numbers], SHUFFLE).is_ok());
        assert!(made(Operator::Reduce, vec![records()], Sink::Collect).is_ok());
        let refused = [
            (made(Operator::Map, vec![Port::Numbers], Sink::Collect), "a map that gives the result"),
            (made(Operator::Reduce, vec![records()], SHUFFLE), "a reduce that feeds a shuffle"),
            (made(Operator::Reduce, vec![records(), records()], Sink::Collect), "reads several shuffles"),
            (made(Operator::Map, vec![records()], SHUFFLE), "reads what its stage does not"),
        ];
        for (made, expected) in refused {
            let why = made.unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    /// Runs task 7 with a module that this peer has, or has lost; returns the failure.
    async fn failure_with(wasm: &[u8], kept: bool) -> TaskFailure {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::blobs::BlobStore::new(dir.path().to_owned(), 1 << 20).unwrap();
        let blobs = Arc::new(Blobs::new(store));
        let module = Hash::of(wasm);
        if kept {
            blobs.put(&module, wasm).unwrap();
        }
        let (sender, mut receiver) = mpsc::channel(10);
        let runtime = Runtime::new(crate::exec::RuntimeConfig::new(1)).unwrap();
        let mut tasks = Tasks::start(1, runtime, blobs, sender).unwrap();
        tasks.run(work(module, Operator::Map, vec![Port::Numbers], SHUFFLE));
        match receiver.recv().await {
            Some(HostOutput::Event(Event::RunProgress { mut results, last: true, .. })) => {
                results.remove(0).outcome.unwrap_err()
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_lost_module_is_blamed_on_the_peer_and_a_bad_one_on_the_job() {
        let lost = failure_with(b"a module", false).await;
        assert!(lost.cause == Cause::Worker, "{lost:?}");
        let bad = failure_with(b"no module", true).await;
        assert!(bad.cause == Cause::Job, "{bad:?}");
    }

    #[test]
    fn modules_being_loaded_are_not_evicted() {
        let loading = (0..MODULES as u8).map(|n| {
            let loading = Loaded::Loading { attempt: 0, waiting: Vec::new(), cancel: CancelToken::new() };
            (Hash::of(&[n]), loading)
        });
        let mut state = State { modules: loading.collect(), ..State::default() };
        state.make_room();
        assert_eq!(state.modules.len(), MODULES);
    }
}
