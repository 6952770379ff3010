//! Packs, in which inputs are sent: several documents behind an offset index, in one blob.
//!
//! A pack is `u32 documents`, then `u32 length` of each, then their bytes; integers little-endian. The [`Index`] lists
//! the packs of a job in order. A pack's documents are cut into tasks of `docs_per_task` documents each (the last may
//! have fewer), so that a task is in one pack.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::Wire;
use crate::id::Hash;
use crate::limits;
use crate::manifest::BlobRef;
use crate::part::TaskId;
use crate::ranges::Run;

/// One pack in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRef {
    /// The pack itself.
    pub blob: BlobRef,
    /// How many documents it holds.
    pub documents: u32,
    /// How many of them make one task.
    pub docs_per_task: u32,
}

impl PackRef {
    /// How many tasks it holds.
    pub fn tasks(&self) -> u32 {
        self.documents.div_ceil(self.docs_per_task.max(1))
    }
}

/// All packs of a job, in the order of their tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The packs.
    pub packs: Vec<PackRef>,
}

impl Wire for Index {
    const NAME: &'static str = "input index";
    const MAX_BYTES: usize = limits::INDEX_BYTES;

    fn check(&self) -> Result<(), &'static str> {
        let mut tasks = 0u64;
        for pack in &self.packs {
            if pack.documents == 0 || pack.docs_per_task == 0 {
                return Err("a pack without documents");
            }
            if pack.blob.len > limits::PACK_BYTES as u64 {
                return Err("a pack that is too large");
            }
            if pack.blob.len < header_len(pack.documents) {
                return Err("a pack that has no room for its documents");
            }
            tasks += u64::from(pack.tasks());
        }
        if tasks > u64::from(limits::TASKS) {
            return Err("too many tasks");
        }
        Ok(())
    }
}

/// An [`Index`] that finds a task's pack in logarithmic time.
#[derive(Clone, Debug)]
pub struct Layout {
    packs: Vec<PackRef>,
    /// `first[i]` is the first task of pack `i`; one more entry at the end.
    first: Vec<TaskId>,
}

