//! Tasks that hold threads which others wait for.

use super::*;
use crate::io::RunId;

/// A job whose tasks never end, submitted at another peer than [`LONG_JOB`].
const ENDLESS: Plan = Plan { owner: 3, home: 8, nonce: 3, ..LONG_JOB };

impl Bench {
    fn cancelled(&mut self) -> Vec<RunId> {
        std::iter::from_fn(|| {
            self.take(|action| match action {
                Action::Run(RunAction::Cancel { run }) => Some(*run),
                _ => None,
            })
        })
        .collect()
    }

    /// Lets time pass in which no task ends; returns the runs that were cancelled.
    fn pass(&mut self, time: Duration) -> Vec<RunId> {
        let end = self.core.now + time;
        while self.core.now < end {
            self.idle(Duration::from_millis(200));
        }
        self.cancelled()
    }

    /// Removes the cancelled runs from those that a pool would still run.
    fn runs(&mut self) -> Vec<Box<Work>> {
        let runs: Vec<_> = std::iter::from_fn(|| self.run()).collect();
        let cancelled = self.cancelled();
        runs.into_iter().filter(|work| !cancelled.contains(&work.run)).collect()
    }
}

#[test]
fn a_job_gets_a_thread_although_tasks_of_another_never_end() {
    let mut bench = Bench::new();
    let endless = bench.open(&ENDLESS, other());
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.cancelled(), [], "a run was cancelled although nobody waited");
    let mut pool: Vec<Box<Work>> = bench.runs();
    assert!(!pool.is_empty() && pool.iter().all(|work| work.job == endless));
    let job = bench.open(&LONG_JOB, other());
    let (mut ended, begun) = (0, bench.core.now);
    while ended < 20 {
        let cancelled = bench.pass(Duration::from_millis(200));
        pool.extend(std::iter::from_fn(|| bench.run()));
        pool.retain(|work| !cancelled.contains(&work.run));
        // One thread runs the oldest.
        if pool.first().is_some_and(|work| work.job == job) {
            let work = pool.remove(0);
            ended += work.tasks.len;
            bench.results(&work, work.tasks.iter(), true);
            bench.take_outputs();
        }
        let waited = bench.core.now.since(begun);
        assert!(waited < Duration::from_secs(30), "{ended} tasks ended in {waited:?}");
    }
}

#[test]
fn tasks_of_a_long_job_are_preempted_later_each_time() {
    let mut bench = Bench::new();
    bench.open(&ENDLESS, other());
    bench.pass(Duration::from_secs(1));
    let job = bench.open(&LONG_JOB, other());
    let mut times = Vec::new();
    while times.len() < 3 {
        let begun = bench.core.now;
        while bench.pass(Duration::from_millis(200)).is_empty() {
            assert!(bench.core.now.since(begun) < Duration::from_secs(60), "{times:?}");
        }
        times.push(bench.core.now.since(begun));
        // The waiting job has its turn, for as long as the other one had.
        let mut served = Duration::ZERO;
        while served < *times.last().expect("a time") * 2 {
            match bench.run() {
                Some(work) if work.job == job => {
                    served += Duration::from_secs(1);
                    let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: Bytes::from_static(b"x") };
                    let elapsed = Duration::from_secs(1) / work.tasks.len;
                    let result = |task| TaskResult { task, elapsed, outcome: Ok(output.clone()) };
                    let results = work.tasks.iter().map(result).collect();
                    bench.worker.on_results(&mut bench.core, work.run, results, true);
                    bench.drive(Duration::ZERO);
                    bench.take_outputs();
                }
                Some(_) => break,
                None => {
                    bench.pass(Duration::from_millis(200));
                }
            }
        }
    }
    assert!(times[1] >= times[0] * 3 / 2 && times[2] >= times[1] * 3 / 2, "{times:?}");
}

#[test]
fn jobs_of_one_owner_do_not_preempt_each_other() {
    let mut bench = Bench::new();
    bench.open(&LONG_JOB, other());
    bench.pass(Duration::from_secs(1));
    bench.open(&Plan { nonce: 2, ..LONG_JOB }, other());
    assert_eq!(bench.pass(Duration::from_secs(20)), []);
}

#[test]
fn a_preempted_task_is_tried_again_and_its_failure_is_not_reported() {
    let mut bench = Bench::new();
    let endless = bench.open(&Plan { tasks: 1, ..ENDLESS }, other());
    bench.pass(Duration::from_secs(1));
    bench.open(&Plan { tasks: 1, ..LONG_JOB }, other());
    let first = bench.run().expect("a run");
    assert_eq!(bench.pass(Duration::from_secs(3)), [first.run]);
    let other = bench.run().expect("a run of the job that waited");
    bench.results(&other, other.tasks.iter(), true);
    bench.take_outputs();
    bench.pass(Duration::from_secs(3));
    let again = bench.run().expect("the task is tried again");
    assert_eq!((again.job, again.tasks), (endless, first.tasks));
    assert!(bench.failure().is_none());
}
