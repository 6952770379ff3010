//! A result file that appears under its name only when it is complete.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::advice::for_disk;
use crate::platform::{private, unnamed};
use crate::terminal::shell_word;

/// Permissions of a new file, from which the system subtracts the user's umask.
const NEW_FILE_MODE: u32 = 0o666;
/// Maximum number of chained links: as many as Linux follows.
const LINKS: u32 = 40;

/// Why a result file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Its folder does not exist.
    #[error("cannot write {}: there is no folder {}; make it (mkdir -p {}) or choose another file with -o", path.display(), folder.display(), quoted(folder))]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// The folder that it should be in.
        folder: PathBuf,
    },
    /// It is a folder, or its name ends like one.
    #[error("cannot write {}: that is a folder; name a file in it, such as -o {}", path.display(), quoted(&path.join("result.tsv")))]
    IsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// There is no name.
    #[error("-o needs the name of a file, or - for standard output")]
    NoName,
    /// Anything else.
    #[error("cannot write {}: {source}; {}", path.display(), for_disk(source, "choose another file with -o"))]
    System {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

fn quoted(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

/// A file being written. It gets its name when it is [finished](Self::finish). Until then it has none if the file
/// system allows that; otherwise it is next to its destination and is removed when this is dropped, even while another
/// thread still [writes](Self::writer).
///
/// A destination that is not a regular file (a pipe, a device, `/dev/stdout`) is written to directly.
#[derive(Debug)]
pub struct OutputFile {
    /// The path as given.
    path: PathBuf,
    /// The path with links resolved.
    target: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// An unnamed file, to replace what was there before.
    Unnamed(File),
    /// The same on file systems without unnamed files.
    Part(NamedTempFile),
    /// To be copied into a file whose folder does not accept a new one.
    Copied(File),
    Direct(File),
}

/// The destination of a path, after following links.
enum Target {
    /// A file, or a path where nothing exists yet.
    Path(PathBuf),
    /// A file that a process has open, under the system's name for it.
    Opened(PathBuf),
}

impl OutputFile {
    /// Creates the file `path`, and fails at once if it cannot be created. A symbolic link is followed, whether its
    /// target exists or not. Opening a named pipe waits for its reader.
    ///
    /// # Errors
    /// Anything that prevents it, with advice.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        Self::create_with(path, NEW_FILE_MODE)
    }

    /// The same for a file that only its owner may read.
    ///
    /// # Errors
    /// Anything that prevents it, with advice.
    pub fn create_private(path: &Path) -> Result<Self, OutputError> {
        Self::create_with(path, private::FILE_MODE)
    }

    fn create_with(path: &Path, mode: u32) -> Result<Self, OutputError> {
        if path.as_os_str().is_empty() {
            return Err(OutputError::NoName);
        }
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::IsADirectory => OutputError::IsFolder { path: path.to_owned() },
            _ => OutputError::System { path: path.to_owned(), source },
        };
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(OutputError::IsFolder { path: path.to_owned() });
        }
        let (target, kind) = match resolve(path)? {
            Target::Opened(target) => (target.clone(), Kind::Direct(opened(&target).map_err(failed)?)),
            Target::Path(target) => {
                let kind = begin(&target, mode).map_err(failed)?;
                (target, kind)
            }
        };
        Ok(Self { path: path.to_owned(), target, kind })
    }

    /// The path of the finished file: absolute, without links.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A handle for writing.
    ///
    /// # Errors
    /// Fails if the system has no more handles.
    pub fn writer(&self) -> Result<File, OutputError> {
        let file = match &self.kind {
            Kind::Part(part) => part.as_file(),
            Kind::Unnamed(file) | Kind::Copied(file) | Kind::Direct(file) => file,
        };
        file.try_clone().map_err(|source| self.error(source))
    }

    /// The error for an I/O error of a [writer](Self::writer).
    pub fn error(&self, source: io::Error) -> OutputError {
        OutputError::System { path: self.path.clone(), source }
    }

    /// Whether its reader may stop early, such as the other end of a pipe.
    pub fn is_direct(&self) -> bool {
        matches!(self.kind, Kind::Direct(_))
    }

    /// Gives the file its name, replacing what had it before.
    ///
    /// # Errors
    /// An I/O error.
    pub fn finish(self) -> Result<(), OutputError> {
        let Self { path, target, kind } = self;
        let done = match kind {
            Kind::Direct(_) => Ok(()),
            Kind::Part(part) => match part.persist(&target) {
                Ok(_) => Ok(()),
                Err(why) => copy_over(why.file.as_file(), &target, why.error),
            },
            Kind::Unnamed(file) => place(&file, &target).or_else(|why| copy_over(&file, &target, why)),
            Kind::Copied(file) => copy(&file, &target),
        };
        done.map_err(|source| OutputError::System { path, source })
    }
}

