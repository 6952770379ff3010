//! The record in a job's folder: how the job was submitted, and the files that it reads.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use webmesh_protocol::Hash;
use webmesh_protocol::codec::{self, Wire};
use webmesh_protocol::sign::Keypair;

use crate::inputs;
use crate::platform::FileList;

/// Size in bytes of the checksum at the beginning, which is the hash of the rest.
const CHECKSUM: usize = 32;

/// How a job was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Time of submission, in seconds since 1970.
    pub begun: u64,
    /// The mesh that runs it.
    pub origin: Origin,
    /// The absolute path of the file for its result, as bytes; `None` for standard output.
    output: Option<Bytes>,
    /// Whether a background process runs it.
    pub detached: bool,
    /// How its inputs are split.
    pub cutting: Cutting,
    home: Secret,
    files: Vec<KeptFile>,
}

/// The mesh that runs a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// An embedded mesh within the job's own process.
    Embedded {
        /// Number of peers.
        peers: u32,
        /// Threads of each peer; `None` shares all cores among them.
        threads: Option<u32>,
    },
    /// An existing mesh, joined through these multiaddresses.
    Mesh(Vec<String>),
}

/// How inputs are split into documents: with the same values, the same files give the same tasks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cutting {
    /// Target size of documents in bytes.
    pub chunk: u64,
    /// Whether every input is split as a table (CSV).
    pub csv: bool,
    /// Whether each file is one document.
    pub whole_files: bool,
    /// Documents per task; absent if chosen by size.
    pub docs_per_task: Option<NonZeroU32>,
}

impl Cutting {
    /// Planning options with these values.
    pub fn options(&self) -> inputs::Options {
        let Self { chunk, csv, whole_files, docs_per_task } = *self;
        inputs::Options { chunk, csv, whole_files, docs_per_task, ..inputs::Options::default() }
    }
}

/// The secret key of the job's home, the peer named in its manifest and announcements.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A file that the job reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptFile {
    /// The absolute path as bytes; for a copy, the name shown to the user.
    name: Bytes,
    size: u64,
    /// Modification time; zeros if not available.
    modified: (i64, i64),
    /// Offset of its copy in the file of copies, if it was copied.
    copy: Option<u64>,
}

impl Wire for Record {
    const NAME: &'static str = "record of a job";
    /// A few hundred bytes for each of the maximum number of files of a job.
    const MAX_BYTES: usize = 32 << 30;

    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Record {
    /// The record of a job whose home is the peer with this key, and which reads the files of `list`.
    pub fn new(
        home: &Keypair,
        origin: Origin,
        cutting: Cutting,
        (output, detached): (Option<&Path>, bool),
        list: Option<&FileList>,
    ) -> Self {
        Self {
            begun: crate::platform::wall_micros() / 1_000_000,
            origin,
            output: output.map(bytes_of),
            detached,
            cutting,
            home: Secret(home.secret()),
            files: list.map(kept_files).unwrap_or_default(),
        }
    }

    /// The key of the job's home.
    pub fn home(&self) -> Keypair {
        Keypair::from_secret(self.home.0)
    }

    /// The file for the result; `None` for standard output.
    pub fn output(&self) -> Option<PathBuf> {
        self.output.as_ref().map(|path| path_of(path))
    }

    /// The files that the job reads, as they were listed; the copies are in the file `copies`.
    ///
    /// # Errors
    /// The file of copies cannot be opened.
    pub(super) fn file_list(&self, copies: &Path) -> std::io::Result<FileList> {
        let mut list = FileList::default();
        for (i, file) in self.files.iter().enumerate() {
            match file.copy {
                Some(start) => list.add_copy(&String::from_utf8_lossy(&file.name), start, file.size),
                None => {
                    list.add(&path_of(&file.name));
                    list.set_size(i, file.size);
                }
            }
        }
        if self.files.iter().any(|file| file.copy.is_some()) {
            list.set_spool(fs::File::open(copies)?);
        }
        Ok(list)
    }

    /// How the files have changed since they were listed, judged by their metadata.
    pub fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        for file in self.files.iter().filter(|file| file.copy.is_none()) {
            let path = path_of(&file.name);
            match fs::metadata(&path) {
                Err(why) => changes.lost.push(format!("{}: {why}", path.display())),
                Ok(meta) if meta.len() != file.size => {
                    let (was, is) = (file.size, meta.len());
                    let list = if is < was { &mut changes.lost } else { &mut changes.touched };
                    list.push(format!("{}: it had {was} bytes, and now has {is}", path.display()));
                }
                Ok(meta) if (meta.mtime(), meta.mtime_nsec()) != file.modified => {
                    changes.touched.push(format!("{}: it was modified", path.display()));
                }
                Ok(_) => {}
            }
        }
        changes
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let body = codec::encode(self);
        [&Hash::of(&body).0[..], &body].concat()
    }

    /// # Errors
    /// A description of the damage.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (checksum, body) = bytes.split_at_checked(CHECKSUM).ok_or("it is truncated")?;
        if Hash::of(body).0 != checksum {
            return Err("its checksum is wrong".to_owned());
        }
        codec::decode(body).map_err(|why| why.to_string())
    }
}

/// How a job's files have changed since they were listed.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// Missing or shorter files, each with the change: they cannot give the same documents.
    pub lost: Vec<String>,
    /// Longer or modified files, each with the change: they may still give the same documents.
    pub touched: Vec<String>,
}

fn kept_files(list: &FileList) -> Vec<KeptFile> {
    let kept = |i| {
        let (size, copy) = (list.size(i), list.copy_of(i));
        if copy.is_some() {
            return KeptFile { name: Bytes::from(list.name(i)), size, modified: (0, 0), copy };
        }
        let path = list.path(i);
        // A file removed in the meantime is reported when it is read.
        let modified = fs::metadata(path).map_or((0, 0), |meta| (meta.mtime(), meta.mtime_nsec()));
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        KeptFile { name: bytes_of(&absolute), size, modified, copy }
    };
    (0..list.len()).map(kept).collect()
}

fn bytes_of(path: &Path) -> Bytes {
    Bytes::copy_from_slice(path.as_os_str().as_bytes())
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
