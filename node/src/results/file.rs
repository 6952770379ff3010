//! A file that is whole or not there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::advice::for_disk;
use crate::platform::unnamed;
use crate::terminal::shell_word;

/// Rights of a new file, of which the system takes away what the user's umask says.
const NEW_FILE_MODE: u32 = 0o666;
/// Links that lead on to links: as many as Linux follows.
const LINKS: u32 = 40;

/// Why a result file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// There is no folder for it.
    #[error("cannot write {}: there is no folder {}; make it (mkdir -p {}) or choose another file with -o", path.display(), folder.display(), quoted(folder))]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// The folder that it should lie in.
        folder: PathBuf,
    },
    /// It is a folder, or named as one.
    #[error("cannot write {}: that is a folder; name a file in it, such as -o {}", path.display(), quoted(&path.join("result.tsv")))]
    IsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// No name at all.
    #[error("-o needs the name of a file, or - for standard output")]
    NoName,
    /// Anything else.
    #[error("cannot write {}: {source}; {}", path.display(), for_disk(source, "choose another file with -o"))]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn quoted(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

/// A file being written. It gets its name when it is [finished](Self::finish). Until then it has none where the file
/// system allows that, and otherwise lies beside its place and is removed when this is dropped, even while another
/// thread still [writes](Self::writer).
///
/// A place that is taken by something else than a file (a pipe, a device, `/dev/stdout`) is written to directly.
#[derive(Debug)]
pub struct OutputFile {
    /// As it was named.
    path: PathBuf,
    /// Where that leads.
    target: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// To be named, in the place of what was there before.
    Unnamed(File),
    /// The same on file systems that have no files without a name.
    Part(NamedTempFile),
    /// To be copied into a file in whose folder no other can be made.
    Copied(File),
    Direct(File),
}

/// Where a path leads, links followed.
enum Target {
    /// A file, or a place where there is nothing yet.
    Path(PathBuf),
    /// A file that a process has open, under the name that the system has for it.
    Opened(PathBuf),
}

impl OutputFile {
    /// Creates the file `path`, and fails at once if it cannot be created. A symbolic link is followed, whether its
    /// target exists or not. Opening a named pipe waits for its reader.
    ///
    /// # Errors
    /// Whatever is in the way, and what to do about it.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
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
                let kind = begin(&target).map_err(failed)?;
                (target, kind)
            }
        };
        Ok(Self { path: path.to_owned(), target, kind })
    }

    /// Where the file will lie: absolute, without links.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where to write.
    ///
    /// # Errors
    /// Where the system has no further handle to give.
    pub fn writer(&self) -> Result<File, OutputError> {
        let file = match &self.kind {
            Kind::Part(part) => part.as_file(),
            Kind::Unnamed(file) | Kind::Copied(file) | Kind::Direct(file) => file,
        };
        file.try_clone().map_err(|source| self.error(source))
    }

    /// The error for what the system said of a [writer](Self::writer).
    pub fn error(&self, source: io::Error) -> OutputError {
        OutputError::System { path: self.path.clone(), source }
    }

    /// Whether it goes to a reader that may stop early, such as the other end of a pipe.
    pub fn is_direct(&self) -> bool {
        matches!(self.kind, Kind::Direct(_))
    }

    /// Gives the file its name, in the place of what had it before.
    ///
    /// # Errors
    /// Whatever the system says.
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

/// Follows links, but for those that mean what a process has open: of these the system alone knows where they lead.
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
    Err(failed(io::Error::other("it is a link that leads in a circle")))
}

/// What a process has open. A file is appended to: nothing that is there already is lost.
fn opened(path: &Path) -> io::Result<File> {
    // A socket cannot be opened by its name, and what this process writes to has no need of it.
    if fs::canonicalize("/proc/self/fd").is_ok_and(|own| path.parent() == Some(&own)) {
        match path.file_name().map(OsStrExt::as_bytes) {
            Some(b"1") => return Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Some(b"2") => return Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
            _ => {}
        }
    }
    OpenOptions::new().append(true).open(path)
}

fn begin(target: &Path) -> io::Result<Kind> {
    let there = match fs::metadata(target) {
        Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(meta) if !meta.is_file() => return Ok(Kind::Direct(OpenOptions::new().write(true).open(target)?)),
        Ok(meta) => {
            // A file that may not be written shall not be replaced either.
            OpenOptions::new().write(true).open(target)?;
            Some(meta.permissions())
        }
        Err(_) => None,
    };
    let folder = folder_of(target);
    let begun = match unnamed::unnamed_in(folder) {
        Ok(file) => set_rights(&file, &there).map(|()| Kind::Unnamed(file)),
        Err(_) => part().permissions(Permissions::from_mode(NEW_FILE_MODE)).tempfile_in(folder).and_then(|part| {
            set_rights(part.as_file(), &there)?;
            Ok(Kind::Part(part))
        }),
    };
    match (begun, there) {
        // The folder takes no new file, but the one that is there can be written.
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

/// A name for a file that is not whole yet: short, so that a result's own name may be as long as any.
fn part() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".webmesh-").suffix(".part");
    builder
}

/// Names a file that has no name. A name that is taken is replaced in one step, by way of another beside it.
fn place(file: &File, target: &Path) -> io::Result<()> {
    let folder = folder_of(target);
    let named = part().make_in(folder, |path| unnamed::name(file, path))?;
    named.persist(target).map(drop).map_err(|why| why.error)
}

/// What cannot be replaced (a file that is mounted on its own, one of another user in a shared folder) can often still
/// be written; `why` it cannot be replaced is the error where there is no such file.
fn copy_over(file: &File, target: &Path, why: io::Error) -> io::Result<()> {
    if target.is_file() { copy(file, target) } else { Err(why) }
}

fn copy(mut from: &File, target: &Path) -> io::Result<()> {
    from.rewind()?;
    let mut to = OpenOptions::new().write(true).truncate(true).open(target)?;
    io::copy(&mut from, &mut to)?;
    to.flush()
}