impl Layout {
    /// The layout of `index`, which must have passed its check.
    pub fn new(index: Index) -> Self {
        let mut first = Vec::with_capacity(index.packs.len() + 1);
        let mut at = 0;
        first.push(TaskId(0));
        for pack in &index.packs {
            at += pack.tasks();
            first.push(TaskId(at));
        }
        Self { packs: index.packs, first }
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> u32 {
        self.first.last().map_or(0, |end| end.0)
    }

    /// The pack that holds `task`, and the tasks that it holds.
    pub fn pack_of(&self, task: TaskId) -> Option<(PackRef, Run<TaskId>)> {
        let i = self.first.partition_point(|&first| first <= task).checked_sub(1)?;
        let pack = *self.packs.get(i)?;
        Some((pack, Run::between(self.first[i], self.first[i + 1])))
    }

    /// Whether the job has a pack of this hash.
    pub fn has_pack(&self, pack: &Hash) -> bool {
        self.packs.iter().any(|p| p.blob.hash == *pack)
    }

    /// The documents of `task` within its pack.
    pub fn documents_of(&self, task: TaskId) -> Option<Range<u32>> {
        let (pack, tasks) = self.pack_of(task)?;
        let start = tasks.place_of(task)? * pack.docs_per_task;
        Some(start..start.saturating_add(pack.docs_per_task).min(pack.documents))
    }
}

/// A pack whose offset index has been checked against its length.
#[derive(Clone, Debug)]
pub struct Pack {
    bytes: Bytes,
    /// Where each document starts within `bytes`; one more entry at the end.
    starts: Vec<u32>,
}

/// Why bytes are not a pack.
#[derive(Debug, thiserror::Error)]
#[error("a malformed pack: {0}")]
pub struct PackError(&'static str);

impl Pack {
    /// Reads the offset index of a pack.
    pub fn parse(bytes: Bytes) -> Result<Self, PackError> {
        if bytes.len() > limits::PACK_BYTES {
            return Err(PackError("over the size limit"));
        }
        let word = |i: usize| -> Option<u32> {
            let raw = bytes.get(i * 4..i * 4 + 4)?;
            Some(u32::from_le_bytes(raw.try_into().ok()?))
        };
        let documents = word(0).ok_or(PackError("shorter than its header"))? as usize;
        if documents > bytes.len() / 4 {
            return Err(PackError("more documents than its length has room for"));
        }
        let mut starts = Vec::with_capacity(documents + 1);
        let mut at = header_len(documents as u32);
        for i in 0..documents {
            starts.push(at as u32);
            at += u64::from(word(i + 1).ok_or(PackError("shorter than its offset index"))?);
            if at > bytes.len() as u64 {
                return Err(PackError("a document that ends past the pack"));
            }
        }
        if at != bytes.len() as u64 {
            return Err(PackError("bytes after the last document"));
        }
        starts.push(at as u32);
        Ok(Self { bytes, starts })
    }

    /// How many documents it holds.
    pub fn documents(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// The range of each document in the pack, in bytes.
    pub fn ranges(&self, documents: Range<u32>) -> impl Iterator<Item = Range<u32>> + '_ {
        let within = |i: u32| self.starts.get(i as usize..i as usize + 2);
        documents.filter_map(move |i| within(i).map(|w| w[0]..w[1]))
    }

    /// The bytes of document `i`.
    pub fn document(&self, i: u32) -> Option<&[u8]> {
        let i = i as usize;
        let (start, end) = (*self.starts.get(i)?, *self.starts.get(i + 1)?);
        self.bytes.get(start as usize..end as usize)
    }
}

/// The length of a pack's header, in bytes.
fn header_len(documents: u32) -> u64 {
    4 + u64::from(documents) * 4
}

/// The header of a pack with documents of these lengths; their bytes follow it.
pub fn header(lengths: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + lengths.len() * 4);
    out.extend_from_slice(&(lengths.len() as u32).to_le_bytes());
    for len in lengths {
        out.extend_from_slice(&len.to_le_bytes());
    }
    out
}

/// A whole pack in memory.
pub fn build<'a>(documents: impl IntoIterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let lengths: Vec<u32> = documents.clone().into_iter().map(|d| d.len() as u32).collect();
    let mut out = header(&lengths);
    for document in documents {
        out.extend_from_slice(document);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Hash;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pack_gives_back_its_documents(docs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..30)) {
            let bytes = build(docs.iter().map(Vec::as_slice));
            let pack = Pack::parse(bytes.into()).unwrap();
            prop_assert_eq!(pack.documents() as usize, docs.len());
            for (i, doc) in docs.iter().enumerate() {
                prop_assert_eq!(pack.document(i as u32).unwrap(), doc.as_slice());
            }
            prop_assert!(pack.document(docs.len() as u32).is_none());
        }

        #[test]
        fn any_bytes_are_parsed_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Pack::parse(bytes.into());
        }

        #[test]
        fn every_task_is_in_one_pack(packs in prop::collection::vec((1u32..50, 1u32..10), 1..20)) {
            let index = Index {
                packs: packs.iter().map(|&(documents, docs_per_task)| PackRef {
                    blob: BlobRef { hash: Hash::of(b""), len: 0 }, documents, docs_per_task,
                }).collect(),
            };
            let layout = Layout::new(index.clone());
            let mut seen = 0;
            for task in TaskId::below(layout.tasks()) {
                seen += layout.documents_of(task).unwrap().len() as u64;
            }
            prop_assert_eq!(seen, packs.iter().map(|p| u64::from(p.0)).sum::<u64>());
            prop_assert!(layout.pack_of(TaskId(layout.tasks())).is_none());
        }
    }

    #[test]
    fn a_pack_with_a_false_length_is_refused() {
        let mut bytes = build([b"one".as_slice(), b"two".as_slice()]);
        bytes[4] = 200;
        assert!(Pack::parse(bytes.into()).is_err());
        assert!(Pack::parse(vec![255; 4].into()).is_err());
    }
}
