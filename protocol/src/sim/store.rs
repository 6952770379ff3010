//! The stores of a simulated peer: blobs, and segments of other peers' tasks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::id::{Hash, JobId};
use crate::io::{BucketRef, KeptSegment};
use crate::limits;
use crate::message::{AttemptId, Push, PushEntry};
use crate::part::{PartitionRef, TaskId};
use crate::segment;

/// Segments of one partition, by task and digest.
type Segments = BTreeMap<AttemptId, Bytes>;

/// The stores of one peer.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) blobs: BTreeSet<Hash>,
    segments: BTreeMap<PartitionRef, Segments>,
}

impl Store {
    /// Stores the parts of a push that `keep` names by entry and partition.
    pub(super) fn stage(&mut self, push: &Push, keep: &[KeptSegment], body: &Bytes) {
        let mut at = 0;
        for (i, entry) in push.entries.iter().enumerate() {
            for &(partition, len) in &entry.segments {
                let end = at + len as usize;
                // The engine names them in this very order.
                if keep.binary_search(&KeptSegment { entry: i as u32, partition }).is_ok() {
                    let of = self.segments.entry(push.stage_ref().partition(partition)).or_default();
                    of.insert(entry.attempt(), body.slice(at..end));
                }
                at = end;
            }
        }
    }

    /// The records of neighbouring buckets in order of task. `None` if a segment is malformed, or if there are two
    /// attempts of one task: nothing may be read before one of them is accepted.
    pub(super) fn bucket(&self, of: &BucketRef) -> Option<Vec<Bytes>> {
        let Some(segments) = self.segments.get(&of.partition_ref()) else { return Some(vec![]) };
        let first = of.place.run * of.place.width;
        let mut records = Vec::new();
        let mut last = None;
        for (attempt, bytes) in segments {
            if last.replace(attempt.task) == Some(attempt.task) {
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
    pub(super) fn pull(&self, of: PartitionRef, from: TaskId) -> (Push, Bytes, Option<TaskId>) {
        let PartitionRef { job, stage, partition } = of;
        let mut push = Push { job, stage, epoch: 0, replica: true, entries: Vec::new(), authors: Vec::new() };
        let mut body = Vec::new();
        let Some(segments) = self.segments.get(&of) else { return (push, Bytes::new(), None) };
        for (&AttemptId { task, digest }, bytes) in segments.range(AttemptId::first_of(from)..) {
            let full = body.len() + bytes.len() > limits::PUSH_BYTES || push.entries.len() == limits::PUSH_ENTRIES;
            if full && push.entries.last().is_some_and(|e| e.task != task) {
                return (push, body.into(), Some(task));
            }
            push.entries.push(PushEntry { task, digest, segments: vec![(partition, bytes.len() as u32)] });
            body.extend_from_slice(bytes);
        }
        (push, body.into(), None)
    }

    pub(super) fn drop_segment(&mut self, partition: PartitionRef, attempt: AttemptId) {
        if let Some(segments) = self.segments.get_mut(&partition) {
            segments.remove(&attempt);
        }
    }

    pub(super) fn drop_job(&mut self, job: JobId) {
        self.segments.retain(|partition, _| partition.job != job);
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
