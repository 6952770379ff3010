//! Packs built from files on demand.

use std::collections::HashMap;

use bytes::Bytes;
use webmesh_protocol::manifest::{BlobRef, Inputs};
use webmesh_protocol::pack::{Index, PackRef, header};
use webmesh_protocol::{Hash, TaskId, codec};

use super::cut::Documents;
use super::error::InputError;
use super::files::Files;
use super::format::{Format, HEAD_BYTES};
use super::group::Group;
use super::note::{Notes, Topic};
use crate::store::source::{BlobError, BlobSource};

/// Bytes that are read before they are hashed: they stay in the processor's cache in between, and are enough for blake3
/// to use its widest instructions even if the files are small.
const BUFFER_BYTES: usize = 128 * 1024;

/// One pack.
#[derive(Debug)]
struct Placed {
    first_document: u32,
    /// The file of its first document, and the document's offset in it.
    file: usize,
    offset: u64,
    first_task: TaskId,
    pack: PackRef,
}

/// The packs and the index of one job. A pack is read from its files each time it is requested.
#[derive(Debug)]
pub struct PackSource {
    files: Files,
    documents: Documents,
    packs: Vec<Placed>,
    by_hash: HashMap<Hash, u32>,
    index: Bytes,
    index_hash: Hash,
    tasks: u32,
}

/// The result of reading a pack for the first time.
#[derive(Debug)]
pub(super) struct Hashed {
    blob: BlobRef,
    /// Bytes of its documents.
    pub(super) bytes: u64,
    /// Files that begin in it and are not plain text.
    formats: Vec<(usize, Format)>,
}

/// Packs whose hashes are not known yet: they have to be read once.
#[derive(Debug)]
pub(super) struct Unhashed {
    files: Files,
    documents: Documents,
    packs: Vec<Placed>,
}

impl Unhashed {
    pub(super) fn new(files: Files, documents: Documents, groups: &[Group]) -> Self {
        let packs = place(&documents, groups);
        Self { files, documents, packs }
    }

    /// The number of packs.
    pub(super) fn len(&self) -> usize {
        self.packs.len()
    }

    /// A buffer for [`Unhashed::hash`].
    pub(super) fn buffer() -> Vec<u8> {
        vec![0; BUFFER_BYTES]
    }

    /// Reads a pack.
    pub(super) fn hash(&self, pack: usize, buffer: &mut [u8]) -> Result<Hashed, InputError> {
        let placed = &self.packs[pack];
        let mut hashed = hash_pack(&self.files, &self.documents, placed, buffer)?;
        hashed.bytes = hashed.blob.len - header_len(&placed.pack);
        Ok(hashed)
    }

    /// `hashed` are the results of [`Unhashed::hash`] for each pack. Adds notes on files that are not plain text.
    pub(super) fn finish(self, hashed: Vec<Hashed>, notes: &mut Notes) -> PackSource {
        let Self { files, documents, mut packs } = self;
        let mut by_hash = HashMap::with_capacity(packs.len());
        for (i, (placed, hashed)) in (0..).zip(packs.iter_mut().zip(hashed)) {
            placed.pack.blob = hashed.blob;
            by_hash.insert(hashed.blob.hash, i);
            for (file, format) in hashed.formats {
                notes.add(Topic::Format(format), || files.name(file));
            }
        }
        let index = codec::encode(&Index { packs: packs.iter().map(|placed| placed.pack).collect() });
        let tasks = packs.last().map_or(0, |last| last.first_task.0 + last.pack.tasks());
        let index_hash = Hash::of(&index);
        PackSource { files, documents, packs, by_hash, index: index.into(), index_hash, tasks }
    }
}

impl PackSource {
    /// The manifest's description of these inputs.
    pub fn inputs(&self) -> Inputs {
        let index = BlobRef { hash: self.index_hash, len: self.index.len() as u64 };
        Inputs::Packs { index, documents: self.documents(), bytes: self.bytes() }
    }

    /// The number of tasks in the packs.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// The number of documents.
    pub fn documents(&self) -> u64 {
        self.documents.lengths.len() as u64
    }

    /// The number of bytes in the documents.
    pub fn bytes(&self) -> u64 {
        self.packs.iter().map(|placed| placed.pack.blob.len - header_len(&placed.pack)).sum()
    }

    /// The number of files.
    pub fn files(&self) -> u32 {
        self.files.len() as u32
    }

    /// The files, in the order of their documents.
    #[cfg(not(target_family = "wasm"))]
    pub fn file_list(&self) -> &crate::platform::FileList {
        self.files.list()
    }

    /// The name of a task's document for the user: the file's path, and the document's offset in it if the file has
    /// several. `None` if there is no such document.
    pub fn name_of(&self, task: TaskId, document: u32) -> Option<String> {
        let pack = self.packs.partition_point(|placed| placed.first_task <= task).checked_sub(1)?;
        let placed = &self.packs[pack];
        let in_pack = u64::from(task.0 - placed.first_task.0) * u64::from(placed.pack.docs_per_task);
        let in_pack = in_pack + u64::from(document);
        if document >= placed.pack.docs_per_task || in_pack >= u64::from(placed.pack.documents) {
            return None;
        }
        let document = placed.first_document + in_pack as u32;
        let file = self.documents.file_of(document);
        let name = self.files.name(file);
        if self.documents.of_file(file).len() == 1 {
            return Some(name);
        }
        Some(format!("{name}, from byte {}", self.documents.offset(document)))
    }

