//! The files that a job reads: a few bytes for each besides its name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Files in the order of their documents.
#[derive(Debug, Default)]
pub struct FileList {
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

/// An open file of a list.
#[derive(Debug)]
pub enum OpenFile<'a> {
    /// Opened for this.
    Named(File),
    /// Open all the time.
    Spooled(&'a File),
}

impl OpenFile<'_> {
    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// Whatever the system says, and `UnexpectedEof` for a file that is shorter.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Named(file) => file.read_exact_at(buf, offset),
            Self::Spooled(file) => file.read_exact_at(buf, offset),
        }
    }
}

impl FileList {
    /// Adds a file, whose size is not known yet.
    pub fn add(&mut self, path: &Path) {
        self.names.extend_from_slice(path.as_os_str().as_bytes());
        self.list.push(Listed { name_end: self.names.len(), size: 0 });
    }

    /// Adds a file without a name, of so many bytes; `name` is what people call it.
    pub fn add_spooled(&mut self, name: &str, file: File, size: u64) {
        self.spooled.push((self.list.len() as u32, file));
        self.names.extend_from_slice(name.as_bytes());
        self.list.push(Listed { name_end: self.names.len(), size });
    }

    /// Asks for the size of file `i`, in bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn measure(&self, i: usize) -> io::Result<u64> {
        if self.spooled(i).is_some() {
            return Ok(self.size(i));
        }
        fs::metadata(self.path(i)).map(|meta| meta.len())
    }

    /// Notes the sizes of all files, in order.
    pub fn set_sizes(&mut self, sizes: impl Iterator<Item = u64>) {
        for (listed, size) in self.list.iter_mut().zip(sizes) {
            listed.size = size;
        }
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The size of file `i` as it was noted, in bytes.
    pub fn size(&self, i: usize) -> u64 {
        self.list[i].size
    }

    /// What people call file `i`: its path.
    pub fn name(&self, i: usize) -> String {
        self.path(i).display().to_string()
    }

    /// The path of file `i`.
    pub fn path(&self, i: usize) -> &Path {
        let start = i.checked_sub(1).map_or(0, |before| self.list[before].name_end);
        Path::new(OsStr::from_bytes(&self.names[start..self.list[i].name_end]))
    }

    /// Opens file `i`.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(&self, i: usize) -> io::Result<OpenFile<'_>> {
        match self.spooled(i) {
            Some(file) => Ok(OpenFile::Spooled(file)),
            None => File::open(self.path(i)).map(OpenFile::Named),
        }
    }

    fn spooled(&self, i: usize) -> Option<&File> {
        self.spooled.iter().find(|(at, _)| *at as usize == i).map(|(_, file)| file)
    }
}
