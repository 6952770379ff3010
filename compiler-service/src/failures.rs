//! Remembers failed compiles for a short time, so that repeated requests for a bad source cost one compile.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::cache::Key;
use crate::error::CompileError;

#[derive(Debug)]
pub(crate) struct Failures {
    known: HashMap<Key, CompileError>,
    /// Expiry times, in order.
    ends: VecDeque<(Instant, Key)>,
    lifetime: Duration,
    bound: usize,
}

impl Failures {
    pub(crate) fn new(lifetime: Duration, bound: usize) -> Self {
        Self { known: HashMap::new(), ends: VecDeque::new(), lifetime, bound }
    }

    /// The remembered failure of `key`, if any.
    pub(crate) fn get(&mut self, now: Instant, key: &Key) -> Option<CompileError> {
        self.expire(now);
        self.known.get(key).cloned()
    }

    /// Remembers a failure, unless it is transient and so says nothing about the source.
    pub(crate) fn put(&mut self, now: Instant, key: Key, why: &CompileError) {
        self.expire(now);
        if why.is_transient() || self.known.insert(key, why.clone()).is_some() {
            return;
        }
        self.ends.push_back((now + self.lifetime, key));
        if self.ends.len() > self.bound {
            self.forget_first();
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.ends.pop_front() {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::BusyReason;

    const LIFETIME: Duration = Duration::from_secs(60);
    const SLOW: CompileError = CompileError::TooLong { seconds: 15, place: None };

    fn key(of: u8) -> Key {
        blake3::hash(&[of])
    }

    #[test]
    fn a_failure_is_remembered_until_it_expires() {
        let start = Instant::now();
        let mut failures = Failures::new(LIFETIME, 2);
        failures.put(start, key(1), &SLOW);
        assert_eq!(failures.get(start + LIFETIME / 2, &key(1)), Some(SLOW));
        assert_eq!(failures.get(start + LIFETIME, &key(1)), None);
    }

    #[test]
    fn the_number_of_remembered_failures_is_bounded() {
        let start = Instant::now();
        let mut failures = Failures::new(LIFETIME, 2);
        for at in 1..=3 {
            failures.put(start, key(at), &SLOW);
        }
        assert_eq!([1, 2, 3].map(|at| failures.get(start, &key(at)).is_some()), [false, true, true]);
    }

    #[test]
    fn a_transient_failure_is_not_remembered() {
        let start = Instant::now();
        let mut failures = Failures::new(LIFETIME, 2);
        for why in [CompileError::Busy(BusyReason::Queue(64)), CompileError::Starved { seconds: 150 }] {
            failures.put(start, key(1), &why);
            assert_eq!(failures.get(start, &key(1)), None);
        }
    }
}
