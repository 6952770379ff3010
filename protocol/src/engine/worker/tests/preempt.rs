//! Tasks that hold threads which others wait for.

use super::*;
use crate::io::RunId;

/// A job whose tasks never end, submitted at another peer than [`LONG_JOB`].
const ENDLESS: Plan = Plan { owner: 3, home: 8, nonce: 3, ..LONG_JOB };
/// Interval at which time passes.
const STEP: Duration = Duration::from_millis(200);

/// A worker whose only thread runs the oldest unit that was not cancelled.
struct Pool {
    bench: Bench,
    units: Vec<Work>,
    cancelled: Vec<RunId>,
}

impl Pool {
    fn new() -> Self {
        Self { bench: Bench::new(), units: Vec::new(), cancelled: Vec::new() }
    }

    fn of_threads(threads: u32) -> Self {
        let mut pool = Self::new();
        pool.bench.worker.set_threads(&pool.bench.core, threads);
        pool
    }

    /// Lets a step of time pass; modules are loaded at once.
    fn step(&mut self) {
        self.bench.idle(STEP);
        self.take();
    }

    /// Takes what the worker has started and cancelled.
    fn take(&mut self) {
        while let Some(work) = self.bench.run() {
            self.bench.results_of(&work, [], false, 1);
            self.units.push(*work);
        }
        while let Some(run) = self.bench.take(|action| match action {
            Action::Run(RunAction::Cancel { run }) => Some(*run),
            _ => None,
        }) {
            self.cancelled.push(run);
        }
        self.units.retain(|work| !self.cancelled.contains(&work.run));
    }

    /// The job whose unit runs.
    fn runs(&self) -> Option<JobId> {
        Some(self.units.first()?.job)
    }

    /// The unit that runs ends now, after a second.
    fn end(&mut self) {
        let work = self.units.remove(0);
        self.bench.core.now = self.bench.core.now + Duration::from_secs(1);
        let output = TaskOutput::Collect { digest: Hash::of(b"x"), bytes: Bytes::from_static(b"x") };
        let elapsed = Duration::from_secs(1) / work.tasks.len;
        let results = work.tasks.iter().map(|task| TaskResult { task, elapsed, outcome: Ok(output.clone()) });
        self.bench.worker.on_results(&mut self.bench.core, work.run, results.collect(), true);
        self.bench.drive(Duration::ZERO);
        self.bench.take_outputs();
        self.take();
    }
}

#[test]
fn a_job_gets_a_thread_although_tasks_of_another_never_end() {
    let mut pool = Pool::new();
    let endless = pool.bench.open(&ENDLESS, other());
    (0..50).for_each(|_| pool.step());
    assert_eq!((pool.runs(), pool.cancelled.len()), (Some(endless), 0), "cancelled although nobody waited");
    let job = pool.bench.open(&LONG_JOB, other());
    let (mut ended, begun) = (0, pool.bench.core.now);
    while ended < 20 {
        match pool.runs() {
            Some(running) if running == job => {
                pool.end();
                ended += 1;
            }
            _ => pool.step(),
        }
        let waited = pool.bench.core.now.since(begun);
        assert!(waited < Duration::from_secs(60), "{ended} units ended in {waited:?}");
    }
}

#[test]
fn the_last_task_of_an_origin_runs_twice_as_long_each_time_up_to_a_limit_before_it_is_preempted() {
    let mut pool = Pool::new();
    let endless = pool.bench.open(&Plan { tasks: 1, ..ENDLESS }, other());
    pool.step();
    let job = pool.bench.open(&LONG_JOB, other());
    let mut times: Vec<Duration> = Vec::new();
    let mut began = None;
    while times.len() < 5 {
        match pool.runs() {
            Some(running) if running == job => pool.end(),
            _ => pool.step(),
        }
        let now = pool.bench.core.now;
        match (pool.runs() == Some(endless), began) {
            (true, None) => began = Some(now),
            (false, Some(at)) => {
                times.push(now.since(at));
                began = None;
            }
            _ => {}
        }
        assert!(now < Time(0) + Duration::from_secs(600), "{times:?}");
    }
    assert!(times.windows(2).take(3).all(|pair| pair[1] > pair[0] * 3 / 2), "{times:?}");
    assert!(times[4] < Duration::from_secs(18), "{times:?}");
}

#[test]
fn jobs_of_one_owner_do_not_preempt_each_other() {
    let mut pool = Pool::new();
    pool.bench.open(&LONG_JOB, other());
    pool.step();
    pool.bench.open(&Plan { nonce: 2, ..LONG_JOB }, other());
    (0..100).for_each(|_| pool.step());
    assert_eq!(pool.cancelled, []);
}

#[test]
fn a_preempted_task_is_tried_again_and_is_not_reported_as_failed() {
    let mut pool = Pool::new();
    let endless = pool.bench.open(&Plan { tasks: 1, ..ENDLESS }, other());
    pool.step();
    let job = pool.bench.open(&Plan { tasks: 1, ..LONG_JOB }, other());
    let step_until = |pool: &mut Pool, wanted| {
        let steps = (0..100)
            .take_while(|_| {
                pool.runs() != wanted && {
                    pool.step();
                    true
                }
            })
            .count();
        assert!(steps < 100, "{:?} runs", pool.runs());
    };
    step_until(&mut pool, Some(job));
    assert_eq!(pool.cancelled.len(), 1);
    pool.end();
    step_until(&mut pool, Some(endless));
    assert!(pool.bench.failure().is_none());
}

#[test]
fn an_origin_gives_up_threads_beyond_its_share_soon_however_often_that_happens() {
    let mut pool = Pool::of_threads(4);
    pool.bench.open(&ENDLESS, other());
    (0..100).for_each(|_| pool.step());
    for nonce in 10..20 {
        let job = pool.bench.open(&Plan { nonce, tasks: 1, ..LONG_JOB }, other());
        let begun = pool.bench.core.now;
        while !pool.units.iter().take(4).any(|work| work.job == job) {
            pool.step();
            let waited = pool.bench.core.now.since(begun);
            assert!(waited < Duration::from_secs(2), "job {nonce} has waited for {waited:?}");
        }
        let place = pool.units.iter().position(|work| work.job == job).expect("it runs");
        pool.units.swap(0, place);
        pool.end();
        (0..20).for_each(|_| pool.step());
    }
}
