//! Generated input: the same on every machine, from a seed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A small generator (SplitMix64, Steele, Lea and Flood 2014): its numbers are the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates the generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(n)) >> 64) as u64
    }

    /// A number from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The word of a rank: pronounceable, with a length that grows slowly with the rank, and nearly unique.
pub fn word(mut rank: u64) -> String {
    const SYLLABLES: [&str; 32] = [
        "a", "be", "ci", "do", "fu", "ga", "he", "ji", "ko", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "wi",
        "xo", "yu", "za", "bre", "chi", "dro", "flu", "gra", "ple", "sti", "tro", "spu", "kra", "sle",
    ];
    let mut word = String::new();
    loop {
        word.push_str(SYLLABLES[(rank % 32) as usize]);
        rank /= 32;
        if rank == 0 {
            return word;
        }
        rank -= 1;
    }
}

/// Draws a rank by Zipf's law with exponent one among `words` words: rank k is drawn 1/k as often as the first.
pub fn rank(random: &mut Random, words: u64) -> u64 {
    // The inverse of the integral of the harmonic sum: exact enough, with one logarithm for each word.
    let top = (words as f64).ln();
    ((random.unit() * top).exp() as u64).min(words) - 1
}

/// Number of authors of the reviews, whose names are words too.
const REVIEWERS: u64 = 50_000;

/// One review-like JSON object on a line.
fn review(random: &mut Random, words: u64, out: &mut Vec<u8>) {
    let (id, stars, length) = (random.below(REVIEWERS), random.below(5) + 1, 20 + random.below(180));
    out.extend_from_slice(format!("{{\"user\":\"{id:08x}\",\"stars\":{stars},\"text\":\"").as_bytes());
    for i in 0..length {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word(rank(random, words)).as_bytes());
    }
    out.extend_from_slice(b"\"}\n");
}

/// Writes `files` files of about `bytes` bytes each into `dir`. Together they have `files * bytes`, except for part of
/// a line, however many they are: a surplus of one file is subtracted from the next.
///
/// # Errors
/// An I/O error.
pub fn reviews(dir: &Path, files: u32, bytes: usize, words: u64, seed: u64) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut ahead = 0;
    for file in 0..files {
        let mut random = Random::new(seed ^ (u64::from(file) << 32));
        let mut out = BufWriter::new(std::fs::File::create(dir.join(format!("reviews-{file:06}.json")))?);
        let (mut line, mut written) = (Vec::new(), 0);
        while ahead + written < bytes {
            line.clear();
            review(&mut random, words, &mut line);
            out.write_all(&line)?;
            written += line.len();
        }
        ahead = (ahead + written).saturating_sub(bytes);
        out.flush()?;
    }
    Ok(())
}

/// `count` lines of ten words each.
pub fn lines(count: u32, seed: u64) -> String {
    const WORDS: u64 = 10_000;
    let mut random = Random::new(seed);
    let mut text = String::new();
    for _ in 0..count {
        for i in 0..10 {
            text.push_str(if i == 0 { "" } else { " " });
            text.push_str(&word(rank(&mut random, WORDS)));
        }
        text.push('\n');
    }
    text
}

/// The words in some bytes as the examples define them: runs of ASCII letters and digits and of bytes over 127.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| !(b.is_ascii_alphanumeric() || *b >= 128)).filter(|word| !word.is_empty())
}

/// An independent word count of all files below some folders, as `word<TAB>count` lines in order of bytes.
///
/// # Errors
/// An I/O error.
pub fn count_words(dirs: &[&Path]) -> io::Result<Vec<u8>> {
    let mut counts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for dir in dirs {
        for entry in std::fs::read_dir(dir)? {
            let bytes = std::fs::read(entry?.path())?;
            words(&bytes).for_each(|word| *counts.entry(word.to_vec()).or_default() += 1);
        }
    }
    let mut out = Vec::new();
    for (word, count) in counts {
        out.extend_from_slice(&word);
        out.extend_from_slice(format!("\t{count}\n").as_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_rarely_share_a_word() {
        let words: std::collections::BTreeSet<String> = (0..200_000).map(word).collect();
        assert!(words.len() > 195_000, "{}", words.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_files() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        reviews(a.path(), 2, 3000, 1000, 7).unwrap();
        reviews(b.path(), 2, 3000, 1000, 7).unwrap();
        assert_eq!(count_words(&[a.path()]).unwrap(), count_words(&[b.path()]).unwrap());
    }
}
