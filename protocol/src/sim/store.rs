//! The stores of a simulated peer: blobs, and segments of other peers' tasks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::id::{Hash, JobId};
use crate::io::BucketRef;
use crate::limits;
use crate::message::{Push, PushEntry};
use crate::segment;

/// Segments of one partition, by task and digest.
type Segments = BTreeMap<(u32, Hash), Bytes>;

/// The stores of one peer.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) blobs: BTreeSet<Hash>,
    segments: BTreeMap<(JobId, u8, u16), Segments>,
}

impl Store {
    /// Stores the parts of a push that `keep` names by entry and partition.
    pub(super) fn stage(&mut self, push: &Push, keep: &[(u32, u16)], body: &Bytes) {
        let mut at = 0;
        for (i, entry) in push.entries.iter().enumerate() {
            for &(partition, len) in &entry.segments {
                let end = at + len as usize;
                // The engine names them in this very order.
                if keep.binary_search(&(i as u32, partition)).is_ok() {
                    let of = self.segments.entry((push.job, push.stage, partition)).or_default();
                    of.insert((entry.task, entry.digest), body.slice(at..end));
                }
                at = end;
            }
        }
    }

    /// The records of neighbouring buckets in order of task. `None` if a segment is malformed, or if there are two
    /// attempts of one task: nothing may be read before one of them is accepted.
    pub(super) fn bucket(&self, of: &BucketRef) -> Option<Vec<Bytes>> {
        let Some(segments) = self.segments.get(&(of.job, of.stage, of.place.partition)) else { return Some(vec![]) };
        let first = of.place.run * of.place.width;
        let mut records = Vec::new();
        let mut last = None;
        for (&(task, _), bytes) in segments {
            if last.replace(task) == Some(task) {
                return None;
            }
            let found = segment::buckets(bytes, first..first + of.place.width).ok()?;
            if !found.is_empty() {
                records.push(bytes.slice_ref(found));
            }
        }
        Some(records)
    }

    /// The segments of a partition from task `from` on, as many as one response may hold, and the task to continue
    /// with.
    pub(super) fn pull(&self, job: JobId, stage: u8, partition: u16, from: u32) -> (Push, Bytes, Option<u32>) {
        let mut push = Push { job, stage, epoch: 0, replica: true, entries: Vec::new(), authors: Vec::new() };
        let mut body = Vec::new();
        let Some(segments) = self.segments.get(&(job, stage, partition)) else { return (push, Bytes::new(), None) };
        for (&(task, digest), bytes) in segments.range((from, Hash([0; 32]))..) {
            let full = body.len() + bytes.len() > limits::PUSH_BYTES || push.entries.len() == limits::PUSH_ENTRIES;
            if full && push.entries.last().is_some_and(|e| e.task != task) {
                return (push, body.into(), Some(task));
            }
            push.entries.push(PushEntry { task, digest, segments: vec![(partition, bytes.len() as u32)] });
            body.extend_from_slice(bytes);
        }
        (push, body.into(), None)
    }

    pub(super) fn drop_segment(&mut self, (job, stage, partition): (JobId, u8, u16), task: u32, digest: Hash) {
        if let Some(segments) = self.segments.get_mut(&(job, stage, partition)) {
            segments.remove(&(task, digest));
        }
    }

    pub(super) fn drop_job(&mut self, job: JobId) {
        self.segments.retain(|(of, _, _), _| *of != job);
    }

    /// Forgets all segments, which do not outlive their peer's process.
    pub(super) fn drop_segments(&mut self) {
        self.segments.clear();
    }

    /// Whether any segments are held.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// The records that a task reads, as they are sent: each preceded by its length.
pub(super) fn framed(records: &[Bytes]) -> Bytes {
    let mut out = Vec::new();
    for record in records {
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(record);
    }
    out.into()
}
