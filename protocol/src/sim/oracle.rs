//! Checks the engines from outside: which tasks ran how often and why, what was accepted, and whether the result is
//! correct.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::guest;
use super::scenario::Job;
use crate::decisions::{State, replay, take_frame};
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{Progress, Work};
use crate::manifest::Operator;
use crate::message::{Accept, AttemptId, Claim, Failure, Outcome};
use crate::part::{StageId, StageRef, TaskId, TaskRef};
use crate::split::Split;

/// Most violations kept for the report; the first is the interesting one.
const KEPT: usize = 20;

/// What is known of all jobs.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) fates: Vec<Fate>,
    by_id: BTreeMap<JobId, usize>,
    pub(super) dead: BTreeSet<u32>,
    /// Blocks of second attempts that each peer has announced, by peer, job and stage.
    speculative: BTreeMap<(u32, StageRef), Vec<u32>>,
    pub(super) violations: Vec<String>,
}

/// The history of one job.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) plan: Job,
    pub(super) submitted: u64,
    pub(super) ended: Option<(u64, Outcome)>,
    pub(super) failure: Option<Failure>,
    /// The number of times that done tasks were reopened.
    reopened: u32,
    /// The shufflers of the newest epoch.
    pub(super) shufflers: Vec<PeerKey>,
    pub(super) counts: Counts,
    starts: Vec<Vec<Start>>,
    /// Number of revocations; what was accepted or stored before the last one may be so again.
    pub(super) revoked: u32,
    accepted: BTreeMap<(StageId, TaskId), (Hash, u32)>,
    /// Number of buckets per task, by the stage that wrote them.
    pub(super) widths: BTreeMap<StageId, u32>,
    pub(super) outputs: BTreeMap<TaskId, (Bytes, u32)>,
    /// The job's log, if it is kept: batches being written, batches on disk, and the state that follows from them.
    pub(super) writing: VecDeque<(u64, Bytes)>,
    pub(super) log: Vec<u8>,
    pub(super) state: Option<State>,
    /// Not even the first batch of its log is intact: the job cannot be resumed.
    pub(super) log_is_lost: bool,
    pub(super) id: Option<JobId>,
    /// When the last map task started, and the last reduce.
    pub(super) last_start: [u64; 2],
    /// Done tasks of all stages, as shown to the submitter, and when the number last changed.
    done: u32,
    went_on: u64,
    /// The longest time without another done task, in microseconds.
    pub(super) standstill: u64,
    /// What the submitter's user was told about such times, and when.
    pub(super) waits: Vec<(u64, String)>,
}

/// How often tasks were started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All starts.
    pub starts: u64,
    /// Repeated although the previous attempt had no fault: what claims should prevent.
    pub duplicates: u64,
    /// Those of them in the map stage.
    pub map_duplicates: u64,
    /// Repeated on purpose, in parallel to a slow attempt.
    pub speculative: u64,
    /// Repeated because an attempt failed, its worker was lost, or its output was lost with a shuffler.
    pub after_faults: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Start {
    times: u8,
    runner: u32,
    reopened: u32,
    failed: bool,
}

impl Oracle {
    pub(super) fn new(jobs: &[Job]) -> Self {
        let fate = |plan: &Job| Fate {
            plan: plan.clone(),
            submitted: 0,
            ended: None,
            failure: None,
            reopened: 0,
            shufflers: Vec::new(),
            counts: Counts::default(),
            starts: plan.stages().iter().map(|node| vec![Start::default(); plan.tasks_of(node) as usize]).collect(),
            revoked: 0,
            accepted: BTreeMap::new(),
            widths: BTreeMap::new(),
            outputs: BTreeMap::new(),
            writing: VecDeque::new(),
            log: Vec::new(),
            state: None,
            log_is_lost: false,
            id: None,
            last_start: [0; 2],
            done: 0,
            went_on: 0,
            standstill: 0,
            waits: Vec::new(),
        };
        Self { fates: jobs.iter().map(fate).collect(), ..Self::default() }
    }

    pub(super) fn violation(&mut self, what: String) {
        if self.violations.len() < KEPT {
            self.violations.push(what);
        }
    }

    fn fate(&mut self, job: &JobId) -> Option<&mut Fate> {
        self.by_id.get(job).map(|&i| &mut self.fates[i])
    }

    pub(super) fn plan(&self, job: &JobId) -> Option<&Job> {
        self.by_id.get(job).map(|&i| &self.fates[i].plan)
    }

