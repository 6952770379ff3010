//! Merges many sorted runs of records into one sequence of lines.
//!
//! A loser tree (Knuth, The Art of Computer Programming, volume 3, 5.4.1): each record written costs one comparison for
//! each level of the tree. Most comparisons need only the first eight bytes of the keys, which are stored in the tree
//! itself.

use std::cmp::Ordering;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{self, Record};
use crate::platform::Spill;

/// Lines are collected into blocks of this size before they are written.
const BLOCK_BYTES: usize = 256 * 1024;

/// Statistics of the written output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Number of lines.
    pub lines: u64,
    /// Number of distinct keys.
    pub keys: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// Why a merge stopped.
#[derive(Debug)]
pub(super) enum MergeError {
    Read(io::Error),
    Write(io::Error),
}

/// A sorted run, read incrementally. Its records were checked before.
pub(super) struct Run {
    bytes: Bytes,
    /// The current record in `bytes`: its key, its value, and its end.
    key: Range<usize>,
    value: Range<usize>,
    end: usize,
    source: Option<Source>,
}

struct Source {
    file: Arc<Spill>,
    rest: Range<u64>,
    piece: usize,
}

impl Run {
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        Self { bytes, key: 0..0, value: 0..0, end: 0, source: None }
    }

    /// A run in a file, which is read in pieces of about `piece` bytes.
    pub(super) fn of_file(file: Arc<Spill>, rest: Range<u64>, piece: usize) -> Self {
        Self { source: Some(Source { file, rest, piece }), ..Self::of_bytes(Bytes::new()) }
    }

    fn record(&self) -> Record<'_> {
        Record { key: &self.bytes[self.key.clone()], value: &self.bytes[self.value.clone()] }
    }

    /// Advances to the next record; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            let mut rest = &self.bytes[self.end..];
            if let Some(found) = record::take(&mut rest) {
                // The record ends where the rest begins; value and key come before that, with a length between them.
                let end = self.bytes.len() - rest.len();
                let start = |part: &[u8]| part.as_ptr().addr() - self.bytes.as_ptr().addr();
                let (key, value) = (start(found.key), start(found.value));
                (self.key, self.value) = (key..key + found.key.len(), value..end);
                self.end = end;
                return Ok(true);
            }
            if !self.read_on()? {
                let whole = self.end == self.bytes.len();
                return if whole { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads the next piece behind the rest of this one; `false` if there is none.
    fn read_on(&mut self) -> io::Result<bool> {
        let Some(source) = &mut self.source else { return Ok(false) };
        if source.rest.is_empty() {
            return Ok(false);
        }
        let left = &self.bytes[self.end..];
        // For a record longer than a piece, the size of the read doubles until it is complete.
        let len = (source.rest.end - source.rest.start).min(source.piece.max(left.len()) as u64) as usize;
        let mut next = Vec::with_capacity(left.len() + len);
        next.extend_from_slice(left);
        next.resize(left.len() + len, 0);
        source.file.read_exact_at(&mut next[left.len()..], source.rest.start)?;
        source.rest.start += len as u64;
        self.bytes = next.into();
        self.end = 0;
        Ok(true)
    }
}

/// A run in the tree.
#[derive(Clone, Copy)]
struct Player {
    /// The first eight bytes of its current key, as a number with the same order.
    prefix: u64,
    run: u32,
    /// Whether it has a record; a run without one loses against all others.
    live: bool,
}

struct Tournament {
    runs: Vec<Run>,
    /// `losers[1..]` is the tree: the loser of each match. `losers[0]` is the overall winner.
    losers: Vec<Player>,
}

fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            first[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(first)
        }
    }
}

impl Tournament {
    fn new(mut runs: Vec<Run>) -> io::Result<Self> {
        let mut players = Vec::with_capacity(runs.len());
        for (i, run) in (0..).zip(&mut runs) {
            let live = run.advance()?;
            players.push(Player { prefix: prefix(run.record().key), run: i, live });
        }
        let mut this = Self { losers: players.clone(), runs };
        let n = players.len();
        // Leaf i is at n + i of the tree, the match of the nodes 2i and 2i + 1 at i.
        let mut winners = players.clone();
        winners.extend_from_slice(&players);
        for node in (1..n).rev() {
            let (a, b) = (winners[2 * node], winners[2 * node + 1]);
            let (winner, loser) = if this.before(&b, &a) { (b, a) } else { (a, b) };
            winners[node] = winner;
            this.losers[node] = loser;
        }
        if n > 0 {
            this.losers[0] = winners[1];
        }
        Ok(this)
    }

    /// Whether the current record of `a` comes before that of `b`; equal records are in the order of their runs.
    fn before(&self, a: &Player, b: &Player) -> bool {
        if a.prefix != b.prefix || !a.live || !b.live {
            return a.live && (!b.live || a.prefix < b.prefix);
        }
        let (x, y) = (self.runs[a.run as usize].record(), self.runs[b.run as usize].record());
        x.cmp(&y).then(a.run.cmp(&b.run)) == Ordering::Less
    }

    fn winner(&self) -> Option<Record<'_>> {
        let winner = self.losers.first().filter(|winner| winner.live)?;
        Some(self.runs[winner.run as usize].record())
    }

    /// Advances past the winner's record.
    fn advance(&mut self) -> io::Result<()> {
        let mut player = self.losers[0];
        let run = &mut self.runs[player.run as usize];
        player.live = run.advance()?;
        player.prefix = prefix(run.record().key);
        let mut node = (self.runs.len() + player.run as usize) / 2;
        while node > 0 {
            if self.before(&self.losers[node], &player) {
                std::mem::swap(&mut self.losers[node], &mut player);
            }
            node /= 2;
        }
        self.losers[0] = player;
        Ok(())
    }
}

/// Writes the records of all runs in order, as lines.
pub(super) fn merge(runs: Vec<Run>, out: &mut impl Write) -> Result<Stats, MergeError> {
    let mut tournament = Tournament::new(runs).map_err(MergeError::Read)?;
    let mut stats = Stats::default();
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut last_key = Vec::new();
    while let Some(Record { key, value }) = tournament.winner() {
        if stats.lines == 0 || last_key != key {
            stats.keys += 1;
            last_key.clear();
            last_key.extend_from_slice(key);
        }
        stats.lines += 1;
        record::put_key(&mut block, key);
        block.push(b'\t');
        block.extend_from_slice(value);
        block.push(b'\n');
        if block.len() >= BLOCK_BYTES {
            out.write_all(&block).map_err(MergeError::Write)?;
            stats.bytes += block.len() as u64;
            block.clear();
        }
        tournament.advance().map_err(MergeError::Read)?;
    }
    out.write_all(&block).map_err(MergeError::Write)?;
    out.flush().map_err(MergeError::Write)?;
    stats.bytes += block.len() as u64;
    Ok(stats)
}
