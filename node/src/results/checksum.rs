//! A checksum of written data, to detect later changes.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The blake3 hash of everything written through its [`writer`](Self::writer).
#[derive(Clone, Debug, Default)]
pub struct Checksum(Arc<Mutex<blake3::Hasher>>);

impl Checksum {
    /// A writer to `out` that also hashes what it writes.
    pub fn writer<W: Write>(&self, out: W) -> impl Write + use<W> {
        Summed { out, sum: self.clone() }
    }

    /// The checksum as hexadecimal digits.
    pub fn text(&self) -> String {
        self.lock().finalize().to_string()
    }

    /// The checksum of a file, read to its end.
    ///
    /// # Errors
    /// An I/O error.
    pub fn of_file(path: &Path) -> io::Result<String> {
        let mut hasher = blake3::Hasher::new();
        Ok(hasher.update_reader(File::open(path)?)?.finalize().to_string())
    }

    fn lock(&self) -> MutexGuard<'_, blake3::Hasher> {
        // If another holder panics, its write has ended, too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Summed<W> {
    out: W,
    sum: Checksum,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.lock().update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_checksum_of_the_written_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sum = Checksum::default();
        let mut out = sum.writer(file.reopen().unwrap());
        out.write_all(b"one").unwrap();
        out.write_all(b"two").unwrap();
        assert_eq!(Checksum::of_file(file.path()).unwrap(), sum.text());
        std::fs::write(file.path(), "onetwp").unwrap();
        assert_ne!(Checksum::of_file(file.path()).unwrap(), sum.text());
    }
}
