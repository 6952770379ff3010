//! The folder from which a job can be resumed after its process was killed: `jobs/JOB` in the data folder.
//!
//! It is created before the job is announced, and removed once the job's result is written or the job is cancelled:
//!
//! - `record`: how the job was submitted, the key of its home, and the files that it reads (see [`Record`]).
//! - `module.wasm`: the compiled job.
//! - `copies`: piped input, if there was any.
//! - `decisions`: the log of its authority (see [`crate::store::decisions`]).
//! - `results`: the outputs of its last stage so far (see [`crate::results`]).
//! - `lock`: locked by the process that runs the job, which reliably shows whether that process is alive.
//!
//! The owner's key is not copied; it stays in `owner` of the data folder.

mod record;
mod stopped;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use webmesh_protocol::JobId;

use crate::advice::for_disk;
use crate::platform::{FileList, files, private, unnamed};
use crate::results::ResultStore;

pub use self::record::{Cutting, Origin, Record};
pub use self::stopped::{Loaded, Stopped, stages, stopped};

/// Retention time of a stopped job after its last decision, and of a detached job's result.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Retention time of incomplete folders of a process killed while creating or removing them: longer than either takes.
const STRAY_LIFETIME: Duration = Duration::from_secs(3600);
/// Name prefix of folders that are being created.
const NEW: &str = "new-";
/// Name prefix of folders that are being removed.
const OLD: &str = "old-";

const RECORD: &str = "record";
const MODULE: &str = "module.wasm";
const COPIES: &str = "copies";
const RESULTS: &str = "results";
const LOCK: &str = "lock";

/// Why a job's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no such job.
    #[error("no stopped job `{wanted}` in {}; `webmesh resume` without an id lists the stopped jobs", dir.display())]
    NotFound {
        /// The given id or beginning of one.
        wanted: String,
        /// The folder that was searched.
        dir: PathBuf,
    },
    /// Several jobs match.
    #[error("the ids of several stopped jobs begin with `{wanted}`; give more of the id")]
    Ambiguous {
        /// The beginning of their ids.
        wanted: String,
    },
    /// A process is running the job.
    #[error("job {job} is running in another process on this machine")]
    InUse {
        /// The job.
        job: JobId,
    },
    /// A file is damaged.
    #[error(
        "{} is damaged ({what}), and job {job} cannot be resumed without it: submit the job again, and remove the \
         files of this one with `webmesh resume {} --discard`", path.display(), job.short()
    )]
    Damaged {
        /// The job.
        job: JobId,
        /// The file.
        path: PathBuf,
        /// What is damaged.
        what: String,
    },
    /// An I/O error.
    #[error("cannot use {}: {source}; {}", path.display(), for_disk(source, "choose another folder with --data"))]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The folder of all jobs' folders, within a data folder.
pub fn all(data_dir: &Path) -> PathBuf {
    data_dir.join("jobs")
}

/// The folder of a job, locked until this is dropped.
#[derive(Debug)]
pub struct JobFolder {
    job: JobId,
    path: PathBuf,
    _lock: File,
}

impl JobFolder {
    /// Creates the folder of a job that is about to be submitted, and an empty store for its results. The folder
    /// outlives this process; it is synced with the first decisions of the job (see [`crate::store::decisions`]).
    /// `list` holds the files that the job reads.
    ///
    /// # Errors
    /// An I/O error; no folder is left behind.
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
        private::create_folder(&all).map_err(failed(&all))?;
        // Accessible to its owner only: it holds a key.
        let new = private::temporary_folder().prefix(NEW).tempdir_in(&all).map_err(failed(&all))?;
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
        // Renamed, so it must not be removed under its old name on drop.
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

    /// Finds the folder of the stopped job whose id begins with `wanted`.
    ///
    /// # Errors
    /// No job or several jobs match, or a process is running the job.
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

    /// The data folder that contains this folder.
    pub fn data_dir(&self) -> &Path {
        self.path.ancestors().nth(2).unwrap_or(Path::new(""))
    }

    /// The job's id.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Removes the folder: the job's result is written, or the job is cancelled or discarded.
    ///
    /// # Errors
    /// An I/O error.
    pub fn remove(self) -> Result<(), FolderError> {
        remove(&self.path)
    }
}

/// Whether the folder of a job exists and no process is running the job.
pub fn is_stopped(data_dir: &Path, job: &str) -> bool {
    matches!(JobFolder::find(data_dir, job), Ok(folder) if folder.job.to_string() == job)
}

/// Removes folders past their retention time, including incomplete ones of killed processes.
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
            tracing::warn!("cannot remove the folder of a stopped job: {why}");
        }
    }
}

/// The folders of jobs; none if `dir` does not exist.
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
        // Renamed first, atomically: a partly removed folder would look like a damaged job.
        false => fs::rename(path, &old).and_then(|()| fs::remove_dir_all(&old)),
    };
    removed.map_err(|source| FolderError::Disk { path: path.to_owned(), source })
}

/// Writes a new file, readable by its owner only.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)
}

/// Gives the file with copies of inputs a name: links it if possible, otherwise copies it.
fn keep_copies(copies: &File, path: &Path) -> io::Result<()> {
    if unnamed::name(copies, path).is_ok() {
        return Ok(());
    }
    let mut file = private::options().write(true).create_new(true).open(path)?;
    io::copy(&mut ReadAt { file: copies, at: 0 }, &mut file).map(drop)
}

/// Reads a file from its beginning, independently of other readers' positions.
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
