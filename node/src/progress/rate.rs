//! A pace that is smoothed, and silent until it is worth something.

use std::time::Duration;

use crate::platform::Instant;

/// The pace of the last so many seconds counts most.
const MEMORY: Duration = Duration::from_secs(5);
/// Nothing is said of the time left before a stage has run for so long,
const PATIENCE: Duration = Duration::from_secs(2);
/// and so many of its tasks are done,
const FEW_TASKS: u32 = 8;
/// and this part of them.
const FEW: f64 = 0.02;
/// A stage that has not gone on for this long, and for this many times as long as one task took so far on the average,
/// stalls: its pace says nothing of when it will end.
const STALLED: Duration = Duration::from_secs(5);
const STALLED_TASKS: u32 = 4;
/// Beyond this a guess is worth nothing.
const FAR: Duration = Duration::from_secs(100 * 3600);

/// The pace of one stage: an exponential moving average, corrected for its short beginning, as the tasks that
/// were done before the first observation are not.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When the stage was first seen at work, and when it was last looked at, with what was done then.
    first: Option<Instant>,
    last: Option<(Instant, u32)>,
    /// When a task was last done, and how many were done since the stage was first seen at work.
    went_on: Option<Instant>,
    since_first: u32,
    /// Average of tasks a second, and the weight that it rests on, which goes to 1.
    average: f64,
    weight: f64,
    over: bool,
}

impl Rate {
    /// Takes note that `done` of `tasks` are done. A stage that does not go on becomes slower by it.
    pub(super) fn update(&mut self, now: Instant, done: u32, tasks: u32) {
        self.over = done >= tasks;
        let Some((before, known)) = self.last else {
            self.last = Some((now, done));
            self.first = (done > 0).then_some(now);
            return;
        };
        if self.first.is_none() {
            if done == known {
                // It has not begun: the wait for an earlier stage is no pace.
                self.last = Some((now, done));
                return;
            }
            self.first = Some(before);
        }
        let seconds = (now - before).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let keep = (-seconds / MEMORY.as_secs_f64()).exp();
        if done > known {
            self.went_on = Some(now);
            self.since_first = self.since_first.saturating_add(done - known);
        }
        // Done may shrink: what was held by a peer that is gone is done again.
        let pace = f64::from(done.saturating_sub(known)) / seconds;
        self.average = self.average * keep + pace * (1.0 - keep);
        self.weight = self.weight * keep + (1.0 - keep);
        self.last = Some((now, done));
    }

    /// Tasks a second, while the stage runs.
    pub(super) fn per_second(&self) -> Option<f64> {
        (self.weight > 0.0 && !self.over).then(|| self.average / self.weight)
    }

    fn stalls(&self) -> bool {
        let (Some((now, _)), Some(first), Some(went_on)) = (self.last, self.first, self.went_on) else { return false };
        let usual = (went_on - first) / self.since_first.max(1);
        now - went_on > STALLED.max(usual * STALLED_TASKS)
    }

    /// How long the stage will take at its pace, if that can be known.
    pub(super) fn left(&self, done: u32, tasks: u32) -> Option<Duration> {
        let ran = self.last?.0 - self.first?;
        let enough = f64::from(done) >= (f64::from(tasks) * FEW).max(f64::from(FEW_TASKS));
        if ran < PATIENCE || !enough || self.stalls() {
            return None;
        }
        let seconds = f64::from(tasks.saturating_sub(done)) / self.per_second()?;
        Duration::try_from_secs_f64(seconds).ok().filter(|left| *left < FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Updates ten times a second with `pace` tasks a second, from `from` on.
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
    fn a_steady_stage_is_known_after_two_seconds_and_not_before() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.update(start, 0, 1000);
        let (now, done) = run(&mut rate, start, 1, 0, 50, 1000);
        assert_eq!(rate.left(done, 1000), None);
        let (_, done) = run(&mut rate, now, 2, done, 50, 1000);
        let left = rate.left(done, 1000).unwrap().as_secs_f64();
        assert!((left - 17.0).abs() < 1.0, "{left} s");
    }

    #[test]
    fn few_tasks_say_nothing() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.update(start, 0, 1000);
        let (_, done) = run(&mut rate, start, 5, 0, 1, 1000);
        assert_eq!(rate.left(done, 1000), None);
    }

    #[test]
    fn a_stage_that_waits_for_another_has_no_pace_and_starts_fresh() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let (now, _) = run(&mut rate, start, 60, 0, 0, 256);
        assert_eq!((rate.per_second(), rate.left(0, 256)), (None, None));
        let (_, done) = run(&mut rate, now, 3, 0, 20, 256);
        let left = rate.left(done, 256).unwrap().as_secs_f64();
        assert!((left - 9.8).abs() < 1.0, "{left} s");
    }

    #[test]
    fn a_stage_that_stalls_promises_less_and_then_nothing() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.update(start, 0, 1000);
        let (now, done) = run(&mut rate, start, 5, 0, 100, 1000);
        let before = rate.left(done, 1000).unwrap();
        let (now, _) = run(&mut rate, now, 4, done, 0, 1000);
        assert!(rate.left(done, 1000).unwrap() > before);
        // The last task fails again and again: its end is not some hours away, but unknown.
        let (now, _) = run(&mut rate, now, 10, done, 0, 1000);
        assert_eq!(rate.left(done, 1000), None);
        run(&mut rate, now, 3, done, 100, 1000);
        assert!(rate.left(done + 300, 1000).is_some(), "it goes on");
    }

    #[test]
    fn a_stage_of_long_tasks_does_not_stall_between_two_of_them() {
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
    fn work_that_is_undone_is_no_negative_pace() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.update(start, 0, 100);
        let (now, _) = run(&mut rate, start, 3, 0, 10, 100);
        rate.update(now + Duration::from_secs(1), 5, 100);
        assert!(rate.per_second().unwrap() >= 0.0);
    }
}
