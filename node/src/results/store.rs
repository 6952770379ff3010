//! Collects the outputs of tasks until all are there.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use webmesh_protocol::TaskId;
use webmesh_protocol::io::NotStored;

use super::header;
use super::merge::{self, Stats};
use super::record::{self, RecordError};
use crate::advice::for_disk;
use crate::platform::{SPILL_ADVICE, Spill};

/// Total size of a merge's read buffers, which limits the size of the pieces in which outputs on disk are read.
const READ_BYTES: usize = 64 << 20;
/// Minimum and maximum size of such a piece.
const PIECE_BYTES: std::ops::RangeInclusive<usize> = 4 * 1024..=256 * 1024;

/// Why results cannot be stored or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// A task's output is malformed. Its worker is to blame; nothing of it was stored.
    #[error("the result of task {task} is malformed: {source}")]
    Malformed {
        /// The task.
        task: TaskId,
        /// What is wrong.
        source: RecordError,
    },
    /// The temporary file cannot be written or read.
    #[error("cannot store results in {}: {source}; {SPILL_ADVICE}", dir.display())]
    Disk {
        /// Its directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file that outlives this process cannot be written or read.
    #[error("cannot store results in {}: {source}; {}", path.display(), for_disk(source, "choose another disk with --data"))]
    Kept {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The result cannot be written to its destination.
    #[error("cannot write the result: {0}")]
    Write(io::Error),
}

impl From<ResultError> for NotStored {
    fn from(error: ResultError) -> Self {
        let why = error.to_string();
        if matches!(error, ResultError::Malformed { .. }) { Self::Malformed(why) } else { Self::Failed(why) }
    }
}

/// Where a task's output is stored.
#[derive(Debug)]
pub(super) enum Place {
    Memory(Bytes),
    Disk { offset: u64, len: u64 },
}

/// Outputs of the tasks of a job's last stage.
#[derive(Debug)]
pub struct ResultStore {
    /// Directory of the temporary file, or, if the file outlives this process, its path.
    dir: PathBuf,
    memory_limit: u64,
    pub(super) outputs: BTreeMap<TaskId, Place>,
    memory: u64,
    /// The file for outputs that do not fit in memory, and its length.
    pub(super) spill: Option<(Arc<Spill>, u64)>,
    /// Whether the file outlives this process: each output in it has a header.
    pub(super) is_kept: bool,
    /// Whether such a file has unsynced writes.
    is_unsynced: bool,
}

impl ResultStore {
    /// An empty store that keeps up to `memory_limit` bytes in memory and the rest in a temporary file in `dir`,
    /// created when first needed.
    pub fn new(dir: PathBuf, memory_limit: u64) -> Self {
        let outputs = BTreeMap::new();
        Self { dir, memory_limit, outputs, memory: 0, spill: None, is_kept: false, is_unsynced: false }
    }

    /// Stores the output of a task. It replaces an earlier one of that task.
    pub fn add(&mut self, task: TaskId, records: Bytes) -> Result<(), ResultError> {
        record::check(&records).map_err(|source| ResultError::Malformed { task, source })?;
        let len = records.len() as u64;
        let place = if !self.is_kept && self.memory + len <= self.memory_limit {
            self.memory += len;
            Place::Memory(records)
        } else {
            let written = self.write(task, &records);
            let offset = written.map_err(|source| disk_error(self.dir.clone(), self.is_kept, source))?;
            Place::Disk { offset, len }
        };
        if let Some(Place::Memory(old)) = self.outputs.insert(task, place) {
            self.memory -= old.len() as u64;
        }
        Ok(())
    }

    fn write(&mut self, task: TaskId, records: &[u8]) -> io::Result<u64> {
        let head = self.is_kept.then(|| header::head(task, records.len() as u64));
        let (file, end) = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert((Arc::new(Spill::create(&self.dir)?), 0)),
        };
        let mut offset = *end;
        if let Some(head) = head {
            file.write_all_at(&head, offset)?;
            offset += head.len() as u64;
        }
        file.write_all_at(records, offset)?;
        *end = offset + records.len() as u64;
        self.is_unsynced = true;
        Ok(offset)
    }

    /// Removes the output of a task.
    pub fn remove(&mut self, task: TaskId) {
        if let Some(Place::Memory(old)) = self.outputs.remove(&task) {
            self.memory -= old.len() as u64;
        }
    }

    /// Whether it has the output of a task.
    pub fn has(&self, task: TaskId) -> bool {
        self.outputs.contains_key(&task)
    }

    /// The file, if it outlives this process and was written to since the last call: it must be synced before anybody
    /// is told that those outputs are safe.
    pub fn take_unsynced(&mut self) -> Option<Arc<Spill>> {
        let is_unsynced = std::mem::take(&mut self.is_unsynced) && self.is_kept;
        self.spill.as_ref().filter(|_| is_unsynced).map(|(file, _)| file.clone())
    }

    /// The number of tasks whose outputs it holds.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Writes all records, sorted by the bytes of their keys and then of their values, as lines
    /// `key<TAB>value`. Tab, newline, carriage return and backslash in a key are written as
    /// `\t \n \r \\`; values are JSON text. Equal records are all written.
    pub fn merge(self, out: &mut impl Write) -> Result<Stats, ResultError> {
        let spilled = self.outputs.values().filter(|p| matches!(p, Place::Disk { .. })).count();
        let piece = (READ_BYTES / spilled.max(1)).clamp(*PIECE_BYTES.start(), *PIECE_BYTES.end());
        let file = self.spill.map(|(file, _)| file);
        let mut runs = Vec::with_capacity(self.outputs.len());
        for place in self.outputs.into_values() {
            runs.push(match (place, &file) {
                (Place::Memory(bytes), _) => merge::Run::of_bytes(bytes),
                (Place::Disk { offset, len }, Some(file)) => {
                    merge::Run::of_file(Arc::clone(file), offset..offset + len, piece)
                }
                (Place::Disk { .. }, None) => unreachable!("what lies on disk was written to the file"),
            });
        }
        merge::merge(runs, out).map_err(|e| match e {
            merge::MergeError::Read(source) => disk_error(self.dir, self.is_kept, source),
            merge::MergeError::Write(source) => ResultError::Write(source),
        })
    }
}

fn disk_error(place: PathBuf, is_kept: bool, source: io::Error) -> ResultError {
    if is_kept { ResultError::Kept { path: place, source } } else { ResultError::Disk { dir: place, source } }
}
