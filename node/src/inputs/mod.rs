//! Turns the inputs of a job into packs of documents, and reads those packs again when a worker asks for them.
//!
//! Planning lists the files, cuts large ones at line ends into documents, groups small ones into tasks and packs, and
//! hashes each pack: this reads every byte once. Nothing is copied: [`PackSource`] reads the files again when a pack is
//! asked for, and detects changes.
//!
//! What becomes a document:
//! - A file of up to one and a half times the chunk size is one document, an empty file an empty one.
//! - A line of more than [`LINE_BYTES`] is an error in any file.
//! - A larger file is cut after the first line end at or after each multiple of the chunk size. A document
//!   keeps its line ends; concatenated, the documents of a file are the file. With a chunk of 1 every line is one.
//! - In tables (files whose names end in `.csv` or `.tsv`), line ends within quoted fields do not count as line ends.
//! - With whole files, no file is cut, and a line may have any length.
//!
//! What becomes an input:
//! - A file given as an argument, whatever its name; a folder's files, in byte order of their names, with nested
//!   folders walked at their position in that order.
//! - In folders, files and folders whose name begins with a dot are left out, as are sockets, pipes and
//!   devices. Links are followed, but every folder is read only once, so cycles end. A dangling link
//!   is an error, unless unreadable inputs are to be skipped.
//! - The file that the result goes to, and the folder of this user's keys, are left out if they are in a
//!   folder that is read.
//! - `-`, or a pipe or device named as an argument, is copied to an unnamed temporary file and is then like any file;
//!   so is a file whose size differs from the reported one, as in `/proc` and `/sys`.

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
mod window;

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

/// Default size of the documents into which large files are cut: a task of some hundredths of a second, and a pack that
/// takes less than a second over a home connection.
pub const CHUNK_BYTES: u64 = 512 * 1024;
/// Maximum chunk size: with a line of [`LINE_BYTES`] after it, it still fits a pack.
pub const MAX_CHUNK_BYTES: u64 = 32 << 20;
/// Maximum length of a line in a file that is cut. It has to fit a pack, and the memory of a guest.
pub const LINE_BYTES: u64 = 16 << 20;
/// Maximum size of a file that is not cut: a pack holds it and a header for one document (see
/// [`webmesh_protocol::pack`]).
pub const WHOLE_FILE_BYTES: u64 = limits::PACK_BYTES as u64 - 8;
/// Default number of tasks of a job without input: enough to keep a small mesh busy.
pub const NUMBERS: u32 = 64;
/// Maximum number of documents of one job: their lengths are kept in memory, four bytes each.
pub const DOCUMENTS: u32 = 1 << 28;

/// Options for cutting the inputs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size in bytes of the documents into which large files are cut.
    pub chunk: u64,
    /// Whether all files are cut between CSV records, not only those whose names mark them as tables.
    pub csv: bool,
    /// Whether files stay whole.
    pub whole_files: bool,
    /// Number of documents in a task. If `None`, a task has some [`CHUNK_BYTES`] of documents.
    pub docs_per_task: Option<NonZeroU32>,
    /// Number of tasks if there is no input.
    pub numbers: u32,
    /// Directory where standard input is kept while the job runs.
    pub spool_dir: PathBuf,
    /// The file that the result is written to, by its path without links: it is not an input.
    pub output: Option<PathBuf>,
    /// The folder of this user's keys: nothing in it is an input, unless given explicitly.
    pub data_dir: Option<PathBuf>,
    /// Whether files and folders that cannot be read are left out. Otherwise they are an error.
    pub skip_unreadable: bool,
    /// Number of threads that read and hash.
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

/// Progress of planning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Bytes hashed.
    pub bytes: u64,
    /// Bytes in total.
    pub of: u64,
}

/// A job's inputs, ready for its manifest.
#[derive(Debug)]
pub struct Plan {
    /// The manifest's description of them.
    pub inputs: Inputs,
    /// Number of tasks of the first stage.
    pub tasks: u32,
    /// Number of documents.
    pub documents: u64,
    /// Bytes of the documents.
    pub bytes: u64,
    /// Number of files.
    pub files: u32,
    /// The source of the index and the packs, if there are any.
    pub source: Option<Arc<PackSource>>,
    /// Notes on the inputs for the user.
    pub notes: Vec<Note>,
}

/// Plans the inputs given on the command line. Without any, the job's documents are numbers. `progress` is called by
/// the threads that hash, after every pack, not strictly in order.
///
/// # Errors
/// An unusable input, or invalid options.
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
/// An invalid number of tasks.
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

/// Plans a job again whose files, with their sizes, were listed by another process: it has the same inputs if the
/// options are the same and nothing has changed since.
///
/// # Errors
/// A file that is gone or shorter, or can no longer be read.
#[cfg(not(target_family = "wasm"))]
pub fn plan_again(
    files: crate::platform::FileList,
    options: &Options,
    progress: &(dyn Fn(Planned) + Sync),
) -> Result<Plan, InputError> {
    check_chunk(options)?;
    plan_files(files, options, Notes::default(), progress)
}

/// Plans a job over listed files, on the number of threads in the options; see [`plan`].
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
