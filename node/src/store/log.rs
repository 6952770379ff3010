//! One partition's segments in order of arrival: in memory, and on disk if memory is short.
//!
//! Once written, a segment is never moved, except from memory to disk with its whole chunk. The metadata of a segment
//! takes twelve bytes, so hundreds of thousands of tiny ones are cheap.

use std::collections::HashMap;
use std::io;

use webmesh_protocol::message::AttemptId;
use webmesh_protocol::{Hash, TaskId};

use crate::platform::Spill;

/// Size of a full chunk: one write when it is spilled and one read when it is needed again; long enough to limit seeks,
/// short enough to stay in the processor's cache while it is read.
const CHUNK_BYTES: usize = 256 * 1024;
/// Size of a partition's first chunk; each further one is twice as long, so that small jobs take little memory.
const FIRST_CHUNK_BYTES: usize = 4 * 1024;
/// A chunk that cannot be filled is shrunk if at least one part in this many of it would be unused.
const SPARE_PART: usize = 8;

/// One segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The index of its attempt in the stage's list.
    pub(super) attempt: u32,
    /// Its offset in its chunk.
    pub(super) start: u32,
    /// Its length in bytes.
    pub(super) len: u32,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    Disk { offset: u64, len: usize },
}

#[derive(Debug)]
struct Chunk {
    /// Index of its first entry; it holds all up to the next chunk's first.
    first: usize,
    place: Place,
}

/// The segments of one partition.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<Entry>,
    chunks: Vec<Chunk>,
    /// Bytes of memory in chunks.
    memory: usize,
    /// Dropped attempts, by task and digest: their entries before the given index do not count any more.
    dropped: HashMap<TaskId, Vec<(Hash, usize)>>,
}

/// Two attempts of one task are in a partition that is about to be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TwoAttempts {
    pub(super) task: TaskId,
}

impl Log {
    /// Bytes of memory that its segments take.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Appends a segment.
    pub(super) fn append(&mut self, attempt: u32, segment: &[u8]) {
        let room = match self.chunks.last() {
            Some(Chunk { place: Place::Memory(bytes), .. }) => bytes.capacity() - bytes.len(),
            _ => 0,
        };
        if room < segment.len() || self.chunks.is_empty() {
            self.open_chunk(segment.len());
        }
        let Some(Chunk { place: Place::Memory(bytes), .. }) = self.chunks.last_mut() else {
            unreachable!("a chunk in memory was just found or opened");
        };
        let entry = Entry { attempt, start: bytes.len() as u32, len: segment.len() as u32 };
        bytes.extend_from_slice(segment);
        self.entries.push(entry);
    }

    fn open_chunk(&mut self, at_least: usize) {
        let mut usual = FIRST_CHUNK_BYTES;
        match self.chunks.last_mut().map(|chunk| &mut chunk.place) {
            Some(Place::Memory(bytes)) => {
                usual = (bytes.capacity() * 2).clamp(FIRST_CHUNK_BYTES, CHUNK_BYTES);
                if bytes.capacity() - bytes.len() >= bytes.capacity() / SPARE_PART {
                    self.memory -= bytes.capacity();
                    bytes.shrink_to_fit();
                    self.memory += bytes.capacity();
                }
            }
            Some(Place::Disk { len, .. }) => usual = (*len * 2).clamp(FIRST_CHUNK_BYTES, CHUNK_BYTES),
            None => {}
        }
        let bytes = Vec::with_capacity(usual.max(at_least));
        self.memory += bytes.capacity();
        self.chunks.push(Chunk { first: self.entries.len(), place: Place::Memory(bytes) });
    }

    /// Moves all chunks in memory to `file`, from `end` on, which is moved past them.
    ///
    /// After an error, chunks that were not written stay in memory.
    pub(super) fn spill(&mut self, file: &Spill, end: &mut u64) -> io::Result<()> {
        // Every spill takes all chunks, so those on disk come first.
        let first = self.chunks.partition_point(|chunk| matches!(chunk.place, Place::Disk { .. }));
        for chunk in &mut self.chunks[first..] {
            if let Place::Memory(bytes) = &mut chunk.place {
                file.write_all_at(bytes, *end)?;
                self.memory -= bytes.capacity();
                let len = bytes.len();
                chunk.place = Place::Disk { offset: *end, len };
                *end += len as u64;
            }
        }
        Ok(())
    }

