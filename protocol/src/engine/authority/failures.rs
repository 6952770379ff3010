//! Failures of a job's tasks: attempts that failed, and workers that cannot run any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::core::Core;
use crate::id::PeerKey;
use crate::limits;
use crate::manifest::{Manifest, TaskLimits};
use crate::message::{Cause, Failure};
use crate::part::{StageId, TaskId};
use crate::time::Time;
use crate::version;

/// Tasks whose failures are remembered. Those beyond wait until some of these are done, or end the job.
const FAILED_TASKS: usize = 4096;
/// Workers that have not taken part in the job get this long to take a task that fails elsewhere.
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(3);
/// Faults of a worker within this time count as one: the tasks of a unit fail together when the worker cannot run them.
const ONE_FAULT: Duration = Duration::from_secs(1);
/// How long this peer gets to try a task that failed elsewhere, beyond the time limit of the task: enough to compile
/// the module and to fetch the input.
const CONFIRM_EXTRA: Duration = Duration::from_secs(20);
/// A job that no known worker can run waits this long for another worker.
const UNABLE_AFTER: Duration = Duration::from_secs(3);

/// The failures of one job.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Failed attempts so far, those included that do not count against a task.
    pub(super) count: u32,
    /// Tasks that are not done and failed somewhere.
    tasks: BTreeMap<(StageId, TaskId), Failed>,
    /// Workers that cannot run the job's tasks, or may turn out not to.
    unable: BTreeMap<PeerKey, Unable>,
    /// The reason given by the last worker that failed for a reason of its own.
    last_fault: String,
    /// When a worker last turned out to be unable.
    unable_since: Time,
}

/// Failed attempts at one task.
#[derive(Debug)]
struct Failed {
    /// The workers that made those attempts that count.
    by: Vec<PeerKey>,
    /// When the last of them was reported.
    at: Time,
    /// All other workers have had time to try it: from now on each failure counts, whichever worker reports it.
    others_had_time: bool,
    /// The time until which this peer tries the task itself before the job ends; `None` until all tries are used up.
    confirm_until: Option<Time>,
}

/// Why a worker runs no task of the job.
#[derive(Debug)]
pub(super) enum Unable {
    /// It gives a task only this many bytes of memory.
    Memory(u64),
    /// It speaks this minor version of the protocol, and the job needs a later one.
    Version(u16),
    /// It failed this many times in a row for reasons of its own, such as a module that it cannot load.
    Faults { count: u32, last: Time },
}

impl Failures {
    /// A worker cannot take part, for a permanent reason.
    pub(super) fn declined(&mut self, now: Time, worker: PeerKey, why: Unable) {
        if self.unable.len() < limits::JOB_WORKERS || self.unable.contains_key(&worker) {
            self.unable.insert(worker, why);
            self.unable_since = now;
        }
    }

    /// A worker produced a result: its faults so far are forgotten.
    pub(super) fn succeeded(&mut self, worker: &PeerKey) {
        if let Some(Unable::Faults { .. }) = self.unable.get(worker) {
            self.unable.remove(worker);
        }
    }

    /// A task is done: its failures no longer matter.
    pub(super) fn done(&mut self, stage: StageId, task: TaskId) {
        self.tasks.remove(&(stage, task));
    }

    /// The input of a stage was revoked, so that its tasks are different ones now.
    pub(super) fn forget_stage(&mut self, stage: StageId) {
        self.tasks.retain(|(of, _), _| *of != stage);
    }

    /// A worker failed at a task. Gives the number of tries that the task has left. `took_part` are the workers of the
    /// job so far.
    pub(super) fn note(
        &mut self,
        core: &Core,
        from: PeerKey,
        failure: &Failure,
        limits: &TaskLimits,
        took_part: &BTreeSet<PeerKey>,
    ) -> u32 {
        self.count += 1;
        let tries = tries(limits);
        if failure.cause == Cause::Worker {
            self.note_fault(core.now, from, &failure.why, tries);
        } else {
            self.succeeded(&from);
        }
        let name = (failure.stage, failure.task);
        let full = self.tasks.len() >= FAILED_TASKS && !self.tasks.contains_key(&name);
        if failure.cause == Cause::Worker || full {
            return tries - self.tasks.get(&name).map_or(0, |f| f.by.len() as u32).min(tries);
        }
        // One worker alone cannot end a job while others could try the task: each may use up a share of the tries. Once
        // the others have had time for it and have not done it, any worker may use up the rest.
        let others: Vec<PeerKey> = self.connected_and_able(core, tries).filter(|peer| *peer != from).collect();
        let share = tries.div_ceil(others.len() as u32 + 1) as usize;
        let taking_part = others.iter().any(|peer| took_part.contains(peer));
        let patience = if taking_part { limits.time() } else { NEWCOMER_PATIENCE.min(limits.time()) };
        let failed = self.tasks.entry(name).or_insert(Failed {
            by: Vec::new(),
            at: core.now,
            others_had_time: false,
            confirm_until: None,
        });
        failed.others_had_time |= core.now.since(failed.at) > patience;
        let used = failed.by.iter().filter(|p| **p == from).count();
        // While this peer confirms the failure, further reports of others say nothing new.
        let counts = failed.by.len() < tries as usize || from == core.me;
        if counts && (used < share || failed.others_had_time) {
            failed.by.push(from);
            failed.at = core.now;
        }
        tries.saturating_sub(failed.by.len() as u32)
    }

