//! Copies of inputs that can be read only once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::error::InputError;
use crate::platform::private;
use crate::platform::unnamed::unnamed_in;

/// Bytes that a copy leaves free on its disk, for the job's own data and the rest of the machine: an endless input must
/// not fill it.
pub(super) const RESERVE_BYTES: u64 = 1 << 30;
/// Bytes copied between two checks of the free space.
const STEP_BYTES: u64 = 32 << 20;
/// Size of a read: twice the capacity of a Linux pipe.
const BUFFER_BYTES: usize = 128 * 1024;

/// An unnamed file, of which nothing remains however the process ends. Created when first needed.
#[derive(Debug)]
pub(super) struct Spool<'a> {
    dir: &'a Path,
    reserve: u64,
    file: Option<File>,
    end: u64,
}

impl<'a> Spool<'a> {
    /// A spool on the disk of `dir` that leaves `reserve` bytes of it free.
    pub(super) fn new(dir: &'a Path, reserve: u64) -> Self {
        Self { dir, reserve, file: None, end: 0 }
    }

    /// Copies all of `from`. Returns the offset and the length of the copy.
    pub(super) fn copy(&mut self, name: &str, from: &mut dyn Read) -> Result<(u64, u64), InputError> {
        let (start, dir, reserve) = (self.end, self.dir, self.reserve);
        let spool = |source| InputError::Spool { what: name.to_owned(), dir: dir.to_owned(), source };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(unnamed(dir).map_err(spool)?),
        };
        let (mut buf, mut unchecked) = (vec![0; BUFFER_BYTES], 0);
        loop {
            let read = match from.read(&mut buf) {
                Ok(0) => return Ok((start, self.end - start)),
                Ok(read) => read,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(InputError::Unreadable { path: name.into(), source }),
            };
            file.write_all(&buf[..read]).map_err(spool)?;
            self.end += read as u64;
            unchecked += read as u64;
            if unchecked >= STEP_BYTES {
                unchecked = 0;
                let free = rustix::fs::fstatvfs(&*file).map_err(|why| spool(why.into()))?;
                if free.f_bavail.saturating_mul(free.f_frsize) < reserve {
                    let (what, dir) = (name.to_owned(), dir.to_owned());
                    return Err(InputError::SpoolFull { what, dir, copied: self.end - start, reserve });
                }
            }
        }
    }

    /// The file with all copies, if there are any.
    pub(super) fn into_file(self) -> Option<File> {
        self.file
    }
}

/// A file that can later be given a name, by a job that outlives its process, if the file system supports that.
fn unnamed(dir: &Path) -> io::Result<File> {
    private::create_folder(dir)?;
    // Piped input is private to its user, whatever name the file gets.
    unnamed_in(dir, private::FILE_MODE).or_else(|_| tempfile::tempfile_in(dir))
}
