//! The files that a job reads, as the user chose them in the page. They are read in a Worker, where blocking is
//! allowed.

use std::io;

use js_sys::Uint8Array;
use send_wrapper::SendWrapper;
use web_sys::{File, FileReaderSync};

/// Files in the order of their documents.
#[derive(Debug, Default)]
pub struct FileList(Vec<Listed>);

#[derive(Debug)]
struct Listed {
    name: String,
    size: u64,
    file: SendWrapper<File>,
}

/// A file of a list, to be read.
#[derive(Debug)]
pub struct OpenFile<'a> {
    file: &'a File,
    reader: FileReaderSync,
}

impl OpenFile<'_> {
    /// Fills `buf`, starting at `offset`.
    ///
    /// # Errors
    /// The browser's error for a file that was moved, changed, or is shorter.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buf.len() as u64;
        let slice = self.file.slice_with_f64_and_f64(offset as f64, end as f64).map_err(|_| lost())?;
        // The error is the same for a file that changed since it was chosen and for one that is gone.
        let bytes = Uint8Array::new(&self.reader.read_as_array_buffer(&slice).map_err(|_| lost())?.into());
        if bytes.length() as usize != buf.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.copy_to(buf);
        Ok(())
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it was changed, moved or deleted")
}

impl FileList {
    /// Adds a file; `name` is its name for the user.
    pub fn add(&mut self, name: String, file: File) {
        let size = file.size() as u64;
        self.0.push(Listed { name, size, file: SendWrapper::new(file) });
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The size of file `i` when it was chosen, in bytes.
    pub fn size(&self, i: usize) -> u64 {
        self.0[i].size
    }

    /// The name of file `i` for the user.
    pub fn name(&self, i: usize) -> String {
        self.0[i].name.clone()
    }

    /// Opens file `i`.
    ///
    /// # Errors
    /// Fails outside of a Worker.
    pub fn open(&self, i: usize) -> io::Result<OpenFile<'_>> {
        let reader = FileReaderSync::new().map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?;
        Ok(OpenFile { file: &self.0[i].file, reader })
    }
}
