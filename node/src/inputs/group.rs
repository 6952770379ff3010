//! Groups documents into tasks, and tasks into packs.

use std::num::NonZeroU32;

use webmesh_protocol::limits;

use super::CHUNK_BYTES;
use super::cut::Documents;
use super::error::InputError;

/// Number of tasks over which a small input is spread, so that more than one worker gets something to do.
const FEW_TASKS: u64 = 16;
/// Bytes of a pack that holds many tasks: enough to be worth the round trip of a request.
const PACK_BYTES: u64 = 1 << 20;
/// Number of packs above which packs get larger: the index takes some 90 bytes for each and may not exceed
/// [`limits::INDEX_BYTES`].
const MANY_PACKS: u64 = 1 << 16;
/// Size limit of a pack of several documents; a larger document has a pack of its own.
const MAX_PACK_BYTES: u64 = 32 << 20;
/// Bytes that a document takes in a pack's header; the header itself takes as many.
const HEADER_BYTES: u64 = 4;

/// A pack to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its first document; it has all documents up to the next pack's first.
    pub(super) first_document: u32,
    /// Its number of documents.
    pub(super) documents: u32,
    /// Number of its documents that make a task.
    pub(super) docs_per_task: u32,
}

/// Groups documents into packs.
///
/// By default a pack is one task of some [`CHUNK_BYTES`]. If a number of documents per task is given, every task but
/// the last has as many, and a pack has as many tasks as fit.
pub(super) fn group(documents: &Documents, per_task: Option<NonZeroU32>) -> Result<Vec<Group>, InputError> {
    let lengths = &documents.lengths;
    let total: u64 = lengths.iter().map(|&len| weight(len)).sum();
    let packs = match per_task {
        None => {
            let target = (total / FEW_TASKS).clamp(1, CHUNK_BYTES);
            by_bytes(lengths, target.max(total / MANY_PACKS).min(MAX_PACK_BYTES))
        }
        Some(n) => by_number(lengths, n.get(), PACK_BYTES.max(total / MANY_PACKS).min(MAX_PACK_BYTES))?,
    };
    let tasks: u64 = packs.iter().map(|p| u64::from(p.documents.div_ceil(p.docs_per_task))).sum();
    if tasks == 0 || tasks > u64::from(limits::TASKS) {
        return Err(InputError::TooManyTasks { tasks });
    }
    Ok(packs)
}

/// Bytes that a document adds to a pack.
fn weight(len: u32) -> u64 {
    u64::from(len) + HEADER_BYTES
}

fn by_bytes(lengths: &[u32], target: u64) -> Vec<Group> {
    let mut packs = Vec::new();
    let (mut first, mut bytes) = (0u32, 0);
    let mut close = |first: u32, end: u32| {
        let documents = end - first;
        packs.push(Group { first_document: first, documents, docs_per_task: documents });
    };
    for (i, &len) in (0u32..).zip(lengths) {
        // A document is added if that brings the pack's size closer to the target.
        if i > first && bytes + weight(len) / 2 > target {
            close(first, i);
            (first, bytes) = (i, 0);
        }
        bytes += weight(len);
    }
    if (first as usize) < lengths.len() {
        close(first, lengths.len() as u32);
    }
    packs
}

fn by_number(lengths: &[u32], per_task: u32, target: u64) -> Result<Vec<Group>, InputError> {
    let mut packs: Vec<Group> = Vec::new();
    let mut bytes = 0;
    let mut first_document = 0;
    for task in lengths.chunks(per_task as usize) {
        let of_task: u64 = task.iter().map(|&len| weight(len)).sum();
        if of_task + HEADER_BYTES > limits::PACK_BYTES as u64 {
            return Err(InputError::TaskTooLarge { docs: per_task, bytes: of_task });
        }
        let documents = task.len() as u32;
        match packs.last_mut().filter(|_| bytes + of_task <= target) {
            Some(pack) => {
                pack.documents += documents;
                bytes += of_task;
            }
            None => {
                packs.push(Group { first_document, documents, docs_per_task: per_task });
                bytes = of_task;
            }
        }
        first_document += documents;
    }
    Ok(packs)
}
