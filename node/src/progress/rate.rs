//! The smoothed speed of a stage, and an estimate of the time left.

use std::time::Duration;

use crate::platform::Instant;

/// Time constant of the moving average.
const TIME_CONSTANT: Duration = Duration::from_secs(5);
/// No estimate before a stage has run for this long.
const MIN_RUN: Duration = Duration::from_secs(2);
/// No estimate before this number of tasks is done.
const MIN_TASKS: u32 = 8;
/// No estimate before this share of the tasks is done.
const MIN_SHARE: f64 = 0.02;
/// A stage is stalled, with no estimate, when no task has ended for this long and for [`STALLED_TASKS`] times the
/// average interval between tasks.
const STALLED: Duration = Duration::from_secs(5);
/// See [`STALLED`].
const STALLED_TASKS: u32 = 4;
/// Longer estimates are not shown.
const MAX_LEFT: Duration = Duration::from_secs(100 * 3600);

/// The speed of one stage: an exponential moving average with bias correction for its start. Tasks done before the
/// first observation do not count.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When the stage's first observed work began; `None` before that.
    first: Option<Instant>,
    /// The last observation: its time, and the number of finished tasks.
    last: Option<(Instant, u32)>,
    /// When a task was last seen to end.
    last_done: Option<Instant>,
    /// Number of tasks that ended since `first`.
    since_first: u32,
    /// Exponential moving average of tasks per second, biased towards 0 at the start.
    average: f64,
    /// The sum of the average's weights, by which its bias is corrected; approaches 1.
    weight: f64,
    over: bool,
}

impl Rate {
    /// Records that `done` of `tasks` tasks are finished. Without new ones, the speed decreases.
    pub(super) fn update(&mut self, now: Instant, done: u32, tasks: u32) {
        self.over = done >= tasks;
        let Some((before, known)) = self.last else {
            self.last = Some((now, done));
            self.first = (done > 0).then_some(now);
            return;
        };
        if self.first.is_none() {
            if done == known {
                // Not started: waiting for an earlier stage does not count.
                self.last = Some((now, done));
                return;
            }
            self.first = Some(before);
        }
        let seconds = (now - before).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let keep = (-seconds / TIME_CONSTANT.as_secs_f64()).exp();
        if done > known {
            self.last_done = Some(now);
            self.since_first = self.since_first.saturating_add(done - known);
        }
        // `done` may decrease: results held by a lost peer are computed again.
        let pace = f64::from(done.saturating_sub(known)) / seconds;
        self.average = self.average * keep + pace * (1.0 - keep);
        self.weight = self.weight * keep + (1.0 - keep);
        self.last = Some((now, done));
    }

    /// Tasks per second; `None` before the stage starts and after it is done.
    pub(super) fn per_second(&self) -> Option<f64> {
        (self.weight > 0.0 && !self.over).then(|| self.average / self.weight)
    }

    fn stalls(&self) -> bool {
        let (Some((now, _)), Some(first), Some(done)) = (self.last, self.first, self.last_done) else { return false };
        let usual = (done - first) / self.since_first.max(1);
        now - done > STALLED.max(usual * STALLED_TASKS)
    }

    /// The estimated time until the stage is done; `None` if there is no reliable estimate.
    pub(super) fn left(&self, done: u32, tasks: u32) -> Option<Duration> {
        let ran = self.last?.0 - self.first?;
        let enough = f64::from(done) >= (f64::from(tasks) * MIN_SHARE).max(f64::from(MIN_TASKS));
        if ran < MIN_RUN || !enough || self.stalls() {
            return None;
        }
        let seconds = f64::from(tasks.saturating_sub(done)) / self.per_second()?;
        Duration::try_from_secs_f64(seconds).ok().filter(|left| *left < MAX_LEFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Updates ten times a second, at `pace` tasks per second, starting with `from` finished tasks.
    fn run(rate: &mut Rate, start: Instant, seconds: u64, from: u32, pace: u32, tasks: u32) -> (Instant, u32) {
        let mut now = start;
        let mut done = from;
        for tenth in 1..=seconds * 10 {
            now = start + Duration::from_millis(tenth * 100);
            done = from + (u64::from(pace) * tenth / 10) as u32;
            rate.update(now, done, tasks);
        }
        (now, done)
    }

    #[test]
    fn a_steady_stage_has_an_estimate_after_two_seconds_and_not_before() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.update(start, 0, 1000);
        let (now, done) = run(&mut rate, start, 1, 0, 50, 1000);
        assert_eq!(rate.left(done, 1000), None);
        let (_, done) = run(&mut rate, now, 2, done, 50, 1000);
        let left = rate.left(done, 1000).unwrap().as_secs_f64();
        assert!((left - 17.0).abs() < 1.0, "{left} s");
    }

    #[test]
    fn few_finished_tasks_give_no_estimate() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.update(start, 0, 1000);
        let (_, done) = run(&mut rate, start, 5, 0, 1, 1000);
        assert_eq!(rate.left(done, 1000), None);
    }

    #[test]
    fn the_wait_for_an_earlier_stage_does_not_count_towards_the_speed() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let (now, _) = run(&mut rate, start, 60, 0, 0, 256);
        assert_eq!((rate.per_second(), rate.left(0, 256)), (None, None));
        let (_, done) = run(&mut rate, now, 3, 0, 20, 256);
        let left = rate.left(done, 256).unwrap().as_secs_f64();
        assert!((left - 9.8).abs() < 1.0, "{left} s");
    }

    #[test]
    fn the_estimate_of_a_stalled_stage_grows_and_then_disappears() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.update(start, 0, 1000);
        let (now, done) = run(&mut rate, start, 5, 0, 100, 1000);
        let before = rate.left(done, 1000).unwrap();
        let (now, _) = run(&mut rate, now, 4, done, 0, 1000);
        assert!(rate.left(done, 1000).unwrap() > before);
        // A stage whose last task keeps failing has no estimate, rather than one of some hours.
        let (now, _) = run(&mut rate, now, 10, done, 0, 1000);
        assert_eq!(rate.left(done, 1000), None);
        run(&mut rate, now, 3, done, 100, 1000);
        assert!(rate.left(done + 300, 1000).is_some(), "the stage makes progress again");
    }

    #[test]
    fn a_stage_of_long_tasks_is_not_stalled_between_two_of_them() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        // One task in eight seconds.
        for tenth in 0..=1200 {
            rate.update(start + Duration::from_millis(tenth * 100), tenth as u32 / 80, 20);
        }
        assert!(rate.left(15, 20).is_some());
        for tenth in 1200..=1270 {
            rate.update(start + Duration::from_millis(tenth * 100), 15, 20);
        }
        assert!(rate.left(15, 20).is_some());
    }

    #[test]
    fn revoked_results_give_no_negative_speed() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.update(start, 0, 100);
        let (now, _) = run(&mut rate, start, 3, 0, 10, 100);
        rate.update(now + Duration::from_secs(1), 5, 100);
        assert!(rate.per_second().unwrap() >= 0.0);
    }
}