/// Follows links, except those that stand for what a process has open: only the system knows what these refer to.
fn resolve(path: &Path) -> Result<Target, OutputError> {
    let failed = |source| OutputError::System { path: path.to_owned(), source };
    let mut here = path.to_owned();
    for _ in 0..LINKS {
        let Some(name) = here.file_name() else { return Err(OutputError::IsFolder { path: path.to_owned() }) };
        let folder = here.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let real = match fs::canonicalize(folder) {
            Ok(real) if real.is_dir() => real,
            Ok(_) => return Err(failed(io::ErrorKind::NotADirectory.into())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Err(OutputError::NoFolder { path: path.to_owned(), folder: folder.to_owned() });
            }
            Err(why) => return Err(failed(why)),
        };
        let at = real.join(name);
        if real.starts_with("/proc") && real.ends_with("fd") {
            return Ok(Target::Opened(at));
        }
        match fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_symlink() => here = real.join(fs::read_link(&at).map_err(failed)?),
            Ok(_) => return Ok(Target::Path(at)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Target::Path(at)),
            Err(why) => return Err(failed(why)),
        }
    }
    Err(failed(io::Error::other("too many levels of symbolic links")))
}

/// Opens what a process has open. A file is appended to: existing content is kept.
fn opened(path: &Path) -> io::Result<File> {
    // A socket cannot be opened by its name, and what this process writes to need not be.
    if fs::canonicalize("/proc/self/fd").is_ok_and(|own| path.parent() == Some(&own)) {
        match path.file_name().map(OsStrExt::as_bytes) {
            Some(b"1") => return Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Some(b"2") => return Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
            _ => {}
        }
    }
    OpenOptions::new().append(true).open(path)
}

/// `mode`: permissions of a new file, less the user's umask.
fn begin(target: &Path, mode: u32) -> io::Result<Kind> {
    let there = match fs::metadata(target) {
        Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(meta) if !meta.is_file() => return Ok(Kind::Direct(OpenOptions::new().write(true).open(target)?)),
        Ok(meta) => {
            // A file that may not be written must not be replaced either.
            OpenOptions::new().write(true).open(target)?;
            Some(meta.permissions())
        }
        Err(_) => None,
    };
    let folder = folder_of(target);
    let begun = match unnamed::unnamed_in(folder, mode) {
        Ok(file) => set_rights(&file, &there).map(|()| Kind::Unnamed(file)),
        Err(_) => part().permissions(Permissions::from_mode(mode)).tempfile_in(folder).and_then(|part| {
            set_rights(part.as_file(), &there)?;
            Ok(Kind::Part(part))
        }),
    };
    match (begun, there) {
        // The folder does not accept a new file, but the existing one can be written.
        (Err(_), Some(_)) => Ok(Kind::Copied(tempfile::tempfile()?)),
        (begun, _) => begun,
    }
}

fn set_rights(file: &File, rights: &Option<Permissions>) -> io::Result<()> {
    rights.as_ref().map_or(Ok(()), |rights| file.set_permissions(rights.clone()))
}

fn folder_of(target: &Path) -> &Path {
    target.parent().unwrap_or(Path::new("/"))
}

/// A name for a file that is not complete yet: short, so that the result's own name may have any length.
fn part() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".webmesh-").suffix(".part");
    builder
}

/// Names an unnamed file. An existing file of that name is replaced atomically, by renaming a second name.
fn place(file: &File, target: &Path) -> io::Result<()> {
    let folder = folder_of(target);
    let named = part().make_in(folder, |path| unnamed::name(file, path))?;
    named.persist(target).map(drop).map_err(|why| why.error)
}

/// Writes into a file that cannot be replaced (one that is a mount point, or belongs to another user in a shared
/// folder); `why` it cannot be replaced is the error if there is no such file.
fn copy_over(file: &File, target: &Path, why: io::Error) -> io::Result<()> {
    if target.is_file() { copy(file, target) } else { Err(why) }
}

fn copy(mut from: &File, target: &Path) -> io::Result<()> {
    from.rewind()?;
    let mut to = OpenOptions::new().write(true).truncate(true).open(target)?;
    io::copy(&mut from, &mut to)?;
    to.flush()
}
