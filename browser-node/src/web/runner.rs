//! Passes units of work from the engine to the page's Workers, and their results back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use js_sys::{Uint8Array, Uint32Array};
use wasm_bindgen::prelude::*;
use webmesh_node::driver::HostOutput;
use webmesh_node::module_shape::{Shape, ShapeError};
use webmesh_protocol::guest;
use webmesh_protocol::io::{Event, Port, RunId, TaskFailure, TaskOutput, TaskResult, Work};
use webmesh_protocol::manifest::{Manifest, Operator, Sink};
use webmesh_protocol::message::Cause;
use webmesh_protocol::pack::Pack;
use webmesh_protocol::ranges::Run;
use webmesh_protocol::segment::Attempt;
use webmesh_protocol::{Hash, JobId, TaskId};

use super::blobs::Blobs;
use super::sender::Sender;

#[wasm_bindgen]
extern "C" {
    /// The page's Workers: `web/src/runner.ts`.
    pub type Runner;

    /// Whether a module is compiled, or being compiled.
    #[wasm_bindgen(method)]
    fn has(this: &Runner, module: &str) -> bool;

    /// Compiles a module under this name.
    #[wasm_bindgen(method)]
    fn load(this: &Runner, module: &str, wasm: Uint8Array);

    /// Stores a module over reloads; it comes back through [`Tab::keep`](crate::web::Tab::keep).
    #[wasm_bindgen(method)]
    fn keep(this: &Runner, hash: &str, wasm: Uint8Array);

    /// Runs the tasks of a unit, one after another, each in a fresh instance, and reports each result.
    #[wasm_bindgen(method)]
    fn run(this: &Runner, unit: Unit);

    /// Ends one run without results.
    #[wasm_bindgen(method)]
    fn cancel(this: &Runner, run: f64);

    /// Cancels a job's running units, and drops its queued ones.
    #[wasm_bindgen(method)]
    fn stop(this: &Runner, job: &str);
}

/// A unit of work for the page's script.
#[wasm_bindgen(getter_with_clone)]
pub struct Unit {
    /// The id with which its results are reported.
    pub run: f64,
    /// The job.
    pub job: String,
    /// The name under which the module was loaded.
    pub module: String,
    /// Time limit of a task, in milliseconds.
    pub millis: u32,
    /// Output limit of a task, in bytes.
    pub output: f64,
    /// Number of buckets to write; `None` for a reduce.
    pub buckets: Option<u32>,
    /// Index of the first task; the others follow.
    #[wasm_bindgen(js_name = firstTask)]
    pub first_task: u32,
    /// The seeds, 32 bytes for each task.
    pub seeds: Uint8Array,
    /// The inputs of all tasks, concatenated.
    pub bytes: Uint8Array,
    /// The end of each input in `bytes`.
    pub ends: Uint32Array,
    /// Number of inputs for each task; the last task may have fewer.
    #[wasm_bindgen(js_name = inputsPerTask)]
    pub inputs_per_task: u32,
}

/// The units that were passed to the runner.
pub(super) struct Runs {
    runner: Runner,
    blobs: Rc<RefCell<Blobs>>,
    sender: Sender,
    running: RefCell<HashMap<u64, Running>>,
}

struct Running {
    job: JobId,
    output: Sink,
}

impl Runs {
    pub(super) fn new(runner: Runner, blobs: Rc<RefCell<Blobs>>, sender: Sender) -> Self {
        Self { runner, blobs, sender, running: RefCell::default() }
    }

    pub(super) fn run(&self, work: Work) {
        let (run, tasks) = (work.run, work.tasks);
        if let Err((why, cause)) = self.begin(work) {
            let failure = || TaskFailure { document: None, why: why.clone(), cause };
            let result = |task| TaskResult { task, elapsed: Duration::ZERO, outcome: Err(failure()) };
            self.report(run, tasks.iter().map(result).collect(), true);
        }
    }

    fn begin(&self, work: Work) -> Result<(), (String, Cause)> {
        if let Some(what) = work.unsupported(guest::INTERFACE) {
            return Err((format!("the job has {what}"), Cause::Worker));
        }
        let module = self.load(&work.module, work.limits.memory)?;
        let seed = |task| Manifest::task_seed(work.stage_ref().task(task));
        let seeds: Vec<u8> = work.tasks.iter().flat_map(seed).collect();
        let (first_task, output) = (work.tasks.start.0, work.output);
        let (bytes, ends, inputs_per_task) =
            inputs_of(work.operator, work.tasks, work.inputs).map_err(|why| (why, Cause::Worker))?;
        let unit = Unit {
            run: work.run.0 as f64,
            job: hex::encode(work.job.0),
            module,
            millis: work.limits.millis,
            output: work.limits.output as f64,
            buckets: output.shuffle().map(|shape| shape.buckets),
            first_task,
            seeds: Uint8Array::from(&seeds[..]),
            bytes,
            ends: Uint32Array::from(&ends[..]),
            inputs_per_task,
        };
        self.running.borrow_mut().insert(work.run.0, Running { job: work.job, output });
        self.runner.run(unit);
        Ok(())
    }

    /// Makes sure that the runner has the module, limited to `memory` bytes; returns its name there.
    fn load(&self, hash: &Hash, memory: u64) -> Result<String, (String, Cause)> {
        let name = format!("{}:{memory}", hex::encode(hash.0));
        if !self.runner.has(&name) {
            let gone = || ("the module is not here any more".to_owned(), Cause::Worker);
            let wasm = self.blobs.borrow_mut().get(hash).ok_or_else(gone)?;
            let wasm = Shape::of(&wasm).and_then(|shape| shape.limited(&wasm, memory));
            let wasm = wasm.map_err(|e| (e.to_string(), cause_of(&e)))?;
            self.runner.load(&name, Uint8Array::from(&wasm[..]));
        }
        Ok(name)
    }

