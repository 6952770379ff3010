//! A tab cannot spill: it has no disk.

use std::convert::Infallible;
use std::io;
use std::path::Path;

/// What the user can do if there is no room.
pub const SPILL_ADVICE: &str = "a tab has no disk for more: submit it from a terminal, or let nodes shuffle for it";

/// A file that never exists.
#[derive(Debug)]
pub struct Spill(Infallible);

impl Spill {
    /// Makes no file.
    ///
    /// # Errors
    /// Always: there is no disk.
    pub fn create(_: &Path) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::OutOfMemory, "the tab's memory limit is reached"))
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        match self.0 {}
    }
}
