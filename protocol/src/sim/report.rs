//! The result of a simulation.

use crate::part::{StageId, TaskId};
use std::fmt;
use std::time::Duration;

pub use super::oracle::Counts;
use super::world::World;
use crate::message::{Failure, Outcome};

/// The result of a simulation.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed that reproduces it.
    pub seed: u64,
    /// The jobs, in the scenario's order.
    pub jobs: Vec<JobReport>,
    /// Virtual time from the first submission to the last end.
    pub time: Duration,
    /// Copies of gossip messages delivered to a peer per second of that time: the mean over all peers.
    pub messages_mean: f64,
    /// IHAVE and IWANT control messages received per peer and second: the mean over all peers.
    pub lazy_mean: f64,
    /// As `messages_mean`, for the peer with the most.
    pub messages_most: f64,
    /// Gossip messages published and copies delivered in the whole simulation: of jobs, of peers, of claims.
    pub traffic: [(u64, u64); 3],
    /// The share of all threads that ran tasks, in each second since the first submission.
    pub busy: Vec<f64>,
    /// Number of requests sent, including those to the sender itself.
    pub requests: u64,
    /// Bytes sent in total.
    pub bytes: u64,
    /// Number of simulated events.
    pub events: u64,
    /// A hash over all that the engines did: equal for equal scenarios.
    pub trace: u64,
    /// Violated guarantees; empty if there are none.
    pub violations: Vec<String>,
    /// The engines' log: virtual time, peer, text.
    pub log: Vec<(Duration, u32, String)>,
}

/// The result of one job.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// How it ended; `None` if it did not.
    pub outcome: Option<Outcome>,
    /// The failure that ended it.
    pub failure: Option<Failure>,
    /// Whether the beginning of its log was damaged while its home was down, so that it could not end otherwise.
    pub log_is_lost: bool,
    /// Time from submission to end.
    pub took: Duration,
    /// Time that it would take if all threads of all peers ran only its map tasks and nothing else took time.
    pub ideal: Duration,
    /// Time from submission to the start of the last map task, and of the last reduce.
    pub last_start: [Duration; 2],
    /// Longest time in which the submitter's user saw no further task done.
    pub standstill: Duration,
    /// What the user was told that the job waits for, each with the time since submission.
    pub waits: Vec<(Duration, String)>,
    /// Tasks of all stages.
    pub tasks: u32,
    /// How often tasks were started.
    pub counts: Counts,
}

impl JobReport {
    /// Whether it ended with its result.
    pub fn is_done(&self) -> bool {
        self.outcome == Some(Outcome::Done)
    }

    /// Share of tasks that were repeated without a fault or a purpose.
    pub fn duplicates(&self) -> f64 {
        self.counts.duplicates as f64 / f64::from(self.tasks)
    }
}

impl Report {
    pub(super) fn new(world: World) -> Self {
        let micros = Duration::from_micros;
        let first = world.oracle.fates.iter().map(|f| f.submitted).min().unwrap_or(0);
        let last = world.oracle.fates.iter().map(|f| f.ended.as_ref().map_or(world.now, |e| e.0)).max().unwrap_or(0);
        let time = micros(last.saturating_sub(first));
        let before = world.delivered_before.iter().copied().chain(std::iter::repeat(0));
        let per_second = |delivered: u64| delivered as f64 / time.as_secs_f64().max(0.001);
        let at_end = world.peers.iter().map(|p| p.delivered_at_end.unwrap_or(p.router.delivered));
        let rates: Vec<f64> = at_end.zip(before).map(|(now, then)| per_second(now.saturating_sub(then))).collect();
        let threads = f64::from(world.scenario.peers * u32::from(world.scenario.threads));
        let jobs = world.oracle.fates.iter().map(|fate| {
            let time_of = |task| fate.plan.time_of(world.scenario.seed, StageId(0), task);
            let work: Duration = TaskId::below(fate.plan.tasks).map(time_of).sum();
            let speed: f64 = (0..world.scenario.peers)
                .map(|p| f64::from(world.scenario.threads) / world.scenario.slowness(world.scenario.submitters + p))
                .sum();
            JobReport {
                outcome: fate.ended.as_ref().map(|e| e.1.clone()),
                failure: fate.failure.clone(),
                log_is_lost: fate.log_is_lost,
                took: micros(fate.ended.as_ref().map_or(world.now, |e| e.0).saturating_sub(fate.submitted)),
                ideal: work.div_f64(speed),
                last_start: fate.last_start.map(|at| micros(at.saturating_sub(fate.submitted))),
                standstill: micros(fate.standstill),
                waits: fate
                    .waits
                    .iter()
                    .map(|(at, why)| (micros(at.saturating_sub(fate.submitted)), why.clone()))
                    .collect(),
                tasks: fate.tasks(),
                counts: fate.counts,
            }
        });
        Self {
            seed: world.scenario.seed,
            jobs: jobs.collect(),
            time,
            lazy_mean: world.peers.iter().map(|p| p.router.lazy as f64).sum::<f64>()
                / (Duration::from_micros(world.now).as_secs_f64().max(0.001) * world.peers.len().max(1) as f64),
            messages_mean: rates.iter().sum::<f64>() / rates.len().max(1) as f64,
            messages_most: rates.iter().copied().fold(0.0, f64::max),
            traffic: world.traffic,
            busy: world.busy.iter().skip((first / 1_000_000) as usize).map(|t| t.as_secs_f64() / threads).collect(),
            requests: world.requests,
            bytes: world.bytes,
            events: world.events,
            trace: world.trace,
            violations: world.oracle.violations.clone(),
            log: world.log.iter().map(|(at, peer, text)| (micros(*at), *peer, text.clone())).collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, trace {:016x}, {} events", self.seed, self.trace, self.events)?;
        for (i, job) in self.jobs.iter().enumerate() {
            let outcome = job.outcome.as_ref().map_or("not over".to_owned(), |o| format!("{o:?}"));
            let (took, ideal) = (job.took.as_secs_f64(), job.ideal.as_secs_f64());
            writeln!(f, "job {i}: {outcome} after {took:.2} s (its map tasks alone: {ideal:.2} s)")?;
            let [map, reduce] = job.last_start.map(|d| d.as_secs_f64());
            let standstill = job.standstill.as_secs_f64();
            writeln!(
                f,
                "  last map task began at {map:.2} s, last reduce at {reduce:.2} s, longest standstill {standstill:.2} s"
            )?;
            let Counts { starts, duplicates, map_duplicates, speculative, after_faults } = job.counts;
            writeln!(
                f,
                "  {} tasks begun {starts} times; twice without a fault {duplicates} ({:.3} %, {map_duplicates} of them maps), speculative {speculative}, after a fault {after_faults}",
                job.tasks,
                100.0 * job.duplicates(),
            )?;
        }
        writeln!(
            f,
            "gossip copies per peer and second: {:.1} on average, {:.1} at most; beside them {:.1} IHAVE and IWANT",
            self.messages_mean, self.messages_most, self.lazy_mean
        )?;
        let [jobs, peers, claims] = self.traffic;
        writeln!(f, "  published and delivered: jobs {jobs:?}, peers {peers:?}, claims {claims:?}")?;
        let busy: Vec<String> = self.busy.iter().map(|share| format!("{:.0}", share * 100.0)).collect();
        writeln!(f, "threads busy in each second, %: {}", busy.join(" "))?;
        writeln!(f, "{} requests, {:.1} MB in all", self.requests, self.bytes as f64 / 1e6)?;
        for violation in &self.violations {
            writeln!(f, "BROKEN: {violation}")?;
        }
        Ok(())
    }
}
