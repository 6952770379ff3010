//! The list of files that a job reads: a few bytes for each besides its name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::InputError;
use super::parallel;

/// So many files are asked for their size at a time, for each takes but a microsecond.
const MEASURED_TOGETHER: usize = 256;

/// Files in the order of their documents.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// All paths in a row.
    names: Vec<u8>,
    list: Vec<Listed>,
    /// Files without a name, by their place in the list.
    spooled: Vec<(u32, File)>,
}

#[derive(Debug)]
struct Listed {
    name_end: usize,
    size: u64,
}

/// An open file of the list.
pub(super) enum Opened<'a> {
    Named(File),
    Spooled(&'a File),
}

impl Deref for Opened<'_> {
    type Target = File;

    fn deref(&self) -> &File {
        match self {
            Opened::Named(file) => file,
            Opened::Spooled(file) => file,
        }
    }
}

impl Files {
    /// Adds a file, whose size is to be [measured](Self::measure).
    pub(super) fn add(&mut self, path: &Path) {
        self.names.extend_from_slice(path.as_os_str().as_bytes());
        self.list.push(Listed { name_end: self.names.len(), size: 0 });
    }

    /// Adds a file without a name; `name` is what people call it.
    pub(super) fn add_spooled(&mut self, name: &str, file: File, size: u64) {
        self.spooled.push((self.list.len() as u32, file));
        self.names.extend_from_slice(name.as_bytes());
        self.list.push(Listed { name_end: self.names.len(), size });
    }

    /// Asks for the sizes of all files that have a name.
    pub(super) fn measure(&mut self, threads: usize) -> Result<(), InputError> {
        let count = self.len().div_ceil(MEASURED_TOGETHER);
        let sizes = parallel::map(
            count,
            threads,
            || (),
            |(), i| {
                let first = i * MEASURED_TOGETHER;
                let files = first..(first + MEASURED_TOGETHER).min(self.len());
                files.map(|file| self.measured(file)).collect::<Result<Vec<u64>, _>>()
            },
        )?;
        for (listed, size) in self.list.iter_mut().zip(sizes.into_iter().flatten()) {
            listed.size = size;
        }
        Ok(())
    }

    fn measured(&self, i: usize) -> Result<u64, InputError> {
        if self.spooled(i).is_some() {
            return Ok(self.size(i));
        }
        let path = self.path(i);
        let meta = fs::metadata(path);
        Ok(meta.map_err(|source| InputError::Unreadable { path: path.to_owned(), source })?.len())
    }

    fn spooled(&self, i: usize) -> Option<&File> {
        self.spooled.iter().find(|(at, _)| *at as usize == i).map(|(_, file)| file)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The size of file `i` when it was listed.
    pub(super) fn size(&self, i: usize) -> u64 {
        self.list[i].size
    }

    fn path(&self, i: usize) -> &Path {
        let start = i.checked_sub(1).map_or(0, |before| self.list[before].name_end);
        Path::new(OsStr::from_bytes(&self.names[start..self.list[i].name_end]))
    }

    /// What people call file `i`.
    pub(super) fn name(&self, i: usize) -> String {
        self.path(i).display().to_string()
    }

    pub(super) fn open(&self, i: usize) -> Result<Opened<'_>, InputError> {
        if let Some(file) = self.spooled(i) {
            return Ok(Opened::Spooled(file));
        }
        File::open(self.path(i)).map(Opened::Named).map_err(|e| self.lost(i, e))
    }

    /// Fills `buf` with the bytes of file `i` at `offset`. That the file has no such bytes any more means
    /// that it changed.
    pub(super) fn read(&self, i: usize, file: &File, buf: &mut [u8], offset: u64) -> Result<(), InputError> {
        file.read_exact_at(buf, offset).map_err(|e| self.lost(i, e))
    }

    fn lost(&self, i: usize, source: io::Error) -> InputError {
        let name = self.name(i);
        match source.kind() {
            io::ErrorKind::UnexpectedEof => InputError::Changed { name },
            _ => InputError::Lost { name, source },
        }
    }
}
