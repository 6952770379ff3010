//! INPUT arguments to files.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Options;
use super::error::InputError;
use super::parallel;
use crate::platform::FileList;

/// The argument that means standard input.
const STDIN: &str = "-";
/// So many files are asked for their size at a time, for each takes but a microsecond.
const MEASURED_TOGETHER: usize = 256;

/// Lists the files that the arguments name, with their sizes.
pub(super) fn list(inputs: &[PathBuf], options: &Options) -> Result<FileList, InputError> {
    let mut files = FileList::default();
    let mut stdin = false;
    for path in inputs {
        if path.as_os_str() == STDIN {
            if std::mem::replace(&mut stdin, true) {
                return Err(InputError::StdinTwice);
            }
            spool(&mut files, "standard input", &mut io::stdin().lock(), &options.spool_dir)?;
            continue;
        }
        let kind = fs::metadata(path).map_err(|e| unreadable(path, e))?;
        if kind.is_dir() {
            let before = files.len();
            folder(&mut files, &mut path.clone())?;
            if files.len() == before {
                return Err(InputError::NoFiles { path: path.clone() });
            }
        } else if kind.is_file() {
            files.add(path);
        } else {
            let mut pipe = File::open(path).map_err(|e| unreadable(path, e))?;
            spool(&mut files, &path.display().to_string(), &mut pipe, &options.spool_dir)?;
        }
    }
    measure(&mut files, options.threads)?;
    Ok(files)
}

/// Asks for the sizes of all files that have a name.
fn measure(files: &mut FileList, threads: usize) -> Result<(), InputError> {
    let listed = &*files;
    let sizes = parallel::map(
        listed.len().div_ceil(MEASURED_TOGETHER),
        threads,
        || (),
        |(), i| {
            let first = i * MEASURED_TOGETHER;
            let together = first..(first + MEASURED_TOGETHER).min(listed.len());
            together
                .map(|i| listed.measure(i).map_err(|e| unreadable(listed.path(i), e)))
                .collect::<Result<Vec<u64>, _>>()
        },
    )?;
    files.set_sizes(sizes.into_iter().flatten());
    Ok(())
}

fn unreadable(path: &Path, source: io::Error) -> InputError {
    InputError::Unreadable { path: path.to_owned(), source }
}

/// Adds what is in the folder `path`, which is as it was again when this returns.
fn folder(files: &mut FileList, path: &mut PathBuf) -> Result<(), InputError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(&*path).map_err(|e| unreadable(path, e))? {
        let entry = entry.map_err(|e| unreadable(path, e))?;
        let name = entry.file_name();
        if !name.as_bytes().starts_with(b".") {
            let kind = entry.file_type().map_err(|e| unreadable(&entry.path(), e))?;
            entries.push((name, kind));
        }
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for (name, kind) in entries {
        path.push(name);
        if kind.is_dir() {
            folder(files, path)?;
        } else if kind.is_file() || kind.is_symlink() && leads_to_file(path)? {
            files.add(path);
        }
        path.pop();
    }
    Ok(())
}

fn leads_to_file(path: &Path) -> Result<bool, InputError> {
    Ok(fs::metadata(path).map_err(|e| unreadable(path, e))?.is_file())
}

/// Copies what can be read only once to a file without a name, of which nothing is left however this ends.
fn spool(files: &mut FileList, name: &str, from: &mut dyn io::Read, dir: &Path) -> Result<(), InputError> {
    let mut copy = || {
        fs::create_dir_all(dir)?;
        let mut file = tempfile::tempfile_in(dir)?;
        let size = io::copy(from, &mut file)?;
        Ok((file, size))
    };
    let (file, size) =
        copy().map_err(|source| InputError::Spool { what: name.to_owned(), dir: dir.to_owned(), source })?;
    files.add_spooled(name, file, size);
    Ok(())
}
