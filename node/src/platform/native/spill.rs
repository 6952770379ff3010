//! Where memory is short: a file without a name, of which nothing is left however the process ends. What shall outlive
//! the process lies in a file that has one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What to do where there is no room.
pub const SPILL_ADVICE: &str =
    "free some space there, choose another disk with --data, or give this peer more memory with --memory";

/// The file.
#[derive(Debug)]
pub struct Spill(File);

impl Spill {
    /// A file on the disk of `dir`, which is made if need be.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn create(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        tempfile::tempfile_in(dir).map(Self)
    }

    /// A file that is open for reading and writing.
    pub fn of(file: File) -> Self {
        Self(file)
    }

    /// Returns once what was written survives the loss of power.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Whatever the system says: a full disk, above all.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
}