    /// Whether this peer has to try a task itself, as its tries are used up and none of them was made here: reports
    /// alone, which any peer can send, do not end a job. `false` if this peer has tried it, or cannot.
    pub(super) fn needs_confirmation(&mut self, core: &Core, failure: &Failure, limits: &TaskLimits) -> bool {
        let works = core.advert.roles.worker && !self.unable.get(&core.me).is_some_and(|u| u.is_certain(tries(limits)));
        if !works && limits.memory > core.confirms {
            return false;
        }
        let Some(failed) = self.tasks.get_mut(&(failure.stage, failure.task)) else { return false };
        let until = *failed.confirm_until.get_or_insert(core.now + limits.time() + CONFIRM_EXTRA);
        !failed.by.contains(&core.me) && core.now < until
    }

    /// The workers that could take a task now: those connected, and this peer if it works.
    fn connected_and_able(&self, core: &Core, tries: u32) -> impl Iterator<Item = PeerKey> {
        let connected = core.directory.with_role(|r| r.worker).filter(|(_, member)| member.connected);
        let others = connected.map(|(&peer, _)| peer).filter(|peer| *peer != core.me);
        let all = others.chain(core.advert.roles.worker.then_some(core.me));
        all.filter(move |peer| !self.unable.get(peer).is_some_and(|unable| unable.is_certain(tries)))
    }

    fn note_fault(&mut self, now: Time, worker: PeerKey, why: &str, tries: u32) {
        why.clone_into(&mut self.last_fault);
        if self.unable.len() >= limits::JOB_WORKERS && !self.unable.contains_key(&worker) {
            return;
        }
        let known = self.unable.entry(worker).or_insert(Unable::Faults { count: 0, last: now });
        if let Unable::Faults { count, last } = known
            && (*count == 0 || now.since(*last) >= ONE_FAULT)
        {
            (*count, *last) = (count.saturating_add(1), now);
            if *count == tries {
                self.unable_since = now;
            }
        }
    }

    /// Why the job cannot continue, if none of the known workers can run its tasks and another has had time to come
    /// forward. `progressed` is when a task of the job was last done, or when it was submitted.
    pub(super) fn why_no_worker_can(
        &self,
        core: &Core,
        manifest: &Manifest,
        took_part: &BTreeSet<PeerKey>,
        progressed: Time,
    ) -> Option<String> {
        if self.unable.is_empty() || core.now.since(progressed.max(self.unable_since)) < UNABLE_AFTER {
            return None;
        }
        let tries = manifest.stages.iter().map(|s| tries(&s.limits)).max().unwrap_or(1);
        let unable = |peer: &PeerKey| self.unable.get(peer).is_some_and(|u| u.is_certain(tries));
        // A worker that took part and was forgotten since is not waited for.
        let known = |peer: &&PeerKey| **peer == core.me || core.directory.get(peer).is_some();
        let workers = core.directory.with_role(|r| r.worker).map(|(peer, _)| peer);
        let mut workers = workers.chain(took_part.iter().filter(known)).peekable();
        if workers.peek().is_none() || !workers.all(unable) {
            return None;
        }
        let memory = self.unable.values().filter_map(|u| if let Unable::Memory(m) = u { Some(*m) } else { None });
        let faults = self.unable.values().any(|u| matches!(u, Unable::Faults { .. }) && u.is_certain(tries));
        let why_memory = memory.max().map(|most| {
            let asked = manifest.stages.iter().map(|s| s.limits.memory).max().unwrap_or(0);
            format!(
                "no worker gives a task the {} MiB that it may take; the most given is {} MiB: ask for less with \
                 --task-memory, or start a node that gives more with --memory",
                asked.div_ceil(1 << 20),
                most >> 20
            )
        });
        let why_faults =
            faults.then(|| format!("no worker can run the job's tasks; the last one said: {}", self.last_fault));
        let newest =
            self.unable.values().filter_map(|u| if let Unable::Version(n) = u { Some(*n) } else { None }).max();
        let why_version = newest.map(|newest| {
            format!(
                "no worker speaks version {} of the protocol, which the job needs; the newest speaks {}: update the nodes",
                version::of_minor(manifest.minor),
                version::of_minor(newest)
            )
        });
        Some([why_faults, why_version, why_memory].into_iter().flatten().collect::<Vec<_>>().join("; of the others, "))
    }
}

impl Unable {
    /// Whether the worker is known to be unable, which takes as many faults as a task has tries.
    fn is_certain(&self, tries: u32) -> bool {
        match self {
            Self::Memory(_) | Self::Version(_) => true,
            Self::Faults { count, .. } => *count >= tries,
        }
    }
}

fn tries(limits: &TaskLimits) -> u32 {
    u32::from(limits.retries) + 1
}
