//! From the inputs of a job to packs of documents, and those packs again when a worker asks.
//!
//! Planning lists the files, cuts large ones at line ends into documents, gathers small ones into tasks and
//! packs, and hashes each pack: every byte is read once for that. Nothing is copied: [`PackSource`] reads the
//! files again when a pack is asked for, and notices if they changed.
//!
//! What becomes a document:
//! - A file of up to one and a half times the chunk size is one document, an empty file an empty one.
//! - A line of more than [`LINE_BYTES`] is an error, in whatever file it stands.
//! - A larger file is cut after the first line end at or after each multiple of the chunk size. A document
//!   keeps its line ends; the documents of a file in a row are the file. With a chunk of 1 every line is one.
//! - In tables, files whose names end in `.csv` or `.tsv`, line ends within quoted fields do not count for that.
//! - With whole files, no file is cut, and a line may have any length.
//!
//! What becomes an input:
//! - A file named as an argument, whatever its name; a folder's files, in order of their names as bytes,
//!   folders inside walked where their name stands.
//! - In folders, files and folders whose name begins with a dot are left out, as are sockets, pipes and
//!   devices. Links are followed, but every folder is read once only, so no walk runs in circles. A link to
//!   nothing is an error, unless unreadable inputs are to be skipped.
//! - The file that the result goes to, and the folder of this user's keys, are left out where they lie in a folder
//!   that is read.
//! - `-`, or a pipe or device named as an argument, is copied to an unnamed temporary file and is then like any file;
//!   so is a file that holds more or less than it says, as those of `/proc` and `/sys` do.

mod cut;
mod error;
mod files;
mod format;
mod group;
mod note;
#[cfg(not(target_family = "wasm"))]
mod parallel;
mod records;
mod source;
#[cfg(not(target_family = "wasm"))]
mod spool;
mod stepwise;
#[cfg(test)]
mod tests;
#[cfg(not(target_family = "wasm"))]
mod walk;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(not(target_family = "wasm"))]
use std::sync::atomic::{AtomicU64, Ordering};

use webmesh_protocol::limits;
use webmesh_protocol::manifest::Inputs;

use crate::platform;

pub use error::InputError;
pub use format::Format;
use note::Notes;
pub use note::{Note, Topic, unpack_advice};
pub use source::PackSource;
pub use stepwise::{Planning, Step};

/// The size of the documents into which large files are cut, if nothing else is asked for: a task of some
/// hundredth of a second, and a pack that crosses a home line in less than one.
pub const CHUNK_BYTES: u64 = 512 * 1024;
/// The largest chunk: with a line of [`LINE_BYTES`] behind it, it still fits a pack.
pub const MAX_CHUNK_BYTES: u64 = 32 << 20;
/// The longest line at which a file can be cut. It has to fit a pack, and the memory of a guest.
pub const LINE_BYTES: u64 = 16 << 20;
/// The largest file that is not cut: a pack holds it and a header for one document (see [`webmesh_protocol::pack`]).
pub const WHOLE_FILE_BYTES: u64 = limits::PACK_BYTES as u64 - 8;
/// Tasks of a job without input, if nothing else is asked for: enough to keep a small mesh busy.
pub const NUMBERS: u32 = 64;
/// Documents of one job: their lengths are kept, four bytes each.
pub const DOCUMENTS: u32 = 1 << 28;

/// How inputs are cut.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size in bytes of the documents into which large files are cut.
    pub chunk: u64,
    /// Whether all files are cut between the records of CSV, not only those whose names say that they are tables.
    pub csv: bool,
    /// Whether no file is cut.
    pub whole_files: bool,
    /// How many documents make a task. If it is not given, some [`CHUNK_BYTES`] of documents make one.
    pub docs_per_task: Option<NonZeroU32>,
    /// How many tasks there are if there is no input.
    pub numbers: u32,
    /// Where standard input is kept while the job runs.
    pub spool_dir: PathBuf,
    /// The file that the result is written to, by its path without links: it is no input.
    pub output: Option<PathBuf>,
    /// The folder of this user's keys: nothing in it is an input, unless it is named.
    pub data_dir: Option<PathBuf>,
    /// Whether files and folders that cannot be read are left out. Otherwise they are an error.
    pub skip_unreadable: bool,
    /// How many threads read and hash.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chunk: CHUNK_BYTES,
            csv: false,
            whole_files: false,
            docs_per_task: None,
            numbers: NUMBERS,
            spool_dir: platform::temporary_dir(),
            output: None,
            data_dir: None,
            skip_unreadable: false,
            threads: platform::cores(),
        }
    }
}