    /// Notes that a job has an id.
    pub(super) fn opens(&mut self, now: u64, number: usize, job: JobId) {
        self.by_id.insert(job, number);
        self.fates[number].submitted = now;
        self.fates[number].went_on = now;
        self.fates[number].id = Some(job);
    }

    pub(super) fn id_of(&self, number: usize) -> Option<JobId> {
        self.fates[number].id
    }

    pub(super) fn all_ended(&self) -> bool {
        self.fates.iter().all(|f| f.ended.is_some())
    }

    pub(super) fn announced(&mut self, job: &JobId, reopened: u32, shufflers: Vec<PeerKey>) {
        if let Some(fate) = self.fate(job) {
            fate.reopened = reopened;
            fate.shufflers = shufflers;
        }
    }

    pub(super) fn claimed(&mut self, peer: u32, claim: &Claim) {
        let speculative: Vec<u32> = claim.holds.iter().filter(|h| h.speculative).flat_map(|h| h.run.iter()).collect();
        let key = (peer, claim.shard_ref().stage_ref());
        if speculative.is_empty() {
            self.speculative.remove(&key);
        } else {
            self.speculative.insert(key, speculative);
        }
    }

    /// Called when a worker hands tasks to its threads.
    pub(super) fn started(&mut self, now: u64, peer: u32, work: &Work) {
        let Some(&number) = self.by_id.get(&work.job) else { return };
        let speculative = self.speculative.get(&(peer, work.stage_ref()));
        let fate = &mut self.fates[number];
        let block = if work.operator == Operator::Map { fate.plan.block } else { 1 };
        fate.last_start[work.stage.index().min(1)] = now;
        for task in work.tasks.iter() {
            let reopened = fate.reopened;
            let Some(start) = fate.starts[work.stage.index()].get_mut(task.index()) else { continue };
            fate.counts.starts += 1;
            if start.times > 0 {
                if speculative.is_some_and(|s| s.contains(&(task.0 / block))) {
                    fate.counts.speculative += 1;
                } else if start.failed || start.reopened < reopened || self.dead.contains(&start.runner) {
                    fate.counts.after_faults += 1;
                } else {
                    fate.counts.duplicates += 1;
                    fate.counts.map_duplicates += u64::from(work.stage == StageId(0));
                }
            }
            *start = Start { times: start.times.saturating_add(1), runner: peer, reopened, failed: false };
        }
    }

    pub(super) fn failed(&mut self, of: TaskRef) {
        let TaskRef { job, stage, task } = of;
        if let Some(fate) = self.fate(&job) {
            fate.starts[stage.index()][task.index()].failed = true;
        }
    }

    /// Called when a home announces acceptances, and how many buckets of a stage's output make a task.
    pub(super) fn accepted(&mut self, accept: &Accept) {
        let &Accept { job, stage, ref attempts, width, .. } = accept;
        let Some(fate) = self.fate(&job) else { return };
        let mut other = None;
        if let Some(width) = width
            && *fate.widths.entry(stage).or_insert(width) != width
        {
            return self
                .violation(format!("the output of stage {stage} was divided again, into tasks of {width} buckets"));
        }
        let decided = fate.state.as_ref().and_then(|state| state.stage(stage));
        let kept = |AttemptId { task, digest }| decided.is_some_and(|stage| stage.digest(task) == Some(digest));
        if fate.plan.kept && !attempts.iter().all(kept) {
            return self.violation("an acceptance was announced before it was persisted in the log".to_owned());
        }
        for AttemptId { task, digest } in attempts.iter() {
            let before = fate.accepted.insert((stage, task), (digest, fate.revoked));
            if before.is_some_and(|(known, revoked)| known != digest && revoked == fate.revoked) {
                other = Some(task);
            }
        }
        if let Some(task) = other {
            self.violation(format!("two digests of task {task} were accepted"));
        }
    }

    /// Called when a submitter's user sees the job's progress.
    pub(super) fn progressed(&mut self, now: u64, progress: &Progress) {
        let Some(fate) = self.fate(&progress.job) else { return };
        let done = progress.stages.iter().map(|(done, _)| done).sum();
        if done > fate.done {
            fate.standstill = fate.standstill.max(now - fate.went_on);
            fate.went_on = now;
        }
        fate.done = done;
    }

    /// Called when a submitter's user is told what the job waits for.
    pub(super) fn waits(&mut self, now: u64, job: &JobId, why: &str) {
        if let Some(fate) = self.fate(job) {
            fate.waits.push((now, why.to_owned()));
        }
    }

