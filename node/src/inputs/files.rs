//! The list of files that a job reads, with errors that name them.

use std::io;

use super::error::InputError;
use super::format::{Format, HEAD_BYTES};
use crate::platform::{FileList, OpenFile};

/// Files in the order of their documents.
#[derive(Debug)]
pub(super) struct Files(FileList);

impl Files {
    pub(super) fn new(list: FileList) -> Self {
        Self(list)
    }

    #[cfg(not(target_family = "wasm"))]
    pub(super) fn list(&self) -> &FileList {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The size of file `i` when it was listed.
    pub(super) fn size(&self, i: usize) -> u64 {
        self.0.size(i)
    }

    /// Bytes of all files, and thus of all documents.
    pub(super) fn bytes(&self) -> u64 {
        (0..self.len()).map(|i| self.size(i)).sum()
    }

    /// The name of file `i` for the user.
    pub(super) fn name(&self, i: usize) -> String {
        self.0.name(i)
    }

    pub(super) fn open(&self, i: usize) -> Result<OpenFile<'_>, InputError> {
        self.0.open(i).map_err(|e| self.unreadable(i, e))
    }

    /// Fills `buf` with the bytes of file `i` at `offset`. If the file has no such bytes any more, it has changed.
    pub(super) fn read(&self, i: usize, file: &OpenFile<'_>, buf: &mut [u8], offset: u64) -> Result<(), InputError> {
        file.read_exact_at(buf, offset).map_err(|e| self.unreadable(i, e))
    }

    /// The format of file `i`, if it is not plain text.
    pub(super) fn format(&self, i: usize) -> Result<Option<Format>, InputError> {
        let mut head = [0; HEAD_BYTES];
        let head = &mut head[..self.size(i).min(HEAD_BYTES as u64) as usize];
        self.read(i, &self.open(i)?, head, 0)?;
        Ok(Format::of(head))
    }

    fn unreadable(&self, i: usize, source: io::Error) -> InputError {
        let name = self.name(i);
        match source.kind() {
            io::ErrorKind::UnexpectedEof => InputError::Changed { name },
            _ => InputError::Unreadable { path: name.into(), source },
        }
    }
}
