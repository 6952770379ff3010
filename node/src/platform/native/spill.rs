//! Spills data from memory to an unnamed file, of which nothing remains however the process ends. Data that must
//! outlive the process is in a named file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What the user can do if there is no room.
pub const SPILL_ADVICE: &str =
    "free some space there, choose another disk with --data, or give this peer more memory with --memory";

/// The file.
#[derive(Debug)]
pub struct Spill(File);

impl Spill {
    /// Creates a file on the disk of `dir`, which is created if necessary.
    ///
    /// # Errors
    /// An I/O error.
    pub fn create(dir: &Path) -> io::Result<Self> {
        super::private::create_folder(dir)?;
        tempfile::tempfile_in(dir).map(Self)
    }

    /// Uses a file that is open for reading and writing.
    pub fn of(file: File) -> Self {
        Self(file)
    }

    /// Syncs the file to disk.
    ///
    /// # Errors
    /// An I/O error.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// An I/O error, such as a full disk.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// Fills `buf`, starting at `offset`.
    ///
    /// # Errors
    /// An I/O error.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
}