/// How far planning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Bytes hashed.
    pub bytes: u64,
    /// Bytes in all.
    pub of: u64,
}

/// A job's inputs, ready for its manifest.
#[derive(Debug)]
pub struct Plan {
    /// What the manifest says of them.
    pub inputs: Inputs,
    /// How many tasks the first stage has.
    pub tasks: u32,
    /// How many documents there are.
    pub documents: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many files they come from.
    pub files: u32,
    /// What the index and the packs are read from, if there are any.
    pub source: Option<Arc<PackSource>>,
    /// What whoever runs the job should know of its inputs.
    pub notes: Vec<Note>,
}

/// Plans the inputs of a job that are named on the command line. Without any, its documents are numbers. `progress` is
/// called by the threads that hash, after every pack, not strictly in order.
///
/// # Errors
/// An input that cannot be used, or options that cannot be.
#[cfg(not(target_family = "wasm"))]
pub fn plan(inputs: &[PathBuf], options: &Options, progress: &(dyn Fn(Planned) + Sync)) -> Result<Plan, InputError> {
    if inputs.is_empty() {
        return plan_numbers(options);
    }
    check_chunk(options)?;
    let mut notes = Notes::default();
    let files = walk::list(inputs, options, &mut notes)?;
    plan_files(files, options, notes, progress)
}

/// Plans a job whose documents are numbers.
///
/// # Errors
/// A number of tasks that a job cannot have.
pub fn plan_numbers(options: &Options) -> Result<Plan, InputError> {
    let tasks = options.numbers;
    if tasks == 0 || tasks > limits::TASKS {
        return Err(InputError::Numbers { tasks });
    }
    Ok(Plan {
        inputs: Inputs::Numbers,
        tasks,
        documents: u64::from(tasks),
        bytes: 0,
        files: 0,
        source: None,
        notes: vec![],
    })
}

/// Plans a job anew whose files, with their sizes, were listed by another process: it has the same inputs if the options
/// are the same and nothing has changed since.
///
/// # Errors
/// A file that is gone or shorter, or cannot be read any more.
#[cfg(not(target_family = "wasm"))]
pub fn plan_again(
    files: crate::platform::FileList,
    options: &Options,
    progress: &(dyn Fn(Planned) + Sync),
) -> Result<Plan, InputError> {
    check_chunk(options)?;
    plan_files(files, options, Notes::default(), progress)
}

/// Plans a job over files that were listed, on as many threads as the options say; see [`plan`].
#[cfg(not(target_family = "wasm"))]
fn plan_files(
    files: crate::platform::FileList,
    options: &Options,
    mut notes: Notes,
    progress: &(dyn Fn(Planned) + Sync),
) -> Result<Plan, InputError> {
    let files = files::Files::new(files);
    let (of, done) = (files.bytes(), AtomicU64::new(0));
    let documents = cut::cut(&files, options, &mut notes)?;
    let groups = group::group(&documents, options.docs_per_task)?;
    let packs = source::Unhashed::new(files, documents, &groups);
    let hashed = parallel::map(packs.len(), options.threads.max(1), source::Unhashed::buffer, |buffer, i| {
        let hashed = packs.hash(i, buffer)?;
        let bytes = done.fetch_add(hashed.bytes, Ordering::Relaxed) + hashed.bytes;
        progress(Planned { bytes, of });
        Ok(hashed)
    })?;
    let source = packs.finish(hashed, &mut notes);
    Ok(Plan::new(source, notes))
}

impl Plan {
    fn new(source: PackSource, notes: Notes) -> Self {
        Self {
            inputs: source.inputs(),
            tasks: source.tasks(),
            documents: source.documents(),
            bytes: source.bytes(),
            files: source.files(),
            source: Some(Arc::new(source)),
            notes: notes.all(),
        }
    }
}

fn check_chunk(options: &Options) -> Result<(), InputError> {
    match options.chunk {
        1..=MAX_CHUNK_BYTES => Ok(()),
        chunk => Err(InputError::Chunk { chunk }),
    }
}
