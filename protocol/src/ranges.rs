//! Sets of tasks or blocks: runs on the wire, bits in memory.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::part::TaskId;

/// A number that runs and sets hold: a task's, or a block's, which is a bare one.
pub trait Number: Copy + Ord {
    /// The number of this value.
    fn of(bare: u32) -> Self;
    /// Its value.
    fn bare(self) -> u32;
}

impl Number for u32 {
    fn of(bare: u32) -> Self {
        bare
    }

    fn bare(self) -> u32 {
        self
    }
}

impl Number for TaskId {
    fn of(bare: u32) -> Self {
        Self(bare)
    }

    fn bare(self) -> u32 {
        self.0
    }
}

/// `len` consecutive numbers from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run<N = u32> {
    /// The first number.
    pub start: N,
    /// The length; never 0 in a value that passed [`check_runs`].
    pub len: u32,
}

impl<N: Number> Run<N> {
    /// The run of `len` numbers from `start`.
    pub fn new(start: N, len: u32) -> Self {
        Self { start, len }
    }

    /// The run from `start` up to and without `end`; empty if `end` comes first.
    pub fn between(start: N, end: N) -> Self {
        Self { start, len: end.bare().saturating_sub(start.bare()) }
    }

    /// Whether it holds no number.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One past the last number. Saturates; [`check_runs`] refuses runs that would not fit.
    pub fn end(&self) -> N {
        N::of(self.start.bare().saturating_add(self.len))
    }

    /// Whether it holds `n`.
    pub fn contains(&self, n: N) -> bool {
        self.place_of(n).is_some()
    }

    /// The last number; `None` of an empty run.
    pub fn last(&self) -> Option<N> {
        self.iter().next_back()
    }

    /// The number at this place, counted from `start`.
    pub fn nth(&self, place: u32) -> N {
        N::of(self.start.bare().saturating_add(place))
    }

    /// The place of a number, counted from `start`; `None` of one that it does not hold.
    pub fn place_of(&self, n: N) -> Option<u32> {
        n.bare().checked_sub(self.start.bare()).filter(|&place| place < self.len)
    }

    /// The numbers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = N> + ExactSizeIterator + Clone + use<N> {
        self.bounds().map(N::of)
    }

    fn bounds(&self) -> Range<u32> {
        self.start.bare()..self.end().bare()
    }
}

/// Refuses runs that are empty, overflow, overlap or are out of order.
pub fn check_runs<N: Number>(runs: &[Run<N>]) -> Result<(), &'static str> {
    let mut from = 0u32;
    for run in runs {
        let start = run.start.bare();
        if run.len == 0 || start < from {
            return Err("runs that are empty, overlap or are out of order");
        }
        from = start.checked_add(run.len).ok_or("a run past the last task number")?;
    }
    Ok(())
}

/// Joins ascending numbers into runs; numbers that repeat count once.
pub fn runs_of<N: Number>(numbers: impl IntoIterator<Item = N>) -> Vec<Run<N>> {
    let mut runs: Vec<Run<N>> = Vec::new();
    for n in numbers {
        match runs.last_mut() {
            Some(last) if n < last.end() => {}
            Some(last) if n == last.end() => last.len += 1,
            _ => runs.push(Run::new(n, 1)),
        }
    }
    runs
}

/// Adds `n` to ascending runs, joining those that it touches.
pub fn insert_into(runs: &mut Vec<Run>, n: u32) {
    let i = runs.partition_point(|r| r.end() < n);
    match runs.get_mut(i) {
        Some(run) if run.start <= n && n < run.end() => {}
        Some(run) if n == run.end() => {
            run.len += 1;
            let end = run.end();
            if let Some(next) = runs.get(i + 1).copied().filter(|next| next.start == end) {
                runs[i].len += next.len;
                runs.remove(i + 1);
            }
        }
        Some(run) if n + 1 == run.start => *run = Run::new(n, run.len + 1),
        _ => runs.insert(i, Run::new(n, 1)),
    }
}

/// Removes `n` from ascending runs, splitting the one that holds it if need be.
pub fn remove_from(runs: &mut Vec<Run>, n: u32) {
    let i = runs.partition_point(|r| r.end() <= n);
    let Some(run) = runs.get(i).copied().filter(|r| r.start <= n) else { return };
    let (before, after) = (n - run.start, run.end() - n - 1);
    match (before, after) {
        (0, 0) => {
            runs.remove(i);
        }
        (0, _) => runs[i] = Run::new(n + 1, after),
        (_, 0) => runs[i].len = before,
        _ => {
            runs[i].len = before;
            runs.insert(i + 1, Run::new(n + 1, after));
        }
    }
}

/// A set of numbers below a fixed size, one bit each, with a counter of those that it holds.
#[derive(Clone)]
pub struct BitSet<N = u32> {
    words: Vec<u64>,
    size: u32,
    count: u32,
    of: PhantomData<N>,
}

impl<N: Number> BitSet<N> {
    /// The empty set of numbers below `size`.
    pub fn new(size: u32) -> Self {
        Self { words: vec![0; size.div_ceil(64) as usize], size, count: 0, of: PhantomData }
    }

    /// One past the greatest number that it can hold.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// How many numbers it holds.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many numbers of a run it holds.
    pub fn count_in(&self, run: Run<N>) -> u32 {
        let (start, end) = (run.start.bare().min(self.size), run.end().bare().min(self.size));
        if start >= end {
            return 0;
        }
        let (first, last) = (start as usize / 64, (end - 1) as usize / 64);
        let words = self.words[first..=last].iter().enumerate().map(|(i, &word)| {
            let low = if i == 0 { u64::MAX << (start % 64) } else { u64::MAX };
            let high = if first + i == last { u64::MAX >> (63 - (end - 1) % 64) } else { u64::MAX };
            (word & low & high).count_ones()
        });
        words.sum()
    }

