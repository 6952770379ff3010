//! Where memory is short: a tab has nothing else.

use std::convert::Infallible;
use std::io;
use std::path::Path;

/// What to do where there is no room.
pub const SPILL_ADVICE: &str = "a tab has no disk for more: submit it from a terminal, or let nodes shuffle for it";

/// A file that there is none of.
#[derive(Debug)]
pub struct Spill(Infallible);

impl Spill {
    /// Makes no file.
    ///
    /// # Errors
    /// Always: there is no disk.
    pub fn create(_: &Path) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::OutOfMemory, "it is full"))
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