    /// Called when a home writes a batch of a job's log.
    pub(super) fn writes(&mut self, job: &JobId, number: u64, bytes: Bytes) {
        if let Some(fate) = self.fate(job) {
            fate.writing.push_back((number, bytes));
        }
    }

    /// Called when a batch of a job's log has been persisted.
    pub(super) fn kept(&mut self, job: &JobId, number: u64) -> Result<(), String> {
        let Some(fate) = self.fate(job) else { return Err("a log was written for an unknown job".to_owned()) };
        let Some((first, bytes)) = fate.writing.pop_front() else {
            // Its home was killed before.
            return Ok(());
        };
        if first != number {
            return Err("a log was written out of order".to_owned());
        }
        fate.log.extend_from_slice(&bytes);
        let (batch, _) = take_frame(&bytes)?;
        match &mut fate.state {
            Some(state) => state.apply(&batch),
            none => State::open(&batch).map(|state| *none = Some(state)),
        }
        .map_err(|why| format!("a log contains an invalid batch: {why}"))
    }

    /// Called when a home revokes acceptances.
    pub(super) fn revoked(&mut self, job: &JobId) {
        if let Some(fate) = self.fate(job) {
            fate.revoked += 1;
        }
    }

    pub(super) fn stored(&mut self, job: &JobId, task: TaskId, bytes: Bytes) {
        let Some(fate) = self.fate(job) else { return };
        let before = fate.outputs.insert(task, (bytes, fate.revoked));
        if before.is_some_and(|(_, revoked)| revoked == fate.revoked) {
            self.violation(format!("the result of task {task} was stored twice"));
        }
    }

    pub(super) fn ended(&mut self, now: u64, job: &JobId, outcome: Outcome, failure: Option<Failure>) {
        let Some(fate) = self.fate(job) else { return };
        if fate.ended.is_some() {
            return self.violation("a job ended twice".to_owned());
        }
        fate.standstill = fate.standstill.max(now - fate.went_on);
        let done = outcome == Outcome::Done;
        fate.ended = Some((now, outcome));
        fate.failure = failure;
        if done && fate.plan.kept {
            let ended = fate.state.as_ref().and_then(State::outcome);
            if ended != Some(&Outcome::Done) || replay(&fate.log).state != fate.state {
                return self.violation("a job's end was announced, but is not in its log".to_owned());
            }
        }
        if done && let Err(why) = fate.check() {
            self.violation(why);
        }
    }
}

impl Fate {
    /// How the last stage divides what it reads, once that is settled.
    pub(super) fn split(&self) -> Option<Split> {
        let graph = self.plan.stages();
        let &read = graph.last()?.reads.first()?;
        Split::of_width(graph[read.index()].shuffle?, *self.widths.get(&read)?)
    }

    /// Number of tasks of all stages; that of the last one may only be settled later.
    pub(super) fn tasks(&self) -> u32 {
        let most = self.plan.stages().last().map_or(0, |node| self.plan.tasks_of(node));
        self.plan.all_tasks() - most + self.split().map_or(most, |split| split.tasks())
    }

    /// Compares the result with the expected one.
    fn check(&self) -> Result<(), String> {
        let graph = self.plan.stages();
        let expected = guest::expected(&graph, self.plan.tasks, self.split());
        if let Some(task) = self.outputs.keys().find(|task| task.index() >= expected.len()) {
            return Err(format!("there is a result of task {task}, which does not exist"));
        }
        for (task, expected) in TaskId::enumerate(&expected) {
            match self.outputs.get(&task) {
                None => return Err(format!("the job is done without the result of task {task}")),
                Some((bytes, _)) if guest::without_marks(bytes) != expected => {
                    return Err(format!("the result of task {task} is wrong"));
                }
                Some(_) => {}
            }
        }
        // Where nothing was written, nothing was run.
        let written = self.outputs.values().filter(|(bytes, _)| !bytes.is_empty());
        let marks: BTreeSet<Bytes> = written.map(|(bytes, _)| guest::marks(bytes)).collect();
        if marks.len() > 1 {
            return Err("results of one job were computed from different attempts of a task".to_owned());
        }
        for (stage, node) in StageId::enumerate(&graph).filter(|(_, node)| node.shuffle.is_some()) {
            let missing = |&task: &TaskId| !self.accepted.contains_key(&(stage, task));
            if let Some(task) = TaskId::below(self.plan.tasks_of(node)).find(missing) {
                return Err(format!("the job is done, and task {task} of stage {stage} was never accepted"));
            }
        }
        Ok(())
    }
}
