//! The folder of a job that goes on when its process was killed: `jobs/JOB` in the data folder.
//!
//! It is made before anybody hears of the job, and removed once its result is written or nobody wants it any more:
//!
//! - `record`: how the job was submitted, the key of its home, and the files that it reads (see [`Record`]).
//! - `module.wasm`: the compiled job.
//! - `copies`: what was piped in, where something was.
//! - `decisions`: the log of its authority (see [`crate::store::decisions`]).
//! - `results`: what its last stage has given so far (see [`crate::results`]).
//! - `lock`: locked by the process that carries the job, so that whether it lives is never a guess.
//!
//! The owner's key stays where it is, in `owner` of the data folder.

mod record;
mod stopped;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use webmesh_protocol::JobId;

use crate::advice::for_disk;
use crate::platform::{FileList, files, unnamed};
use crate::results::ResultStore;

pub use self::record::{Cutting, Origin, Record};
pub use self::stopped::{Loaded, Stopped, stages, stopped};

/// A stopped job is kept this long after its last decision: as long as the result of a detached one.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// What a killed process left of a folder that was being made or removed is removed after this time: longer than either
/// takes.
const STRAY_LIFETIME: Duration = Duration::from_secs(3600);
/// How the names of folders begin that are being made, and that are being removed.
const NEW: &str = "new-";
const OLD: &str = "old-";

const RECORD: &str = "record";
const MODULE: &str = "module.wasm";
const COPIES: &str = "copies";
const RESULTS: &str = "results";
const LOCK: &str = "lock";

/// Why the folder of a job cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is none.
    #[error("no stopped job `{wanted}` in {}; `webmesh resume` without a job lists those that are there", dir.display())]
    NotFound {
        /// The id, or its beginning.
        wanted: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There are several.
    #[error("several stopped jobs begin with `{wanted}`: type more of the id")]
    Ambiguous {
        /// The beginning of their ids.
        wanted: String,
    },
    /// A process carries the job.
    #[error("job {job} is running: a process of this machine carries it")]
    InUse {
        /// The job.
        job: JobId,
    },
    /// It does not hold what was written.
    #[error(
        "{} is damaged ({what}), and job {job} cannot go on without it: submit the job again, and remove what is left \
         of this one with `webmesh resume {} --discard`", path.display(), &job.to_string()[..8]
    )]
    Damaged {
        /// The job.
        job: JobId,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The disk.
    #[error("cannot use {}: {source}; {}", path.display(), for_disk(source, "choose another folder with --data"))]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where the folders of jobs lie in a data folder.
pub fn all(data_dir: &Path) -> PathBuf {
    data_dir.join("jobs")
}

/// The folder of a job, locked while this lives.
#[derive(Debug)]
pub struct JobFolder {
    job: JobId,
    path: PathBuf,
    _lock: File,
}

impl JobFolder {
    /// Makes the folder of a job that is about to be submitted, and an empty store for its results. It survives the end of
    /// this process; it is synced with the first decisions of the job (see [`crate::store::decisions`]). `list` are the files
    /// that the job reads.
    ///
    /// # Errors
    /// Where the disk does not take it; nothing is left then.
    pub fn create(
        data_dir: &Path,
        job: JobId,
        record: &Record,
        module: &[u8],
        list: Option<&FileList>,
    ) -> Result<(Self, ResultStore), FolderError> {
        let all = all(data_dir);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Disk { path, source }
        };
        fs::create_dir_all(&all).map_err(failed(&all))?;
        // For its owner alone: there is a key in it.
        let new = tempfile::Builder::new().prefix(NEW).tempdir_in(&all).map_err(failed(&all))?;
        let lock = lock(new.path()).and_then(|lock| lock.ok_or_else(|| io::ErrorKind::WouldBlock.into()));
        let lock = lock.map_err(failed(new.path()))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = new.path().join(name);
            write_new(&path, bytes).map_err(failed(&path))
        };
        write(MODULE, module)?;
        if let Some(copies) = list.and_then(FileList::spool) {
            let path = new.path().join(COPIES);
            keep_copies(copies, &path).map_err(failed(&path))?;
        }
        write(RECORD, &record.to_bytes())?;
        let path = all.join(job.to_string());
        fs::rename(new.path(), &path).map_err(failed(&path))?;
        // It has another name now, under which nothing removes it.
        let _ = new.keep();
        let folder = Self { job, path, _lock: lock };
        let path = folder.path.join(RESULTS);
        match ResultStore::keep(&path) {
            Ok(results) => Ok((folder, results)),
            Err(source) => {
                folder.remove()?;
                Err(FolderError::Disk { path, source })
            }
        }
    }

    /// The folder of the stopped job whose id begins with `wanted`.
    ///
    /// # Errors
    /// Where there is none, or several, or a process carries the job.
    pub fn find(data_dir: &Path, wanted: &str) -> Result<Self, FolderError> {
        let dir = all(data_dir);
        let begins = |(job, _): &(JobId, PathBuf)| !wanted.is_empty() && job.to_string().starts_with(wanted);
        let mut found: Vec<(JobId, PathBuf)> = folders(&dir).filter(begins).collect();
        match (found.pop(), found.is_empty()) {
            (Some((job, path)), true) => Self::take(job, path),
            (Some(_), false) => Err(FolderError::Ambiguous { wanted: wanted.to_owned() }),
            (None, _) => Err(FolderError::NotFound { wanted: wanted.to_owned(), dir }),
        }
    }

    fn take(job: JobId, path: PathBuf) -> Result<Self, FolderError> {
        match lock(&path) {
            Ok(Some(lock)) => Ok(Self { job, path, _lock: lock }),
            Ok(None) => Err(FolderError::InUse { job }),
            Err(source) => Err(FolderError::Disk { path, source }),
        }
    }

    /// The data folder that it lies in.
    pub fn data_dir(&self) -> &Path {
        self.path.ancestors().nth(2).unwrap_or(Path::new(""))
    }

    /// The job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Removes the folder: the job has its result, or shall have none.
    ///
    /// # Errors
    /// Whatever the system says. What is left is no job any more in any case.
    pub fn remove(self) -> Result<(), FolderError> {
        remove(&self.path)
    }
}

