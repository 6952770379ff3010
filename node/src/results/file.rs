//! A file that is whole or not there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Rights of a new file, of which the system takes away what the user's umask says.
const NEW_FILE_MODE: u32 = 0o666;

/// Why a result file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; free some space there or choose another file with -o", path.display())]
pub struct OutputError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// A file being written. It gets its name when it is [finished](Self::finish); until then it lies beside its
/// place under a name of its own, and is removed when this is dropped, even while another thread still
/// [writes](Self::writer).
///
/// A place that is taken by something else than a file (a pipe, `/dev/stdout`) is written to directly.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Part(NamedTempFile),
    Direct(File),
}

impl OutputFile {
    /// Begins a file that is to be named `path`. Fails early where no file can be.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        // A link stays one, and the file that it leads to is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let kind = Self::open(&target).map_err(|source| OutputError { path: path.to_owned(), source })?;
        Ok(Self { path: target, kind })
    }

    fn open(path: &Path) -> io::Result<Kind> {
        let mode = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(meta) if !meta.is_file() => return Ok(Kind::Direct(OpenOptions::new().write(true).open(path)?)),
            Ok(meta) => {
                // A file that may not be written shall not be replaced either.
                OpenOptions::new().write(true).open(path)?;
                meta.permissions()
            }
            Err(_) => Permissions::from_mode(NEW_FILE_MODE),
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let part = Builder::new().prefix(&prefix).suffix(".part").permissions(mode).tempfile_in(folder)?;
        Ok(Kind::Part(part))
    }

    /// Where to write.
    ///
    /// # Errors
    /// Where the system has no further handle to give.
    pub fn writer(&self) -> Result<File, OutputError> {
        let file = match &self.kind {
            Kind::Part(part) => part.as_file(),
            Kind::Direct(file) => file,
        };
        file.try_clone().map_err(|source| OutputError { path: self.path.clone(), source })
    }

    /// Gives the file its name, in the place of what had it before.
    pub fn finish(self) -> Result<(), OutputError> {
        match self.kind {
            Kind::Part(part) => {
                part.persist(&self.path).map(drop).map_err(|e| OutputError { path: self.path, source: e.error })
            }
            Kind::Direct(_) => Ok(()),
        }
    }
}