    /// The pack with this hash, read again, or the index; `None` for any other hash.
    ///
    /// # Errors
    /// A named file that vanished or changed since it was planned.
    pub fn read(&self, hash: &Hash) -> Result<Option<Bytes>, InputError> {
        if *hash == self.index_hash {
            return Ok(Some(self.index.clone()));
        }
        let Some(&i) = self.by_hash.get(hash) else { return Ok(None) };
        let placed = &self.packs[i as usize];
        let mut bytes = Vec::with_capacity(placed.pack.blob.len as usize);
        bytes.extend_from_slice(&header(self.lengths(placed)));
        for part in parts(&self.documents, placed).filter(|part| part.len > 0) {
            let start = bytes.len();
            bytes.resize(start + part.len as usize, 0);
            let read = self
                .files
                .open(part.file)
                .and_then(|file| self.files.read(part.file, &file, &mut bytes[start..], part.offset));
            read.map_err(InputError::after_planning)?;
        }
        if Hash::of(&bytes) != placed.pack.blob.hash {
            return Err(InputError::Changed { name: self.names_of(placed) });
        }
        Ok(Some(bytes.into()))
    }

    fn lengths(&self, placed: &Placed) -> &[u32] {
        lengths(&self.documents, placed)
    }

    /// The file of a pack, or, of several, the first and the last.
    fn names_of(&self, placed: &Placed) -> String {
        let last = self.documents.file_of(placed.first_document + placed.pack.documents - 1);
        let first = self.files.name(placed.file);
        match last - placed.file {
            0 => first,
            n => format!("one of {} files from {first} to {}", n + 1, self.files.name(last)),
        }
    }
}

impl BlobSource for PackSource {
    fn load(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError> {
        self.read(hash).map_err(|e| BlobError::Input { index: self.index_hash, why: e.to_string() })
    }
}

fn header_len(pack: &PackRef) -> u64 {
    4 + u64::from(pack.documents) * 4
}

fn lengths<'a>(documents: &'a Documents, placed: &Placed) -> &'a [u32] {
    &documents.lengths[placed.first_document as usize..][..placed.pack.documents as usize]
}

/// Finds each pack's position in the files. Its hash is not known yet.
fn place(documents: &Documents, groups: &[Group]) -> Vec<Placed> {
    let (mut file, mut offset, mut first_task) = (0, 0, TaskId(0));
    let mut packs = Vec::with_capacity(groups.len());
    for group in groups {
        let &Group { first_document, documents: count, docs_per_task } = group;
        let blob = BlobRef { hash: Hash([0; 32]), len: 0 };
        let pack = PackRef { blob, documents: count, docs_per_task };
        // Every file has at least one document, so the next file follows the last document of this one.
        while documents.of_file(file).end <= first_document {
            (file, offset) = (file + 1, 0);
        }
        let placed = Placed { first_document, file, offset, first_task, pack };
        first_task.0 += pack.tasks();
        if let Some(part) = parts(documents, &placed).last() {
            (file, offset) = (part.file, part.offset + part.len);
        }
        packs.push(placed);
    }
    packs
}

/// A part of a file that a pack holds.
struct Part {
    file: usize,
    offset: u64,
    len: u64,
}

/// The parts of files that a pack holds, in order. Empty ones are left out, except the last.
fn parts<'a>(documents: &'a Documents, placed: &'a Placed) -> impl Iterator<Item = Part> + 'a {
    let end = placed.first_document + placed.pack.documents;
    let (mut file, mut offset, mut at) = (placed.file, placed.offset, placed.first_document);
    std::iter::from_fn(move || {
        while at < end {
            let of_file = documents.of_file(file).end.min(end);
            let lengths = &documents.lengths[at as usize..of_file as usize];
            let part = Part { file, offset, len: lengths.iter().map(|&len| u64::from(len)).sum() };
            (file, offset, at) = (file + 1, 0, of_file);
            if part.len > 0 || at == end {
                return Some(part);
            }
        }
        None
    })
}

fn hash_pack(files: &Files, documents: &Documents, placed: &Placed, buffer: &mut [u8]) -> Result<Hashed, InputError> {
    let mut hasher = blake3::Hasher::new();
    let mut formats = Vec::new();
    let mut filled = 0;
    let head = header(lengths(documents, placed));
    if head.len() <= buffer.len() {
        buffer[..head.len()].copy_from_slice(&head);
        filled = head.len();
    } else {
        hasher.update(&head);
    }
    for part in parts(documents, placed).filter(|part| part.len > 0) {
        let file = files.open(part.file)?;
        let (mut offset, end) = (part.offset, part.offset + part.len);
        while offset < end {
            // The first bytes of a file, which identify its format, stay together.
            if filled + HEAD_BYTES > buffer.len() {
                hasher.update(&buffer[..filled]);
                filled = 0;
            }
            let len = (buffer.len() - filled).min((end - offset) as usize);
            files.read(part.file, &file, &mut buffer[filled..filled + len], offset)?;
            if offset == 0
                && let Some(format) = Format::of(&buffer[filled..filled + len])
            {
                formats.push((part.file, format));
            }
            filled += len;
            offset += len as u64;
        }
    }
    hasher.update(&buffer[..filled]);
    let blob = BlobRef { hash: Hash(*hasher.finalize().as_bytes()), len: hasher.count() };
    Ok(Hashed { blob, bytes: 0, formats })
}