/// Whether something is kept of a job that no process carries.
pub fn is_stopped(data_dir: &Path, job: &str) -> bool {
    matches!(JobFolder::find(data_dir, job), Ok(folder) if folder.job.to_string() == job)
}

/// Removes what has been kept for long enough, and what killed processes left behind.
pub fn sweep(data_dir: &Path) {
    for entry in fs::read_dir(all(data_dir)).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let lifetime = match name.parse::<JobId>() {
            Ok(_) => LIFETIME,
            Err(_) if name.starts_with(NEW) || name.starts_with(OLD) => STRAY_LIFETIME,
            Err(_) => continue,
        };
        let log = fs::metadata(path.join("decisions")).or_else(|_| entry.metadata());
        let age = log.and_then(|meta| meta.modified()).map(|then| SystemTime::now().duration_since(then));
        let is_old = matches!(age, Ok(Ok(age)) if age > lifetime);
        if is_old
            && let Ok(Some(_lock)) = lock(&path)
            && let Err(why) = remove(&path)
        {
            tracing::warn!("what is left of a stopped job stays: {why}");
        }
    }
}

/// The folders of jobs; none where there never was one.
fn folders(dir: &Path) -> impl Iterator<Item = (JobId, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn lock(folder: &Path) -> io::Result<Option<File>> {
    files::lock(&folder.join(LOCK))
}

fn remove(path: &Path) -> Result<(), FolderError> {
    let mut name = std::ffi::OsString::from(OLD);
    name.push(path.file_name().unwrap_or_default());
    let old = path.with_file_name(name);
    let removed = match path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(OLD)) {
        true => fs::remove_dir_all(path),
        // In one step: half a folder would pass for a damaged job.
        false => fs::rename(path, &old).and_then(|()| fs::remove_dir_all(&old)),
    };
    removed.map_err(|source| FolderError::Disk { path: path.to_owned(), source })
}

/// Writes a file that is there to stay, for its owner alone.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Gives the copies of inputs a name: the file itself where it can have one, otherwise a copy of it.
fn keep_copies(copies: &File, path: &Path) -> io::Result<()> {
    if unnamed::name(copies, path).is_ok() {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::copy(&mut ReadAt { file: copies, at: 0 }, &mut file).map(drop)
}

/// Reads a file from its beginning, wherever others are in it.
struct ReadAt<'a> {
    file: &'a File,
    at: u64,
}

impl io::Read for ReadAt<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file, buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
