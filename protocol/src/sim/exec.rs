//! The executor of a simulated peer: threads that each run one task after another.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::guest;
use super::world::{SimEvent, World};
use crate::id::Hash;
use crate::io::{Event, Port, TaskFailure, TaskOutput, TaskResult, Work};
use crate::manifest::{Operator, Sink};
use crate::message::Cause;
use crate::pack::Pack;
use crate::part::{StageId, TaskId};

/// Results of short tasks are gathered for this long and delivered together.
const REPORT: Duration = Duration::from_millis(10);

/// The threads of one peer.
#[derive(Debug)]
pub(super) struct Executor {
    threads: Vec<Option<Running>>,
    queue: VecDeque<Box<Work>>,
    steps: u64,
}

#[derive(Debug)]
struct Running {
    work: Box<Work>,
    /// The next step of this run; events with another number belong to runs that were stopped.
    step: u64,
    /// Number of tasks whose results have been delivered.
    reported: usize,
    /// Tasks that the current step runs, each with its time.
    now: Vec<(TaskId, Duration)>,
}

impl Executor {
    pub(super) fn new(threads: u16) -> Self {
        Self { threads: (0..threads).map(|_| None).collect(), queue: VecDeque::new(), steps: 0 }
    }

    /// Stops some runs.
    pub(super) fn stop(&mut self, which: impl Fn(&Work) -> bool) {
        self.queue.retain(|work| !which(work));
        for thread in &mut self.threads {
            if thread.as_ref().is_some_and(|r| which(&r.work)) {
                *thread = None;
            }
        }
    }

    /// Whether nothing runs or waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.threads.iter().all(Option::is_none)
    }
}

impl World {
    pub(super) fn run(&mut self, peer: u32, work: Box<Work>) {
        self.oracle.started(self.now, peer, &work);
        // Modules need not be compiled here.
        self.soon(peer, Event::RunProgress { run: work.run, results: Vec::new(), last: false });
        self.peers[peer as usize].exec.queue.push_back(work);
        self.use_threads(peer);
    }

    /// Gives waiting work to idle threads.
    pub(super) fn use_threads(&mut self, peer: u32) {
        loop {
            let exec = &mut self.peers[peer as usize].exec;
            let Some(thread) = exec.threads.iter().position(Option::is_none) else { return };
            let Some(work) = exec.queue.pop_front() else { return };
            exec.threads[thread] = Some(Running { work, step: 0, reported: 0, now: vec![] });
            self.next_step(peer, thread);
        }
    }

    fn next_step(&mut self, peer: u32, thread: usize) {
        let slowness = self.scenario.slowness(peer);
        let exec = &mut self.peers[peer as usize].exec;
        let Some(running) = &mut exec.threads[thread] else { return };
        let plan = self.oracle.plan(&running.work.job);
        let mut total = Duration::ZERO;
        running.now.clear();
        for task in running.work.tasks.iter().skip(running.reported) {
            let time =
                plan.map_or(REPORT, |p| p.time_of(self.scenario.seed, running.work.stage, task)).mul_f64(slowness);
            running.now.push((task, time));
            total += time;
            if total >= REPORT {
                break;
            }
        }
        let second = (self.now / 1_000_000) as usize;
        if self.busy.len() <= second {
            self.busy.resize(second + 1, Duration::ZERO);
        }
        self.busy[second] += total;
        exec.steps += 1;
        running.step = exec.steps;
        let step = running.step;
        self.after(total, SimEvent::Step { peer, thread, step });
    }

    pub(super) fn on_step(&mut self, peer: u32, thread: usize, step: u64) {
        let exec = &mut self.peers[peer as usize].exec;
        // Steps of runs that were stopped, or of a peer that is gone, are ignored.
        let running = exec.threads.get_mut(thread).and_then(Option::as_mut);
        let Some(running) = running.filter(|r| r.step == step) else { return };
        let now = std::mem::take(&mut running.now);
        running.reported += now.len();
        let last = running.reported == running.work.tasks.len as usize;
        let plan = self.oracle.plan(&running.work.job);
        let fails = plan.and_then(|p| p.fails);
        let mark = plan.filter(|p| p.unrepeatable).map(|_| step as u32 ^ peer << 20);
        let results: Vec<TaskResult> = now
            .into_iter()
            .map(|(task, elapsed)| TaskResult { task, elapsed, outcome: outcome(&running.work, task, fails, mark) })
            .collect();
        let (run, stage) = (running.work.run, running.work.stage_ref());
        for result in results.iter().filter(|r| r.outcome.is_err()) {
            self.oracle.failed(stage.task(result.task));
        }
        if last {
            self.peers[peer as usize].exec.threads[thread] = None;
            self.use_threads(peer);
        } else {
            self.next_step(peer, thread);
        }
        self.feed(peer, Event::RunProgress { run, results, last });
    }
}

fn outcome(work: &Work, task: TaskId, fails: Option<TaskId>, mark: Option<u32>) -> Result<TaskOutput, TaskFailure> {
    let failure = |why: &str| TaskFailure { document: Some(0), why: why.to_owned(), cause: Cause::Job };
    if work.stage == StageId(0) && fails == Some(task) {
        return Err(failure("this document fails everywhere"));
    }
    let given = match work.operator {
        Operator::Map => {
            read_document(work, task).map_err(failure)?;
            guest::map(work.stage, task, mark)
        }
        Operator::Reduce => {
            let ports: Option<Vec<&[Bytes]>> = work.inputs.iter().map(records).collect();
            let totals = guest::reduce(&ports.ok_or_else(|| failure("a reduce reads shuffles only"))?);
            if work.output == Sink::Collect {
                return Ok(collected(totals.collected()));
            }
            totals.given()
        }
    };
    Ok(match work.output {
        Sink::Shuffle(shape) => TaskOutput::Shuffle(given.shuffled(shape)),
        Sink::Collect => collected(given.collected()),
    })
}

/// Each document holds the number of its task, so that a wrong document is detected.
fn read_document(work: &Work, task: TaskId) -> Result<(), &'static str> {
    match &work.inputs[..] {
        [Port::Numbers] => Ok(()),
        [Port::Documents { pack, first_document, .. }] => {
            let pack = Pack::parse(pack.clone()).map_err(|_| "this is no pack")?;
            let document = work.tasks.place_of(task).and_then(|place| pack.document(first_document + place));
            if document == Some(task.to_string().as_bytes()) { Ok(()) } else { Err("this is not the task's document") }
        }
        _ => Err("a map reads documents only"),
    }
}

fn records(port: &Port) -> Option<&[Bytes]> {
    if let Port::Records(records) = port { Some(records) } else { None }
}

fn collected(bytes: Bytes) -> TaskOutput {
    TaskOutput::Collect { digest: Hash::of(&bytes), bytes }
}