    /// Whether it holds every number below its size.
    pub fn is_full(&self) -> bool {
        self.count == self.size
    }

    /// Whether it holds `n`.
    pub fn contains(&self, n: N) -> bool {
        let n = n.bare();
        n < self.size && self.words[n as usize / 64] >> (n % 64) & 1 == 1
    }

    /// Adds `n`; returns whether it was new. Numbers past the size are refused with `false`.
    pub fn insert(&mut self, n: N) -> bool {
        if n.bare() >= self.size || self.contains(n) {
            return false;
        }
        self.words[n.bare() as usize / 64] |= 1 << (n.bare() % 64);
        self.count += 1;
        true
    }

    /// Removes `n`; returns whether it was there.
    pub fn remove(&mut self, n: N) -> bool {
        if !self.contains(n) {
            return false;
        }
        self.words[n.bare() as usize / 64] &= !(1 << (n.bare() % 64));
        self.count -= 1;
        true
    }

    /// The numbers it holds, ascending.
    pub fn iter(&self) -> impl Iterator<Item = N> + '_ {
        let words = self.words.iter().enumerate();
        words.flat_map(|(i, &word)| Ones(word).map(move |bit| i as u32 * 64 + bit)).map(N::of)
    }

    /// The numbers below its size that it does not hold, ascending.
    pub fn iter_missing(&self) -> impl Iterator<Item = N> + '_ {
        let size = self.size;
        let words = self.words.iter().enumerate();
        let bare = words.flat_map(|(i, &word)| Ones(!word).map(move |bit| i as u32 * 64 + bit));
        bare.take_while(move |&n| n < size).map(N::of)
    }

    /// The bits of the numbers in `range` as bytes, eight numbers a byte, lowest first.
    pub fn slice_to_bytes(&self, range: Range<u32>) -> Vec<u8> {
        let mut bytes = vec![0; range.len().div_ceil(8)];
        for (i, n) in range.enumerate() {
            if self.contains(N::of(n)) {
                bytes[i / 8] |= 1 << (i % 8);
            }
        }
        bytes
    }
}

impl<N> PartialEq for BitSet<N> {
    fn eq(&self, other: &Self) -> bool {
        (self.size, &self.words) == (other.size, &other.words)
    }
}

impl<N> Eq for BitSet<N> {}

impl<N: Number + fmt::Debug> fmt::Debug for BitSet<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The numbers that [`BitSet::slice_to_bytes`] put into `bytes` for a range that began at `start`.
pub fn numbers_in_bytes(bytes: &[u8], start: u32) -> impl Iterator<Item = u32> + '_ {
    bytes
        .iter()
        .enumerate()
        .flat_map(move |(i, &byte)| Ones(u64::from(byte)).map(move |bit| start.saturating_add(i as u32 * 8 + bit)))
}

/// The positions of the one bits of a word, lowest first.
struct Ones(u64);

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        (self.0 != 0).then(|| {
            let bit = self.0.trailing_zeros();
            self.0 &= self.0 - 1;
            bit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_and_runs_hold_the_same_numbers(mut numbers in prop::collection::vec(0u32..500, 0..200)) {
            numbers.sort_unstable();
            let mut set = BitSet::<u32>::new(500);
            for &n in &numbers {
                set.insert(n);
            }
            numbers.dedup();
            let runs = runs_of(numbers.iter().copied());
            prop_assert!(check_runs(&runs).is_ok());
            prop_assert_eq!(runs.iter().flat_map(Run::iter).collect::<Vec<_>>(), numbers.clone());
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), numbers.clone());
            prop_assert_eq!(set.iter_missing().count() + numbers.len(), 500);
            for (start, end) in [(0, 500), (0, 64), (63, 65), (100, 300), (128, 128), (490, 700)] {
                let there = numbers.iter().filter(|&&n| (start..end).contains(&n)).count();
                prop_assert_eq!(set.count_in(Run::between(start, end)) as usize, there);
            }
            let bytes = set.slice_to_bytes(100..300);
            let within: Vec<u32> = numbers.into_iter().filter(|n| (100..300).contains(n)).collect();
            prop_assert_eq!(numbers_in_bytes(&bytes, 100).collect::<Vec<_>>(), within);
        }
    }

    proptest! {
        #[test]
        fn runs_gain_and_lose_single_numbers_as_a_set_does(steps in prop::collection::vec((any::<bool>(), 0u32..40), 0..200)) {
            let (mut runs, mut set) = (Vec::new(), std::collections::BTreeSet::new());
            for (add, n) in steps {
                if add {
                    insert_into(&mut runs, n);
                    set.insert(n);
                } else {
                    remove_from(&mut runs, n);
                    set.remove(&n);
                }
                prop_assert_eq!(&runs, &runs_of(set.iter().copied()));
            }
        }
    }

    #[test]
    fn malformed_runs_are_refused() {
        assert!(check_runs(&[Run::new(3u32, 0)]).is_err());
        assert!(check_runs(&[Run::new(3u32, 2), Run::new(4, 1)]).is_err());
        assert!(check_runs(&[Run::new(u32::MAX, 2)]).is_err());
        assert!(check_runs(&[Run::new(3u32, 2), Run::new(5, 1)]).is_ok());
    }
}