    /// Stores a fetched module for later jobs.
    pub(super) fn keep(&self, hash: &Hash, wasm: &[u8]) {
        self.runner.keep(&hex::encode(hash.0), Uint8Array::from(wasm));
    }

    pub(super) fn cancel(&self, run: RunId) {
        if self.running.borrow_mut().remove(&run.0).is_some() {
            self.runner.cancel(run.0 as f64);
        }
    }

    pub(super) fn stop(&self, job: JobId) {
        self.running.borrow_mut().retain(|_, running| running.job != job);
        self.runner.stop(&hex::encode(job.0));
    }

    pub(super) fn began(&self, run: u64) {
        if self.running.borrow().contains_key(&run) {
            self.report(RunId(run), vec![], false);
        }
    }

    pub(super) fn finished(
        &self,
        run: u64,
        task: u32,
        millis: f64,
        data: Bytes,
        offsets: Option<Vec<u32>>,
        last: bool,
    ) {
        let Some(output) = self.output_of(run, last) else { return };
        let outcome = match offsets {
            Some(offsets) => Attempt::cut(&data, &offsets, output.shuffle().map_or(1, |shape| shape.partitions))
                .map(TaskOutput::Shuffle)
                .map_err(|e| TaskFailure { document: None, why: e.to_string(), cause: Cause::Job }),
            None => Ok(TaskOutput::Collect { digest: Hash::of(&data), bytes: data }),
        };
        self.report(RunId(run), vec![TaskResult { task: TaskId(task), elapsed: duration(millis), outcome }], last);
    }

    #[allow(clippy::too_many_arguments, reason = "as JavaScript hands them over")]
    pub(super) fn failed(
        &self,
        run: u64,
        task: u32,
        millis: f64,
        document: Option<u32>,
        why: String,
        cause: &str,
        last: bool,
    ) {
        if self.output_of(run, last).is_some() {
            let cause = match cause {
                "time" => Cause::TimeLimit,
                "memory" => Cause::MemoryLimit,
                "output" => Cause::OutputLimit,
                "worker" => Cause::Worker,
                _ => Cause::Job,
            };
            let outcome = Err(TaskFailure { document, why, cause });
            self.report(RunId(run), vec![TaskResult { task: TaskId(task), elapsed: duration(millis), outcome }], last);
        }
    }

    /// Returns the unfinished tasks of a run to the engine: the page has stopped the Worker that ran it.
    pub(super) fn returned(&self, run: u64) {
        if self.running.borrow_mut().remove(&run).is_some() {
            self.report(RunId(run), vec![], true);
        }
    }

    /// The sink of a run's output; `None` if nobody waits for it any more. `last` ends the run.
    fn output_of(&self, run: u64, last: bool) -> Option<Sink> {
        let mut running = self.running.borrow_mut();
        if last {
            return running.remove(&run).map(|running| running.output);
        }
        running.get(&run).map(|running| running.output)
    }

    fn report(&self, run: RunId, results: Vec<TaskResult>, last: bool) {
        self.sender.send(HostOutput::Event(Event::RunProgress { run, results, last }));
    }
}

/// Natively, a module that is refused for what it declares counts against its job, too.
fn cause_of(error: &ShapeError) -> Cause {
    match error {
        ShapeError::MemoryTooSmall { .. } => Cause::MemoryLimit,
        ShapeError::Malformed | ShapeError::Unsupported(_) | ShapeError::TooMany { .. } => Cause::Job,
    }
}

fn duration(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1000.0).unwrap_or_default()
}

/// The inputs concatenated, the end of each, and the number of inputs for each task, as guests of interface version 1
/// take them.
fn inputs_of(
    operator: Operator,
    tasks: Run<TaskId>,
    mut inputs: Vec<Port>,
) -> Result<(Uint8Array, Vec<u32>, u32), String> {
    match (operator, inputs.pop()) {
        (Operator::Map, Some(Port::Documents { pack, first_document, docs_per_task })) => {
            let parsed = Pack::parse(pack.clone()).map_err(|e| e.to_string())?;
            let count = tasks.len.saturating_mul(docs_per_task);
            let last_document = first_document.saturating_add(count).min(parsed.documents());
            let ranges: Vec<Range<u32>> = parsed.ranges(first_document..last_document).collect();
            // Documents of a pack are contiguous.
            let start = ranges.first().map_or(0, |range| range.start);
            let end = ranges.last().map_or(start, |range| range.end);
            let ends = ranges.iter().map(|range| range.end - start).collect();
            Ok((Uint8Array::from(&pack[start as usize..end as usize]), ends, docs_per_task))
        }
        (Operator::Map, Some(Port::Numbers)) => {
            let (mut text, mut ends) = (String::new(), Vec::new());
            for task in tasks.iter() {
                text += &task.to_string();
                ends.push(text.len() as u32);
            }
            Ok((Uint8Array::from(text.as_bytes()), ends, 1))
        }
        (Operator::Reduce, Some(Port::Records(records))) => {
            let len: usize = records.iter().map(Bytes::len).sum();
            let bytes = Uint8Array::new_with_length(u32::try_from(len).map_err(|_| "a bucket of over 4 GiB")?);
            let (mut at, mut ends) = (0, Vec::with_capacity(records.len()));
            for part in &records {
                let end = at + part.len() as u32;
                bytes.subarray(at, end).copy_from(part);
                ends.push(end);
                at = end;
            }
            let inputs = records.len() as u32;
            Ok((bytes, ends, inputs.max(1)))
        }
        _ => Err("the task reads what its stage does not".to_owned()),
    }
}
