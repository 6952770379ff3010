//! The two kinds of tasks in a guest: mapping documents, and reducing a bucket.

use std::io;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use webmesh_protocol::segment::ascends;

use super::error::{TaskError, TaskErrorKind};
use super::guest::{Feed, Guest};
use super::module::Module;
use super::params::TaskParams;
use super::watch::Overseer;

/// A map task's output: shuffle records, by bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapOutput {
    /// The records of all buckets, one bucket after the other.
    pub data: Bytes,
    /// Offset of each bucket in `data`, and the end of the last one: one entry more than buckets, ascending, from 0 to
    /// `data.len()`.
    pub offsets: Vec<u32>,
}

impl MapOutput {
    /// The range of a bucket in `data`; `None` past the last one.
    pub fn range(&self, bucket: u32) -> Option<Range<usize>> {
        let bounds = self.offsets.get(bucket as usize..)?.first_chunk::<2>()?;
        Some(bounds[0] as usize..bounds[1] as usize)
    }

    /// The records of a bucket, shared, not copied; `None` past the last one.
    pub fn bucket(&self, bucket: u32) -> Option<Bytes> {
        self.range(bucket).map(|range| self.data.slice(range))
    }
}

/// A reduce task's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReduceOutput {
    /// Result records, sorted.
    pub data: Bytes,
    /// Number of records, as reported by the guest.
    pub records: u32,
}

/// A failure and the document it happened on.
type Failure = (Option<u32>, TaskErrorKind);

impl Module {
    /// Maps `documents` in one fresh instance, on this thread, which needs a stack of 2 MiB.
    ///
    /// # Errors
    /// Any failure of the guest, with the document at which it happened.
    pub fn map_task<'d>(
        &self,
        documents: impl IntoIterator<Item = &'d [u8]>,
        buckets: NonZeroU32,
        params: &TaskParams,
    ) -> Result<MapOutput, TaskError> {
        self.map_overseen(documents, buckets, params, None)
    }

    /// Reduces one bucket in one fresh instance, on this thread, which needs a stack of 2 MiB. Each of `chunks`
    /// holds whole shuffle records; reading the next one does not count against the task's time.
    ///
    /// # Errors
    /// Any failure of the guest, and any error from `chunks`.
    pub fn reduce_task(
        &self,
        chunks: impl IntoIterator<Item = io::Result<Bytes>>,
        params: &TaskParams,
    ) -> Result<ReduceOutput, TaskError> {
        self.reduce_overseen(chunks, params, None)
    }

    /// [`map_task`](Self::map_task) with an overseer.
    pub(super) fn map_overseen<'d>(
        &self,
        documents: impl IntoIterator<Item = &'d [u8]>,
        buckets: NonZeroU32,
        params: &TaskParams,
        overseer: Option<Arc<dyn Overseer>>,
    ) -> Result<MapOutput, TaskError> {
        let _ticking = self.keep_ticking();
        let mut guest = Guest::start(self, params, overseer)?;
        map(self, &mut guest, documents, buckets, params.limits.output)
            .map_err(|(document, kind)| guest.fail(document, kind))
    }

    /// [`reduce_task`](Self::reduce_task) with an overseer.
    pub(super) fn reduce_overseen(
        &self,
        chunks: impl IntoIterator<Item = io::Result<Bytes>>,
        params: &TaskParams,
        overseer: Option<Arc<dyn Overseer>>,
    ) -> Result<ReduceOutput, TaskError> {
        let _ticking = self.keep_ticking();
        let mut guest = Guest::start(self, params, overseer)?;
        reduce(self, &mut guest, chunks, params.limits.output).map_err(|kind| guest.fail(None, kind))
    }
}

fn map<'d>(
    module: &Module,
    guest: &mut Guest<'_>,
    documents: impl IntoIterator<Item = &'d [u8]>,
    buckets: NonZeroU32,
    output_limit: u64,
) -> Result<MapOutput, Failure> {
    let at_end = |kind| (None, kind);
    let exports = module.exports();
    let map: Feed = guest.function(&exports.map).map_err(at_end)?;
    for (index, document) in documents.into_iter().enumerate() {
        guest.feed(&map, document).map_err(|kind| (u32::try_from(index).ok(), kind))?;
    }
    let finish = guest.function::<u32, u32>(&exports.map_finish).map_err(at_end)?;
    let at = guest.call(&finish, buckets.get()).map_err(at_end)?;
    take_buckets(guest, at, buckets.get(), output_limit).map_err(at_end)
}

/// Copies the buckets out of the guest's memory.
fn take_buckets(guest: &Guest<'_>, at: u32, buckets: u32, output_limit: u64) -> Result<MapOutput, TaskErrorKind> {
    let [data, offsets] = guest.words(at)?;
    let table_len = (u64::from(buckets) + 1) * 4;
    let table_len =
        u32::try_from(table_len).map_err(|_| TaskErrorKind::Input(format!("{buckets} buckets are too many")))?;
    let table = guest.bytes(offsets, table_len)?.as_chunks().0;
    let first = table.first().map_or(0, |word| u32::from_le_bytes(*word));
    let last = table.last().map_or(0, |word| u32::from_le_bytes(*word));
    let mut offsets: Vec<u32> = table.iter().map(|word| u32::from_le_bytes(*word)).collect();
    if !ascends(&offsets) {
        let descent = offsets.windows(2).find(|pair| pair[0] > pair[1]);
        let [from, to] = descent.and_then(|pair| pair.first_chunk()).copied().unwrap_or_default();
        return Err(guest.blame_memory(format!("bucket offsets descend from {from} to {to}")));
    }
    offsets.iter_mut().for_each(|offset| *offset -= first);
    let len = last - first;
    let start = data
        .checked_add(first)
        .ok_or_else(|| guest.blame_memory(format!("buckets at {data:#x} + {first} are outside the memory")))?;
    Ok(MapOutput { data: take(guest, start, len, output_limit)?, offsets })
}

fn reduce(
    module: &Module,
    guest: &mut Guest<'_>,
    chunks: impl IntoIterator<Item = io::Result<Bytes>>,
    output_limit: u64,
) -> Result<ReduceOutput, TaskErrorKind> {
    let exports = module.exports();
    let feed: Feed = guest.function(&exports.reduce_feed)?;
    let mut chunks = chunks.into_iter();
    loop {
        let asked = Instant::now();
        let Some(chunk) = chunks.next() else { break };
        guest.forgive(asked.elapsed());
        let chunk = chunk.map_err(|error| TaskErrorKind::Input(error.to_string()))?;
        guest.feed(&feed, &chunk)?;
    }
    let finish = guest.function::<(), u32>(&exports.reduce_finish)?;
    let at = guest.call(&finish, ())?;
    let [data, len, records, status] = guest.words(at)?;
    if status != 0 {
        return Err(guest.thrown());
    }
    Ok(ReduceOutput { data: take(guest, data, len, output_limit)?, records })
}

/// Copies `len` bytes at `at`.
fn take(guest: &Guest<'_>, at: u32, len: u32, limit: u64) -> Result<Bytes, TaskErrorKind> {
    if u64::from(len) > limit {
        return Err(TaskErrorKind::OutputLimit(limit));
    }
    Ok(Bytes::copy_from_slice(guest.bytes(at, len)?))
}
