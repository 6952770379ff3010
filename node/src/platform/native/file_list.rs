//! The files that a job reads, in a compact list: a few bytes for each besides its name.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Files in the order of their documents.
#[derive(Debug, Default)]
pub struct FileList {
    /// All paths, concatenated.
    names: Vec<u8>,
    list: Vec<Listed>,
    /// Copies, one after another, of inputs that can be read only once or that report too small a size.
    spool: Option<File>,
    /// Offsets of copies in the spool, by the files' indexes in the list.
    copies: BTreeMap<u32, u64>,
}

#[derive(Debug)]
struct Listed {
    name_end: usize,
    size: u64,
}

/// A file's reported size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// This many bytes can be read.
    Bytes(u64),
    /// The reported size is wrong, as in `/proc`, `/sys` and some FUSE file systems: the file has to be read to its
    /// end.
    Wrong,
}

/// An open file of a list.
#[derive(Debug)]
pub enum OpenFile<'a> {
    /// Opened for this use.
    Named(File),
    /// The spool, which stays open, and the offset of the copy.
    Copy(&'a File, u64),
}

impl OpenFile<'_> {
    /// Fills `buf`, starting at `offset`.
    ///
    /// # Errors
    /// An I/O error, or `UnexpectedEof` if the file is shorter.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Named(file) => file.read_exact_at(buf, offset),
            Self::Copy(file, start) => file.read_exact_at(buf, start + offset),
        }
    }
}

impl FileList {
    /// Adds a file, whose size is not known yet.
    pub fn add(&mut self, path: &Path) {
        self.names.extend_from_slice(path.as_os_str().as_bytes());
        self.list.push(Listed { name_end: self.names.len(), size: 0 });
    }

    /// Adds a copy in the spool, `size` bytes at `start`; `name` is its name for the user.
    pub fn add_copy(&mut self, name: &str, start: u64, size: u64) {
        self.copies.insert(self.list.len() as u32, start);
        self.names.extend_from_slice(name.as_bytes());
        self.list.push(Listed { name_end: self.names.len(), size });
    }

    /// The file that holds all copies.
    pub fn set_spool(&mut self, spool: File) {
        self.spool = Some(spool);
    }

    /// Notes that file `i` was copied to the spool, `size` bytes at `start`.
    pub fn set_copy(&mut self, i: usize, start: u64, size: u64) {
        self.copies.insert(i as u32, start);
        self.list[i].size = size;
    }

    /// Sets the size of file `i`, in bytes.
    pub fn set_size(&mut self, i: usize, size: u64) {
        self.list[i].size = size;
    }

    /// Removes files from the list; `which` are their indexes, in order.
    pub fn remove(&mut self, which: &[usize]) {
        let mut kept = Self { spool: self.spool.take(), ..Self::default() };
        for i in (0..self.len()).filter(|i| which.binary_search(i).is_err()) {
            kept.add(self.path(i));
            let last = kept.len() - 1;
            kept.list[last].size = self.size(i);
            if let Some(&start) = self.copies.get(&(i as u32)) {
                kept.copies.insert(last as u32, start);
            }
        }
        *self = kept;
    }

    /// Asks for the size of file `i`, in bytes. A suspicious answer is checked by reading.
    ///
    /// # Errors
    /// An I/O error.
    pub fn measure(&self, i: usize) -> io::Result<Measured> {
        if self.copies.contains_key(&(i as u32)) {
            return Ok(Measured::Bytes(self.size(i)));
        }
        let path = self.path(i);
        let meta = fs::metadata(path)?;
        // Real file systems allocate blocks for a file with content, unless it is sparse.
        if meta.len() > 0 && meta.blocks() > 0 && !is_in_user_space(path, &meta) {
            return Ok(Measured::Bytes(meta.len()));
        }
        let file = File::open(path)?;
        let size = meta.len();
        let holds = |offset: u64| Ok::<_, io::Error>(read_at(&file, offset)? > 0);
        if (size == 0 || holds(size - 1)?) && !holds(size)? {
            return Ok(Measured::Bytes(size));
        }
        // It may have changed just now, which is not a wrong size.
        let now = file.metadata()?.len();
        Ok(if now == size { Measured::Wrong } else { Measured::Bytes(now) })
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The size of file `i` as set before, in bytes.
    pub fn size(&self, i: usize) -> u64 {
        self.list[i].size
    }

    /// The name of file `i` for the user: its path.
    pub fn name(&self, i: usize) -> String {
        self.path(i).display().to_string()
    }

    /// The path of file `i`.
    pub fn path(&self, i: usize) -> &Path {
        let start = i.checked_sub(1).map_or(0, |before| self.list[before].name_end);
        Path::new(OsStr::from_bytes(&self.names[start..self.list[i].name_end]))
    }

    /// Offset of the copy of file `i` in the spool; `None` for a file that is read in place.
    pub fn copy_of(&self, i: usize) -> Option<u64> {
        self.copies.get(&(i as u32)).copied()
    }

    /// The file that holds all copies, if there are any.
    pub fn spool(&self) -> Option<&File> {
        self.spool.as_ref()
    }

    /// Opens file `i`.
    ///
    /// # Errors
    /// An I/O error.
    pub fn open(&self, i: usize) -> io::Result<OpenFile<'_>> {
        match self.copies.get(&(i as u32)).zip(self.spool.as_ref()) {
            Some((&start, spool)) => Ok(OpenFile::Copy(spool, start)),
            None => File::open(self.path(i)).map(OpenFile::Named),
        }
    }
}

/// Reads one byte, if there is one; returns the number of bytes read.
fn read_at(file: &File, offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(&mut [0], offset) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Whether the file is on a FUSE file system, whose program may report any size.
#[cfg(target_os = "linux")]
fn is_in_user_space(path: &Path, meta: &fs::Metadata) -> bool {
    /// `FUSE_SUPER_MAGIC` of `linux/magic.h`.
    const FUSE: u32 = 0x6573_5546;
    // Only file systems without a device need the call.
    rustix::fs::major(meta.dev()) == 0 && rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type as u32 == FUSE)
}

#[cfg(not(target_os = "linux"))]
fn is_in_user_space(_: &Path, _: &fs::Metadata) -> bool {
    false
}
