//! Random numbers from one seed: splitmix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators",
//! 2014). Small, fast, and the same on every platform, which is all that a simulation needs.

use std::time::Duration;

/// The step of the Weyl sequence beneath splitmix64: 2⁶⁴ divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        finish(self.0)
    }

    /// A number below `n`, or 0 if there is none.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Whether an event of this probability happens.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && unit(self.next()) < probability
    }

    /// A time from zero up to `most`.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(unit(self.next()))
    }

    /// Takes up to `n` of `items` at random, in random order.
    pub(super) fn sample(&mut self, items: &[u32], n: usize) -> Vec<u32> {
        let mut items = items.to_vec();
        let n = n.min(items.len());
        for i in 0..n {
            let j = i + self.below(items.len() - i);
            items.swap(i, j);
        }
        items.truncate(n);
        items
    }
}

/// A pseudo-random number that depends only on `parts`.
pub(super) fn draw(parts: &[u64]) -> u64 {
    parts.iter().fold(STEP, |hash, &part| finish(hash.rotate_left(23) ^ part.wrapping_mul(STEP)))
}

/// A draw as a number from 0 up to 1.
pub(super) fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

/// The output function of splitmix64: every bit of the input affects every bit of the output.
fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_spread_evenly_and_repeat_from_their_seed() {
        let mut rng = Rng::new(7);
        let mut counts = [0; 10];
        (0..10_000).for_each(|_| counts[rng.below(10)] += 1);
        assert!(counts.iter().all(|&n| (900..1100).contains(&n)), "{counts:?}");
        assert_eq!(Rng::new(3).sample(&[1, 2, 3, 4], 3), Rng::new(3).sample(&[1, 2, 3, 4], 3));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
    }
}
