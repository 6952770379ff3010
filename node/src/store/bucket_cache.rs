//! One partition's records, sorted by the reduce task that reads them.
//!
//! Segments arrive task by task; a reduce task reads a run of neighbouring buckets of all of them. Scanning all
//! segments for each run would read a spilled partition once for each run, so one scan sorts as many runs as fit in
//! memory.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use webmesh_protocol::limits;
use webmesh_protocol::segment::take_varint;

use super::log::Log;
use crate::platform::Spill;

/// Bytes of the length before each task's records.
const FRAME_BYTES: usize = 4;

/// One run of buckets: each task's records after a little-endian `u32` length, in ascending order of task.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) framed: Bytes,
    /// Number of tasks with records in it.
    pub(super) tasks: u32,
}

impl Run {
    /// The records of each task, sharing one buffer.
    pub(super) fn records(&self) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(self.tasks as usize);
        let mut at = 0;
        while let Some((frame, _)) = self.framed[at..].split_first_chunk::<FRAME_BYTES>() {
            let start = at + FRAME_BYTES;
            at = start + u32::from_le_bytes(*frame) as usize;
            out.push(self.framed.slice(start..at));
        }
        out
    }
}

/// The cached runs of one partition: consecutive ones, of which some may be evicted.
#[derive(Debug, Default)]
pub(super) struct BucketCache {
    /// Number of buckets in each run.
    pub(super) width: u32,
    /// Number of the first run.
    first: u32,
    /// The runs, each with whether it was taken before; `None` for an evicted one.
    runs: Vec<Option<(Run, bool)>>,
    /// Runs from this number on are empty.
    end: u32,
    /// Bytes held.
    pub(super) bytes: usize,
    /// When it was last read, by the store's counter.
    pub(super) used: u64,
}

/// Why the records cannot be sorted.
#[derive(Debug, thiserror::Error)]
pub(super) enum SortError {
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The segment at this index of the log is invalid.
    #[error("{why}")]
    Malformed { place: usize, why: String },
    /// The first run has this many bytes, more than its limit.
    #[error("{0} bytes")]
    TooLarge(u64),
}

/// The records of one segment for one run: first the rank of its task and the length, later their offset in the run's
/// buffer.
#[derive(Clone, Copy)]
struct Piece {
    rank: u32,
    len: u32,
}

impl BucketCache {
    /// Sorts the records of `log` into runs of `width` buckets, starting at run `first`, as many as fit in `room`
    /// bytes, at least one, which must have at most `most` bytes. `ranks` holds for each entry of the log the rank of
    /// its task, or `None` if the entry does not count.
    pub(super) fn fill(
        log: &Log,
        ranks: &[Option<u32>],
        file: Option<&Spill>,
        (first, width): (u32, u32),
        (room, most): (usize, u64),
    ) -> Result<Self, SortError> {
        let mut pieces: Vec<Vec<Piece>> = Vec::new();
        let mut parts = Vec::new();
        log.for_each(file, |place, segment| -> Result<(), SortError> {
            let Some(rank) = ranks[place] else { return Ok(()) };
            directory(segment, width, &mut parts).map_err(|why| SortError::Malformed { place, why })?;
            for &(run, len) in &parts {
                let run = run as usize;
                if pieces.len() <= run {
                    pieces.resize_with(run + 1, Vec::new);
                }
                pieces[run].push(Piece { rank, len });
            }
            Ok(())
        })?;
        let end = pieces.len() as u32;
        let held = choose(&pieces, first, room, most)?;
        let mut buffers: Vec<Vec<u8>> = pieces[held.clone()].iter_mut().map(|pieces| lay_out(pieces)).collect();
        let mut next = vec![0usize; buffers.len()];
        log.for_each(file, |place, segment| -> Result<(), SortError> {
            if ranks[place].is_none() {
                return Ok(());
            }
            let mut rest = directory(segment, width, &mut parts).map_err(|why| SortError::Malformed { place, why })?;
            for &(run, len) in &parts {
                let (records, after) = rest.split_at(len as usize);
                rest = after;
                let run = run as usize;
                if held.contains(&run) {
                    let i = run - held.start;
                    let at = pieces[run][next[i]].rank as usize;
                    buffers[i][at..at + records.len()].copy_from_slice(records);
                    next[i] += 1;
                }
            }
            Ok(())
        })?;
        let bytes = buffers.iter().map(Vec::len).sum();
        let counts = pieces[held].iter().map(|pieces| pieces.len() as u32);
        let runs = buffers
            .into_iter()
            .zip(counts)
            .map(|(buffer, tasks)| Some((Run { framed: buffer.into(), tasks }, false)))
            .collect();
        Ok(Self { width, first, runs, end, bytes, used: 0 })
    }