    /// Drops the segments of an attempt appended so far.
    pub(super) fn drop_attempt(&mut self, AttemptId { task, digest }: AttemptId) {
        let marks = self.dropped.entry(task).or_default();
        marks.retain(|(known, _)| *known != digest);
        marks.push((digest, self.entries.len()));
    }

    fn is_dropped(&self, place: usize, staged: &AttemptId) -> bool {
        // Nearly always empty, which costs no look-up.
        !self.dropped.is_empty()
            && self
                .dropped
                .get(&staged.task)
                .is_some_and(|marks| marks.iter().any(|(digest, before)| *digest == staged.digest && place < *before))
    }

    /// The entries of tasks from `from` on that were not dropped, each attempt once, by task and then by arrival, as
    /// pairs of task and index in the log.
    pub(super) fn by_task(&self, attempts: &[AttemptId], from: TaskId) -> Vec<(TaskId, u32)> {
        let mut live: Vec<(TaskId, u32)> = Vec::with_capacity(self.entries.len());
        for (place, entry) in self.entries.iter().enumerate() {
            let staged = &attempts[entry.attempt as usize];
            if staged.task >= from && !self.is_dropped(place, staged) {
                live.push((staged.task, place as u32));
            }
        }
        // Stable, because arrival order consists of a few ascending runs, which this sort detects.
        live.sort_by_key(|&(task, _)| task);
        if live.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            self.keep_each_attempt_once(attempts, &mut live);
        }
        live
    }

    /// A push that was sent twice may have been staged twice.
    fn keep_each_attempt_once(&self, attempts: &[AttemptId], live: &mut Vec<(TaskId, u32)>) {
        let digest = |place: u32| attempts[self.entries[place as usize].attempt as usize].digest;
        let mut seen: (TaskId, Vec<Hash>) = (TaskId(0), Vec::new());
        live.retain(|&(task, place)| {
            if seen.0 != task {
                seen = (task, Vec::new());
            }
            let known = seen.1.contains(&digest(place));
            if !known {
                seen.1.push(digest(place));
            }
            !known
        });
    }

    /// For each entry the rank of its task in ascending order; `None` if it does not count.
    pub(super) fn ranks(&self, attempts: &[AttemptId]) -> Result<Vec<Option<u32>>, TwoAttempts> {
        let live = self.by_task(attempts, TaskId(0));
        if let Some(pair) = live.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(TwoAttempts { task: pair[0].0 });
        }
        let mut ranks = vec![None; self.entries.len()];
        for (rank, &(_, place)) in live.iter().enumerate() {
            ranks[place as usize] = Some(rank as u32);
        }
        Ok(ranks)
    }

    /// The entry at index `place`.
    pub(super) fn entry(&self, place: u32) -> Entry {
        self.entries[place as usize]
    }

    /// Appends the bytes of the entry at index `place` to `out`.
    pub(super) fn read(&self, place: u32, file: Option<&Spill>, out: &mut Vec<u8>) -> io::Result<()> {
        let entry = self.entry(place);
        let (start, len) = (entry.start as usize, entry.len as usize);
        let chunk = self.chunks.partition_point(|chunk| chunk.first <= place as usize) - 1;
        match (&self.chunks[chunk].place, file) {
            (Place::Memory(bytes), _) => out.extend_from_slice(&bytes[start..start + len]),
            (Place::Disk { offset, .. }, Some(file)) => {
                let at = out.len();
                out.resize(at + len, 0);
                file.read_exact_at(&mut out[at..], offset + start as u64)?;
            }
            (Place::Disk { .. }, None) => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    /// Calls a function with every segment, including dropped ones, in order of arrival. Chunks on disk are read one at
    /// a time.
    pub(super) fn for_each<E: From<io::Error>>(
        &self,
        file: Option<&Spill>,
        mut show: impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut scratch = Vec::new();
        for (i, chunk) in self.chunks.iter().enumerate() {
            let bytes = match (&chunk.place, file) {
                (Place::Memory(bytes), _) => bytes.as_slice(),
                (Place::Disk { offset, len }, Some(file)) => {
                    scratch.resize(*len, 0);
                    file.read_exact_at(&mut scratch, *offset)?;
                    &scratch
                }
                (Place::Disk { .. }, None) => return Err(io::Error::from(io::ErrorKind::NotFound).into()),
            };
            let next = self.chunks.get(i + 1).map_or(self.entries.len(), |next| next.first);
            for (place, entry) in self.entries[chunk.first..next].iter().enumerate() {
                show(chunk.first + place, &bytes[entry.start as usize..][..entry.len as usize])?;
            }
        }
        Ok(())
    }
}
