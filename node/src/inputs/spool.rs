//! Copies of what can be read only once.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::InputError;
use crate::platform::unnamed::unnamed_in;

/// Bytes that a copy leaves free on its disk, which the job's own data and the rest of the machine need: an input
/// without end must not fill it.
pub(super) const RESERVE_BYTES: u64 = 1 << 30;
/// How much is copied between two looks at what is free.
const STEP_BYTES: u64 = 32 << 20;
/// What is read at a time: twice what a pipe of Linux holds.
const BUFFER_BYTES: usize = 128 * 1024;

/// A file without a name, of which nothing is left however the process ends. Made at the first need.
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

    /// Copies all of `from`. Says where the copy begins and how many bytes it has.
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

/// A file that a job which outlives its process may give a name, where the file system has such files.
fn unnamed(dir: &Path) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    match unnamed_in(dir) {
        Ok(file) => {
            // What is piped in is nobody else's to read, whatever name it gets.
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok(file)
        }
        Err(_) => tempfile::tempfile_in(dir),
    }
}