    /// A run, if it is here, or known to be empty; `done` says that it is not needed again.
    pub(super) fn take(&mut self, run: u32, done: bool) -> Option<Run> {
        if run >= self.end {
            return Some(Run::default());
        }
        let i = run.checked_sub(self.first)? as usize;
        let (run, taken) = self.runs.get_mut(i)?.as_mut()?;
        *taken |= done;
        Some(run.clone())
    }

    /// Evicts runs that were taken before: a run is seldom needed twice.
    pub(super) fn evict_taken(&mut self) {
        for slot in &mut self.runs {
            if let Some((run, true)) = slot {
                self.bytes -= run.framed.len();
                *slot = None;
            }
        }
    }
}

/// The runs from `first` on that fit together.
fn choose(pieces: &[Vec<Piece>], first: u32, room: usize, most: u64) -> Result<Range<usize>, SortError> {
    let first = (first as usize).min(pieces.len());
    let mut sum = 0u64;
    for (run, pieces) in pieces.iter().enumerate().skip(first) {
        let bytes: u64 = pieces.iter().map(|p| u64::from(p.len) + FRAME_BYTES as u64).sum();
        sum += bytes;
        // Offsets within a run have 32 bits, and no guest could address more either.
        let too_large = bytes > most.min(u64::from(u32::MAX));
        if run > first && (too_large || sum > room as u64) {
            return Ok(first..run);
        }
        if too_large {
            return Err(SortError::TooLarge(bytes));
        }
    }
    Ok(first..pieces.len())
}

/// Gives each piece, in order of arrival, its offset in the run's buffer, which is in order of rank. Returns the buffer
/// with the lengths written.
fn lay_out(pieces: &mut [Piece]) -> Vec<u8> {
    let total = pieces.iter().map(|p| p.len as usize + FRAME_BYTES).sum();
    let mut buffer = vec![0; total];
    let mut at = 0;
    let mut put = |piece: &mut Piece| {
        buffer[at..at + FRAME_BYTES].copy_from_slice(&piece.len.to_le_bytes());
        let len = piece.len;
        piece.rank = (at + FRAME_BYTES) as u32;
        at += FRAME_BYTES + len as usize;
    };
    if pieces.is_sorted_by_key(|p| p.rank) {
        pieces.iter_mut().for_each(put);
    } else {
        let mut order: Vec<(u32, u32)> = (0..).zip(&*pieces).map(|(i, p)| (p.rank, i)).collect();
        // Stable, because arrival order consists of a few ascending runs, which this sort detects.
        order.sort_by_key(|&(rank, _)| rank);
        for (_, i) in order {
            put(&mut pieces[i as usize]);
        }
    }
    buffer
}

/// Reads the directory of a segment, its runs of `width` buckets with their lengths, into `out`, and returns the bytes
/// after it, which those lengths divide into records.
fn directory<'a>(segment: &'a [u8], width: u32, out: &mut Vec<(u32, u32)>) -> Result<&'a [u8], String> {
    out.clear();
    let mut rest = segment;
    let n = varint(&mut rest)?;
    let (mut sum, mut next) = (0u64, 0);
    for _ in 0..n {
        let bucket = varint(&mut rest)?;
        let len = varint(&mut rest)?;
        if bucket < next || bucket >= u64::from(limits::BUCKETS) {
            return Err("its buckets are not in ascending order, or invalid".to_owned());
        }
        next = bucket + 1;
        // A length that saturates exceeds that of any segment, and makes the sum wrong.
        sum = sum.saturating_add(len);
        let (run, len) = (bucket as u32 / width, len as u32);
        match out.last_mut() {
            Some((last, total)) if *last == run => *total = total.saturating_add(len),
            _ => out.push((run, len)),
        }
    }
    if sum != rest.len() as u64 {
        return Err("its directory does not match its length".to_owned());
    }
    Ok(rest)
}

/// [`take_varint`], with a fast path for one-byte numbers, which nearly all are.
fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    match bytes.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *bytes = rest;
            Ok(u64::from(byte))
        }
        _ => take_varint(bytes).map_err(|e| e.to_string()),
    }
}
