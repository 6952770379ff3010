//! Lists the files that the INPUT arguments stand for.

use std::collections::HashSet;
use std::fs::{self, File, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Options;
use super::error::InputError;
use super::note::{Notes, Topic};
use super::parallel;
use super::spool::{RESERVE_BYTES, Spool};
use crate::platform::{FileList, Measured};

/// The argument for standard input.
const STDIN: &str = "-";
/// Files whose sizes one thread asks for at a time: each takes only a microsecond.
const MEASURED_TOGETHER: usize = 256;

/// Lists the files that the arguments name, with their sizes.
pub(super) fn list(inputs: &[PathBuf], options: &Options, notes: &mut Notes) -> Result<FileList, InputError> {
    let mut spool = Spool::new(&options.spool_dir, RESERVE_BYTES);
    let mut walk = Walk::new(options, notes);
    let mut stdin = false;
    for path in inputs {
        if path.as_os_str() == STDIN {
            if std::mem::replace(&mut stdin, true) {
                return Err(InputError::StdinTwice);
            }
            let name = "standard input";
            let (start, size) = spool.copy(name, &mut io::stdin().lock())?;
            walk.files.add_copy(name, start, size);
            continue;
        }
        let meta = fs::metadata(path).map_err(|why| unreadable(path, why))?;
        if meta.is_dir() {
            walk.argument(path, &meta)?;
        } else if walk.is_output(path, &meta) {
            return Err(InputError::IsOutput { path: path.clone() });
        } else if meta.is_file() {
            walk.files.add(path);
        } else {
            let name = path.display().to_string();
            let mut pipe = File::open(path).map_err(|why| unreadable(path, why))?;
            let (start, size) = spool.copy(&name, &mut pipe)?;
            walk.files.add_copy(&name, start, size);
        }
    }
    let mut files = walk.files;
    measure(&mut files, options, &mut spool, notes)?;
    if let Some(spool) = spool.into_file() {
        files.set_spool(spool);
    }
    Ok(files)
}

/// Notes the sizes of all regular files, and copies those whose reported size is wrong.
fn measure(
    files: &mut FileList,
    options: &Options,
    spool: &mut Spool<'_>,
    notes: &mut Notes,
) -> Result<(), InputError> {
    let listed = &*files;
    let skip = |why: &InputError| options.skip_unreadable && matches!(why, InputError::Unreadable { .. });
    let look = |i| {
        // Files are opened in advance only if unreadable ones can be left out.
        let opened = if options.skip_unreadable { listed.open(i).map(drop) } else { Ok(()) };
        match opened.and_then(|()| listed.measure(i)).map_err(|why| unreadable(listed.path(i), why)) {
            Err(why) if skip(&why) => Ok(None),
            measured => measured.map(Some),
        }
    };
    let measured = parallel::map(
        listed.len().div_ceil(MEASURED_TOGETHER),
        options.threads.max(1),
        || (),
        |(), i| {
            let first = i * MEASURED_TOGETHER;
            let together = first..(first + MEASURED_TOGETHER).min(listed.len());
            together.map(look).collect::<Result<Vec<_>, _>>()
        },
    )?;
    let mut left_out = Vec::new();
    for (i, measured) in measured.into_iter().flatten().enumerate() {
        match measured {
            Some(Measured::Bytes(size)) => files.set_size(i, size),
            Some(Measured::Wrong) => {
                let path = files.path(i);
                let file = File::open(path).map_err(|why| unreadable(path, why));
                match file.and_then(|mut file| spool.copy(&files.name(i), &mut file)) {
                    Ok((start, size)) => files.set_copy(i, start, size),
                    Err(why) if skip(&why) => left_out.push(i),
                    Err(why) => return Err(why),
                }
            }
            None => left_out.push(i),
        }
    }
    if !left_out.is_empty() {
        left_out.iter().for_each(|&i| notes.add(Topic::Unreadable, || files.name(i)));
        files.remove(&left_out);
        if files.is_empty() {
            return Err(InputError::NothingReadable);
        }
    }
    Ok(())
}

/// The error for a path that cannot be read, or is a dangling link.
fn unreadable(path: &Path, source: io::Error) -> InputError {
    if source.kind() == io::ErrorKind::NotFound
        && let Ok(to) = fs::read_link(path)
    {
        return InputError::DeadLink { path: path.to_owned(), to };
    }
    InputError::Unreadable { path: path.to_owned(), source }
}

/// A walk through folders.
struct Walk<'a> {
    files: FileList,
    skip_unreadable: bool,
    notes: &'a mut Notes,
    /// The file that the result is written to, and its folder.
    output: Option<(Metadata, &'a Path)>,
    data: Option<Id>,
    /// Folders already read for the current argument: this breaks cycles of links, and nothing is read twice.
    seen: HashSet<Id>,
}

/// Identity of a file or folder, whatever its name: device and inode number.
type Id = (u64, u64);

fn id(meta: &Metadata) -> Id {
    (meta.dev(), meta.ino())
}

impl<'a> Walk<'a> {
    fn new(options: &'a Options, notes: &'a mut Notes) -> Self {
        let meta = |path: &Path| fs::metadata(path).ok();
        let output = options.output.as_deref().and_then(|path| Some((meta(path)?, path)));
        let data = options.data_dir.as_deref().and_then(meta).map(|meta| id(&meta));
        let (files, skip_unreadable) = (FileList::default(), options.skip_unreadable);
        Self { files, skip_unreadable, notes, output, data, seen: HashSet::new() }
    }

    /// Whether the result is written to this file. Another name of it becomes another file once the result is written.
    fn is_output(&self, path: &Path, meta: &Metadata) -> bool {
        self.output.as_ref().is_some_and(|(output, place)| {
            let is_same = id(output) == id(meta) && meta.is_file();
            is_same && (output.nlink() < 2 || fs::canonicalize(path).is_ok_and(|path| path == *place))
        })
    }

    /// Adds the content of a folder given as an argument.
    fn argument(&mut self, path: &Path, meta: &Metadata) -> Result<(), InputError> {
        let before = self.files.len();
        self.seen.clear();
        self.seen.insert(id(meta));
        self.folder(&mut path.to_owned())?;
        if self.files.len() == before {
            return Err(InputError::NoFiles { path: path.to_owned() });
        }
        Ok(())
    }

    /// Adds the content of the folder `path`, which is unchanged when this returns.
    fn folder(&mut self, path: &mut PathBuf) -> Result<(), InputError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&*path).map_err(|why| unreadable(path, why))? {
            let entry = entry.map_err(|why| unreadable(path, why))?;
            if !entry.file_name().as_bytes().starts_with(b".") {
                entries.push((entry.file_name(), entry.ino(), entry.file_type()));
            }
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, ino, kind) in entries {
            path.push(name);
            let added = kind.map_err(|why| unreadable(path, why)).and_then(|kind| self.entry(path, ino, kind));
            match added {
                Err(InputError::Unreadable { .. } | InputError::DeadLink { .. }) if self.skip_unreadable => {
                    self.notes.add(Topic::Unreadable, || path.display().to_string());
                }
                added => added?,
            }
            path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, path: &mut PathBuf, ino: u64, kind: FileType) -> Result<(), InputError> {
        // Most files are neither links nor the output: no metadata is read for them here.
        if kind.is_file() && self.output.as_ref().is_none_or(|(output, _)| output.ino() != ino) {
            self.files.add(path);
            return Ok(());
        }
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            return Ok(());
        }
        let meta = fs::metadata(&*path).map_err(|why| unreadable(path, why))?;
        let name = || path.display().to_string();
        if meta.is_dir() {
            if self.data == Some(id(&meta)) {
                self.notes.add(Topic::Data, name);
            } else if !self.seen.insert(id(&meta)) {
                self.notes.add(Topic::FolderAgain, name);
            } else {
                self.folder(path)?;
            }
        } else if self.is_output(path, &meta) {
            self.notes.add(Topic::Output, name);
        } else if meta.is_file() {
            self.files.add(path);
        }
        Ok(())
    }
}
